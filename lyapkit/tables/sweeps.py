"""Sweeps as text."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lyapkit.labels import swept_parameters
from lyapkit.tables.layout import Columns, aligned
from lyapkit.tables.numbers import number


def sweep_table(ds: xr.Dataset) -> str:
    """Return the exponents of a sweep as a table, mean over trajectories: a row per cell, some of many, and remarks."""
    names = swept_parameters(ds)
    cells = ds[["lyapunov_exponent", "kaplan_yorke_dimension", "remark"]].stack(cell=names)
    exponents = cells["lyapunov_exponent"].mean("trajectory").transpose("cell", "exponent").values
    dimensions = cells["kaplan_yorke_dimension"].mean("trajectory").values
    columns: Columns = {(name, ""): [f"{float(value):.6g}" for value in cells[name].values] for name in names}
    for rank in range(min(4, exponents.shape[1])):
        columns[f"exponent {rank + 1}", ds["lyapunov_exponent"].attrs["units"]] = [*map(number, exponents[:, rank])]
    columns["dimension", ""] = [number(value, form=".4g") for value in dimensions]
    n_lost = int(np.isnan(exponents).all(1).sum())
    lines = [ds.attrs["system"], "", aligned(columns)]
    return "\n".join(lines + ([f"{n_lost} of {len(exponents)} cells diverged or failed"] if n_lost else []))
