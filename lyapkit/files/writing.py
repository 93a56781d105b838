"""Writing files, whole or not at all, to where they are meant: `check_writable` before the work, `replacing` after."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import shutil
import stat
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

PROBE = 32 << 10  # bytes: less than any result takes
WEEK = 7 * 24 * 3600.0
_TEMPORARY = re.compile(r"\.lyapkit-(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-.*")


def check_writable(path: str | Path, inputs: Iterable[str | Path] = ()) -> Path:
    """Return the path if a file can be written there, so that hours of work do not end in an error.

    A small file is written beside it and deleted, so that full disks and quotas are found too.

    Parameters
    ----------
    path : str or Path
        Where a result is to go.
    inputs : iterable of str or Path
        Files that the work reads, which it must not replace.

    Raises
    ------
    OSError
        If the folder does not exist or is full, the path is a folder or a device or one of the inputs, its name is too
        long, or there is no permission to write.
    """
    path = Path(path)
    target = target_of(path)
    for given in map(Path, inputs):
        if given.exists() and (target == given.resolve() or (target.exists() and target.samefile(given))):
            raise OSError(f"cannot write {path}: it is what the work reads, {given}; choose another name")
    with _saying(path):
        remove_leftovers(target.parent)
        with tempfile.TemporaryFile(prefix=_prefix(), dir=target.parent) as probe:
            probe.write(bytes(PROBE))
            probe.flush()
            os.fsync(probe.fileno())
    return path


def make_folder(path: Path) -> None:
    """Make a folder, and those that it lies in, where there is none.

    Raises
    ------
    OSError
        Naming it, and why it cannot be.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        file = next((place for place in (path, *path.parents) if place.exists() and not place.is_dir()), None)
        reason = error.strerror if file is None else f"{'it' if file == path else file} is a file"
        raise type(error)(f"cannot use {path} as a folder: {reason}") from error


def target_of(path: Path) -> Path:
    """Return the file that is written under a path: the path, or where it links to.

    Raises
    ------
    OSError
        If no file can be there.
    """
    with _saying(path):
        try:
            target = path.resolve()
        except RuntimeError as error:
            raise OSError("its links lead in a circle") from error
        try:
            mode = target.stat().st_mode
        except FileNotFoundError:
            mode = None
        if not target.parent.is_dir():
            raise FileNotFoundError(f"the folder {target.parent} does not exist")
        if mode is not None and stat.S_ISDIR(mode):
            raise IsADirectoryError("it is a folder")
        if mode is not None and not stat.S_ISREG(mode):
            raise OSError("it is a device, not a file")
        if not os.access(target.parent, os.W_OK) or (mode is not None and not os.access(target, os.W_OK)):
            raise PermissionError("permission denied")
    return target


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move it there if the block ends well; else delete it.

    A file that was there keeps its mode, and its owner if that is allowed; a link stays one, and the file that it leads
    to is replaced. What was left by processes that were killed is removed from the folder.

    Raises
    ------
    OSError
        Naming `path`, and why it cannot be written, if that is so.
    """
    target = target_of(path)
    with _saying(path):
        remove_leftovers(target.parent)
        handle, name = tempfile.mkstemp(prefix=_prefix(), suffix=path.suffix, dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with _saying(path, temporary):
            yield temporary
            _take_over_mode(target, temporary)
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of processes that are no more."""
    for file in folder.glob(".lyapkit-*"):
        if (match := _TEMPORARY.fullmatch(file.name)) is None:
            continue
        with contextlib.suppress(OSError):
            here = match["machine"] == _machine()
            old = time.time() - file.stat().st_mtime > WEEK
            if old or (here and not _is_running(int(match["process"]))):
                file.unlink()


def _take_over_mode(target: Path, temporary: Path) -> None:
    """Give a new file the mode and owner of the one that it replaces, or those of any new file."""
    try:
        old = target.stat()
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        return
    with contextlib.suppress(OSError, AttributeError):  # only root may; not on Windows
        os.chown(temporary, old.st_uid, old.st_gid)
    temporary.chmod(stat.S_IMODE(old.st_mode))


@contextlib.contextmanager
def _saying(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Raise what goes wrong while a file is written as an OSError that names it; libraries say it in their own ways."""
    try:
        yield
    except (OSError, RuntimeError, zlib.error) as error:
        if str(error).startswith("cannot write"):
            raise
        kind = type(error) if isinstance(error, OSError) else OSError
        raise kind(f"cannot write {path}: {_reason(error, path, temporary)}") from error


def _reason(error: Exception, path: Path, temporary: Path | None) -> str:
    """Return why a file cannot be written, without the name of the temporary one."""
    code, words = getattr(error, "errno", None), getattr(error, "strerror", None)
    if words and code is not None and code > 0:
        return words
    words = words or str(error)
    if temporary is None:
        return words
    free = shutil.disk_usage(temporary.parent).free  # libraries say no more than "HDF error"
    if free < 1 << 20:
        return "no space left on the disk"
    return f"{words.replace(str(temporary), str(path))} ({free / 1e6:.3g} MB are free there)"


def _prefix() -> str:
    return f".lyapkit-{_machine()}-{os.getpid()}-"


@functools.cache
def _machine() -> str:
    """Return what tells this machine, as far as numbers of processes go, from others that share its folders."""
    space = ""
    with contextlib.suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]


def _is_running(process: int) -> bool:
    if os.name != "posix":
        return True  # there, asking would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
