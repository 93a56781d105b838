"""How a table is laid out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

MAX_ROWS = 16
MIN_WIDTH = 10  # of columns

Head = tuple[str, str]  # of a column: what it is, and below that its unit
Columns = dict[Head, Iterable[object]]


def aligned(
    columns: Columns,
    names: tuple[str, Iterable[object]] | None = None,
    *,
    every_row: bool = False,
) -> str:
    """Return columns of text as a table, flush right under their heads.

    Of many rows the first, the last and some between are shown, but with `every_row`.

    Parameters
    ----------
    columns : dict
        Head to the entries of a column. Nothing is written below heads if none has a unit.
    names : tuple, optional
        A head, and what the rows are called, flush left before the columns.
    """

    def some(entries: Iterable[object]) -> list[str]:
        entries = list(entries)
        shown = range(len(entries)) if every_row else shown_rows(len(entries))
        return ["…" if row is None else str(entries[row]) for row in shown]

    frame = pd.DataFrame({head: some(entries) for head, entries in columns.items()})
    has_units = any(unit for _, unit in columns)
    heads = list(columns) if has_units else [head for head, _ in columns]
    frame.columns = pd.MultiIndex.from_tuples(heads) if has_units else pd.Index(heads)
    if names is not None:
        frame.index = pd.Index(some(names[1]))
        frame.columns.names = [names[0], ""] if has_units else [names[0]]
    text = frame.to_string(index=names is not None, sparsify=False, col_space=MIN_WIDTH)
    return "\n".join(line.rstrip() for line in text.splitlines())


def shown_rows(k: int) -> Iterator[int | None]:
    """Yield which of k rows of a table to show, None where some are left out: all of a few, of many some between."""
    middle = np.linspace(6, k - 4, MAX_ROWS - 8).round().astype(int)
    shown = range(k) if k <= MAX_ROWS else sorted({*range(5), *middle.tolist(), *range(k - 3, k)})
    previous = -1
    for row in shown:
        if row > previous + 1:
            yield None
        yield row
        previous = row
