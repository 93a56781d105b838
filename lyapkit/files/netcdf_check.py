"""`read_netcdf`: a netCDF file, if the library survives it, which is found out in another process.

The library can crash on a damaged file, or never come back, before Python sees anything. Nothing in a file proves that
it is a sound one, so every file is read in a child process first. One child serves all files: the first costs a third
of a second, and each a part of the time that reading takes anyway. Files that were read or written here are known.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path

import netCDF4
import xarray as xr
from xarray.backends import NetCDF4DataStore

from lyapkit.files.limits import check_repetition, check_size, maximum

TO_START = 120.0  # seconds; the time that a busy machine takes to import a library
TO_OPEN = 3.0
READING_RATE = 20e6  # bytes per second that any disk delivers

_known: set[tuple[int, int, int, int]] = set()
_lock = threading.Lock()


def check_netcdf(path: Path) -> None:
    """Raise if the netCDF library crashes on a file, hangs, or would take too much memory.

    Raises
    ------
    ValueError
        Saying which.
    """
    identity = _identity(path)
    if identity in _known:
        return
    with _lock:
        child = _Child.current()
        try:
            child.send(path, maximum() + (512 << 20))
            n_bytes = child.answer(TO_OPEN)["bytes"]
            check_size(path, n_bytes)
            check_repetition(path, n_bytes)
            child.answer(TO_OPEN + n_bytes / READING_RATE)
        except ValueError:
            child.stop()  # it may still be reading
            raise
    _known.add(identity)


def read_netcdf(path: Path) -> xr.Dataset:
    """Return the content of a netCDF file that the library survives.

    The library reads from memory: a damaged file it sometimes keeps open, and gives that again for whatever is written
    there later.

    Raises
    ------
    ValueError
        As `check_netcdf`. What is wrong with the content raises what libraries raise.
    """
    check_netcdf(path)
    with netCDF4.Dataset(path.name, memory=path.read_bytes()) as file:
        ds = xr.open_dataset(NetCDF4DataStore(file)).load()
    ds.set_close(None)  # it is
    return ds


def remember(path: Path) -> None:
    """Take a file for a sound one: it was written here."""
    _known.add(_identity(path))


def _identity(path: Path) -> tuple[int, int, int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class _Child:
    """The process that reads files first."""

    _one: _Child | None = None

    def __init__(self) -> None:
        program = Path(__file__).with_name("netcdf_child.py")
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.answer(TO_START)

    @classmethod
    def current(cls) -> _Child:
        """Return the running child of this process, or a new one."""
        child = cls._one
        if child is None or child.owner != os.getpid() or child.process.poll() is not None:
            cls._one = child = cls()
            atexit.register(child.stop)
        return child

    def send(self, path: Path, memory: int) -> None:
        """Ask for a file to be read with so many bytes of memory at most."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"path": str(path.resolve()), "memory": memory}) + "\n")
        self.process.stdin.flush()

    def answer(self, seconds: float) -> dict:
        """Return what the child says within some seconds; a crash, silence and errors are raised."""
        try:
            line = self.answers.get(timeout=seconds)
        except queue.Empty:
            self.stop()
            raise ValueError(f"the netCDF library does not come back from it within {seconds:.0f} s") from None
        if not line:
            code = self.process.wait()
            raise ValueError(f"the netCDF library crashes on it (exit code {code})")
        content = json.loads(line)
        if "error" in content:
            raise ValueError(content["error"])
        return content

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError):  # closed meanwhile
            for line in self.process.stdout:
                self.answers.put(line)
        self.answers.put("")

    def stop(self) -> None:
        """End the process."""
        if self.owner != os.getpid():
            return
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
