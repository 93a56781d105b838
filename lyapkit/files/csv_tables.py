"""Tables in `.csv` files: one row per time step or per sample; several sequences only where the table says so."""

from __future__ import annotations

import csv
import itertools
import warnings
from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lyapkit.arguments import ReliabilityWarning
from lyapkit.files.index_columns import index_column, rows_by
from lyapkit.files.limits import check_size

_SEVERAL = (
    "several sequences need a header with a column 'trajectory', a number for each, and may then differ in length"
)

GAP = 1.5  # times the usual step of a column `time`, from which on a row seems to be missing


def csv_rows(path: Path) -> np.ndarray:
    """Return the rows of a table, (row, column); a single column of whole numbers as classes (row,).

    Raises
    ------
    ValueError
        If it is no table of numbers, or a column is an index.
    """
    header, values = _table(path)
    if values.shape[1] > 1 and (index := index_column(header, values)):
        raise ValueError(f"{index}: leave it out; if it is a target, call it 'target …' in a header")
    if values.shape[1] == 1 and (values == values.round()).all():
        return values[:, 0].astype(np.int64)
    return values


def csv_sequences(path: Path) -> np.ndarray | list[np.ndarray]:
    """Return the sequences of a table, (trajectory, time, feature), or a list of (time, feature) if lengths differ.

    Raises
    ------
    ValueError
        If it is no table of numbers, its times do not increase, or a column is an index and not called so.

    Warns
    -----
    ReliabilityWarning
        If its times leave something out.
    """
    header, values = _table(path)
    names = [] if header is None else [name.lower() for name in header]
    if twice := {name for name in ("trajectory", "time") if names.count(name) > 1}:
        raise ValueError(f"it has several columns called {', '.join(twice)}")
    if "" in names:
        raise ValueError(
            f"its column {names.index('') + 1} has no name (an index, as pandas writes it?): leave it out, or name it"
        )
    if header is None and _counts_columns(values):
        raise ValueError(
            "its first row counts the columns, as pandas writes it where they have no names: leave it out, or name them"
        )
    owners = values[:, names.index("trajectory")] if "trajectory" in names else np.zeros(len(values))
    if not np.isfinite(owners).all():
        raise ValueError(f"its row {int(np.argmin(np.isfinite(owners))) + 1} is of no trajectory: {_SEVERAL}")
    is_feature = np.array([name not in ("trajectory", "time") for name in names] or [True] * values.shape[1])
    features = None if header is None else [name for name, is_one in zip(header, is_feature, strict=True) if is_one]
    if index := index_column(features, values[:, is_feature], owners):
        raise ValueError(
            f"{index}: leave it out, or call it in a header 'trajectory' if it tells sequences apart, 'time' if it is "
            "the time of each row, or 'feature …' if it is an input"
        )
    trajectories = []
    for rows in rows_by(owners):
        own = values[rows]
        if "time" in names:
            steps = np.diff(own[:, names.index("time")])
            if not (steps > 0).all():
                row = int(np.argmin(steps > 0)) + 2
                known = f" of trajectory {owners[rows[0]]:g}" if "trajectory" in names else f": {_SEVERAL}"
                raise ValueError(f"its time does not increase at row {row}{known}")
            _warn_of_gaps(path, own[:, names.index("time")], rows)
        trajectories.append(own[:, is_feature])
    if trajectories[0].shape[1] == 0:
        raise ValueError("it has no column that is a feature")
    return np.stack(trajectories) if len({len(own) for own in trajectories}) == 1 else trajectories


def _warn_of_gaps(path: Path, times: np.ndarray, rows: np.ndarray) -> None:
    """Say that rows seem to be missing, where one comes later than the others do."""
    steps = np.diff(times)
    usual = float(np.median(steps)) if len(steps) else np.inf
    if (steps > GAP * usual).any():
        row = int(np.argmax(steps > GAP * usual)) + 1
        warnings.warn(
            f"{path}: its row {rows[row] + 1} comes {steps[row - 1]:g} after the one before it, where {usual:g} is "
            "usual: each row is taken for the next time step; fill in rows that are missing",
            ReliabilityWarning,
            stacklevel=5,
        )


def _counts_columns(values: np.ndarray) -> bool:
    """Whether the first row is 0, 1, 2, …, and not all others are whole numbers, too."""
    first, others = values[0], values[1:]
    is_count = len(first) > 1 and (first == np.arange(len(first))).all()
    return bool(is_count and (others != others.round()).any())


def _table(path: Path) -> tuple[list[str] | None, np.ndarray]:
    """Return header, if there is one, and values."""
    check_size(path, path.stat().st_size)
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = _rows(file)
        first = next(rows, None)
        if first is None:
            raise ValueError("it is empty")
        header = None if _is_number(first[0]) else [name.strip() for name in first]
        numbers = [cell for cell in header or () if _is_number(cell)]
        if header and numbers and numbers != [str(number) for number in range(len(numbers))]:
            raise ValueError(
                f"its first row is neither a header nor numbers: it holds {header[0]!r} as well as {numbers[0]!r}"
            )
        values = array("d")  # not a list of lists, which would take many times the memory
        for number, row in enumerate(rows if header else itertools.chain([first], rows), start=1):
            if len(row) != len(first):
                raise ValueError(
                    f"its row {number} has {len(row)} columns where the first has {len(first)}: a row is one time "
                    f"step, with all features; {_SEVERAL}"
                )
            try:
                values.extend(map(float, row))
            except ValueError:
                odd = next(cell for cell in row if not _is_number(cell))
                raise ValueError(f"its row {number} holds {odd!r}, which is no number") from None
    if not values:
        raise ValueError("it has a header and no rows")
    return header, np.array(values).reshape(-1, len(first))


def _rows(file: Iterator[str]) -> Iterator[list[str]]:
    """Yield rows; empty lines may only come at the end, since elsewhere they would mean that something ends."""
    ended = 0
    for number, row in enumerate(csv.reader(file), start=1):
        if not any(cell.strip() for cell in row):
            ended = ended or number
        elif ended and number > ended > 1:
            raise ValueError(f"its line {ended} is empty, and more follows: {_SEVERAL}")
        else:
            yield row


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
