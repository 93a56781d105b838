"""Sweeps as text."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lyapkit.labels import swept_parameters
from lyapkit.tables.layout import shown_rows
from lyapkit.tables.numbers import number


def sweep_table(ds: xr.Dataset) -> str:
    """Return the exponents of a sweep as a table, mean over trajectories: a row per cell, some of many, and remarks."""
    names = swept_parameters(ds)
    cells = ds[["lyapunov_exponent", "kaplan_yorke_dimension", "remark"]].stack(cell=names)
    exponents = cells["lyapunov_exponent"].mean("trajectory").transpose("cell", "exponent").values
    dimensions = cells["kaplan_yorke_dimension"].mean("trajectory").values
    ranks = range(min(4, exponents.shape[1]))
    heads = [*names, *(f"exponent {rank + 1}" for rank in ranks), "dimension"]
    lines = [ds.attrs["system"], "", "".join(f"{head:>13}" for head in heads)]
    for row in shown_rows(len(exponents)):
        if row is None:
            lines.append(f"{'…':>13}")
            continue
        place = [f"{float(cells[name].values[row]):.6g}" for name in names]
        row_of = [*place, *(number(exponents[row, rank]) for rank in ranks), number(dimensions[row], form=".4g")]
        lines.append("".join(f"{entry:>13}" for entry in row_of))
    n_lost = int(np.isnan(exponents).all(1).sum())
    return "\n".join(lines + ([f"{n_lost} of {len(exponents)} cells diverged or failed"] if n_lost else []))
