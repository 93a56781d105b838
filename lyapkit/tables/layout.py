"""How a table is laid out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

MAX_ROWS = 16


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
