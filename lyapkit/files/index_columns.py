"""Columns of a table that number its rows or sequences instead of being data: by their name, or by what they hold.

A column is taken for data only if nothing says otherwise: a name such as *id*, *trial* or *t* over whole numbers or
times; or values that count, up by the same step from row to row, starting again or repeated in blocks. What is meant,
its name can always say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

DATA = ("feature", "input", "target")  # a column whose name begins so is data, whatever it holds
MOST = 1000  # columns that are looked at: nobody has as many and an index behind them
SHORTEST = 4  # rows from which on it is no chance that they count
_LAST = {"id", "ids", "idx", "index", "number", "num", "no", "nr"}
_SEQUENCE = _LAST | {
    *("trajectory", "sequence", "seq", "series", "trial", "trials", "sample", "episode", "session", "run", "batch"),
    *("subject", "participant", "patient", "animal", "group", "row", "unnamed"),
}
_TIME = {
    *("t", "time", "times", "timestep", "timestamp", "step", "steps", "frame", "tick", "date", "datetime"),
    *("s", "sec", "second", "seconds", "ms", "epoch"),
}


def index_column(names: Sequence[str] | None, values: np.ndarray, owners: np.ndarray | None = None) -> str | None:
    """Return which column of a table is an index and no data, as the beginning of a message; None if none is.

    Parameters
    ----------
    names : sequence of str, optional
        Of the columns.
    values : np.ndarray
        (row, column): all that would be data.
    owners : np.ndarray, optional
        (row,): which sequence a row is of, if the table says so.
    """
    sequences = [slice(None)] if owners is None else rows_by(owners)
    for column, own in enumerate(values.T[:MOST]):
        name = "" if names is None else names[column]
        if name.lower().startswith(DATA):
            continue
        title = f"its column {name!r}" if name else f"its column {column + 1}"
        if looks_like_an_index(name, own):
            return f"{title} numbers something, by its name"
        if values.shape[1] == 1:  # beside it there is nothing that it could be the index of
            continue
        numbers_rows = counts(own) and bool((own == own.round()).all())  # of the whole table
        if numbers_rows or all(counts(own[rows]) for rows in sequences):
            return f"{title} counts rows or sequences"
        others = np.delete(values, column, axis=1)
        if not column and _is_in_blocks(own) and (others != others.round()).any():
            return f"{title} is the same whole number for several rows each"
    return None


def rows_by(owners: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each sequence, in the order in which sequences first come."""
    _, first, number = np.unique(owners, return_index=True, return_inverse=True)
    rows = np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1])
    return [rows[sequence] for sequence in np.argsort(first)]


def looks_like_an_index(name: str, values: np.ndarray) -> bool:
    """Return whether a column is called an index, and holds what could be one."""
    words = [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)]
    if not words:
        return False
    is_whole = bool((values == values.round()).all())
    if is_whole and (words[-1] in _LAST or set(words) <= _SEQUENCE):
        return True
    if not set(words) <= _TIME | _SEQUENCE:
        return False
    steps = np.diff(values)
    return bool(len(steps) and ((steps > 0) | (values[1:] == values[0])).all())


def counts(values: np.ndarray) -> bool:
    """Return whether values go up, or down, by the same step, may start again at the first, and may repeat if whole."""
    steps = np.diff(values)
    if len(values) < SHORTEST or not steps.any():
        return False
    step = steps[np.flatnonzero(steps)[0]]
    is_next, stays = np.isclose(steps, step, rtol=1e-6, atol=0), steps == 0
    starts_again = (values[1:] == values[0]) & ~is_next & ~stays
    if not (is_next | stays | starts_again).all():
        return False
    is_long = np.ptp(values) > 1.5 * abs(step)  # else it may as well be a switch
    if stays.any():
        return bool(is_long and abs(step) == 1 and (values == values.round()).all())
    return bool(is_long)


def _is_in_blocks(values: np.ndarray) -> bool:
    """Return whether every value is a whole number, in one block of two rows or more, and there are several."""
    starts = np.flatnonzero(np.diff(values)) + 1
    lengths = np.diff([0, *starts, len(values)])
    n_different = len(np.unique(values))
    return bool((values == values.round()).all() and 1 < n_different == len(lengths) and lengths.min() > 1)
