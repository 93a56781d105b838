"""Sweeps as text."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lyapkit.labels import cells_of_sweep, swept_parameters
from lyapkit.statistics import upper_bounds
from lyapkit.tables.layout import Columns, aligned
from lyapkit.tables.numbers import number


def sweep_table(ds: xr.Dataset) -> str:
    """Return the exponents of a sweep as a table, mean over trajectories: a row per cell, some of many, and remarks."""
    names, ds = cells_of_sweep(ds)
    chosen = [name for name in swept_parameters(ds) if name not in names and name in ds.coords]
    given = [f"{name} = {float(ds[name]):.6g}" for name in chosen]
    needed = ["lyapunov_exponent", "is_bound", "kaplan_yorke_dimension", "remark"]
    cells = ds[[name for name in needed if name in ds]].stack(cell=names).transpose("cell", "trajectory", "exponent")
    exponents = cells["lyapunov_exponent"].mean("trajectory").values
    bounds = np.logical_or.reduce(upper_bounds(cells), axis=1)
    dimensions = cells["kaplan_yorke_dimension"].mean("trajectory").values
    columns: Columns = {(name, ""): [f"{float(value):.9g}" for value in cells[name].values] for name in names}
    for rank in range(min(4, exponents.shape[1])):
        columns[f"exponent {rank + 1}", ds["lyapunov_exponent"].attrs["units"]] = [
            *map(number, exponents[:, rank], bounds[:, rank])
        ]
    columns["dimension", "Kaplan–Yorke"] = [number(value, form=".4g") for value in dimensions]
    n_lost = int(np.isnan(exponents).all(1).sum())
    lines = [", ".join([ds.attrs["system"], *given]), "", aligned(columns)]
    if n_lost:
        lines.append(f"{n_lost} of {len(exponents)} cells diverged or failed")
    if n_bounds := int(bounds.any(1).sum()):
        lines.append(f"in {n_bounds} of {len(exponents)} cells rounding hid directions: ≤ marks upper bounds")
    return "\n".join(lines)
