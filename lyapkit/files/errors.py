"""What goes wrong with files, and what is said about them."""

from __future__ import annotations

from collections.abc import Iterable


class CheckpointError(ValueError):
    """A file that cannot be read, is unsafe to read, or does not hold the one recurrent network asked for."""


class NeedlessOptionError(CheckpointError):
    """An option says something that has no meaning for what is in the file."""


class CheckpointWarning(UserWarning):
    """Something that had to be assumed about a checkpoint file; the message says what, and how to say otherwise."""


def reason(error: Exception) -> str:
    """Return the first line of what an error says, or its kind if it says nothing: why a file cannot be read."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def listed(names: Iterable[object], most: int = 12, *, quoted: bool = True) -> str:
    """Return names one after the other, cut where they are too many or too long for one line."""
    texts = [str(name) for name in names]
    short = [text if len(text) <= 80 else f"{text[:77]}..." for text in texts[:most]]
    more = [f"and {len(texts) - most} more"] if len(texts) > most else []
    return ", ".join([*map(repr if quoted else str, short), *more])
