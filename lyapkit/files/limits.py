"""How much memory the content of a file may take: small files can ask for any amount."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

from lyapkit.files.errors import CheckpointError

DEFAULT = 2 << 30
COMPRESSION = 1032  # the most that deflate can save
SMALL = 16 << 20  # bytes that are never worth a word
_maximum: ContextVar[int] = ContextVar("maximum size of a file's content", default=DEFAULT)
_UNITS = {"": 1, "B": 1} | {
    unit: base**power
    for power, letter in enumerate("KMGT", 1)
    for unit, base in ((letter, 1024), (letter + "IB", 1024), (letter + "B", 1000))
}


@contextlib.contextmanager
def maximum_size(size: int | str) -> Iterator[None]:
    """Let files that are read in the block unpack to `size` bytes, or "8 GiB", instead of 2 GiB.

    Raises
    ------
    ValueError
        If it is no positive size.

    Examples
    --------
    >>> import lyapkit as lk
    >>> checkpoint, _ = lk.examples.digits()
    >>> with lk.maximum_size("1MiB"):
    ...     print(lk.load_system(checkpoint))
    LSTM (8 inputs, 64 units, state size 128)
    """
    token = _maximum.set(parse_size(size))
    try:
        yield
    finally:
        _maximum.reset(token)


def parse_size(size: int | str) -> int:
    """Return a number of bytes from a number, or a text like "500 MB" or "8 GiB".

    Raises
    ------
    ValueError
        If it is no positive size.
    """
    text = str(size).upper().replace(" ", "")
    number = text.rstrip("BIKMGT")
    try:
        n_bytes = int(float(number) * _UNITS[text.removeprefix(number)])
    except (ValueError, KeyError, OverflowError):
        n_bytes = 0
    if n_bytes <= 0:
        raise ValueError(f"{size!r} is no size: expected a number of bytes, or one like 500MB or 8GiB")
    return n_bytes


def maximum() -> int:
    """Return how many bytes the content of a file may take."""
    return _maximum.get()


def check_size(path: Path, n_bytes: int) -> None:
    """Raise if the content of a file would take more bytes than it may.

    Raises
    ------
    CheckpointError
        Naming both sizes and the way out.
    """
    limit = _maximum.get()
    if n_bytes > limit:
        raise CheckpointError(
            f"{path} would take {readable(n_bytes)} of memory, more than the {readable(limit)} that a file may: if "
            "that is meant, raise the limit with --max-size, or lyapkit.maximum_size in Python"
        )


def check_repetition(path: Path, n_bytes: int) -> None:
    """Raise if a file claims more bytes than compression can make of what it takes itself.

    Raises
    ------
    CheckpointError
        Naming both sizes.
    """
    n_stored = path.stat().st_size
    if n_bytes > COMPRESSION * n_stored + SMALL:
        raise CheckpointError(
            f"{path} takes {readable(n_stored)} and claims to hold {readable(n_bytes)}, more than compression can "
            "save: it is damaged, or made up"
        )


def readable(n_bytes: int) -> str:
    """Return a number of bytes for people."""
    for unit, size in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n_bytes >= size:
            return f"{n_bytes / size:.3g} {unit}"
    return f"{n_bytes} bytes"
