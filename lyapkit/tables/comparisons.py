"""Spectra of several systems as text."""

from __future__ import annotations

import xarray as xr

from lyapkit.comparison import as_comparison
from lyapkit.statistics import memory_timescale, upper_bounds
from lyapkit.tables.layout import Columns, aligned
from lyapkit.tables.numbers import exponent_with_error, memories, number, short_unit


def comparison_table(ds: xr.Dataset) -> str:
    """Return what `compare` returned as a table: the leading exponents of every model, memory and dimension.

    Or spectra of several checkpoints of a network, as `over_training` returns them.

    Examples
    --------
    >>> import lyapkit as lk
    >>> maps = {f"a = {a}": lk.classical.henon(a) for a in (1.2, 1.4)}
    >>> ds = lk.compare({name: lk.lyapunov_spectrum(map, n_steps=200) for name, map in maps.items()})
    >>> print(lk.comparison_table(ds).splitlines()[0].split())
    ['model', 'exponents', 'λ1', 'λ2', 'memory', 'dimension']
    """
    ds = as_comparison(ds, "comparison_table")
    unit = short_unit(ds.attrs["time_unit"])
    memory = memory_timescale(ds).isel(exponent=0)
    models = [ds.sel(model=name) for name in ds["model"].values]
    columns: Columns = {("exponents", ""): ds["n_exponents"].values}
    for rank in range(min(3, ds.sizes["exponent"])):
        columns[f"λ{rank + 1}", f"nats/{unit}"] = [exponent_with_error(one, rank) for one in models]
    columns["memory", f"{unit}s"] = memories(memory.values, upper_bounds(memory), ".4g")
    columns["dimension", ""] = [number(value, form=".4g") for value in ds["kaplan_yorke_dimension"].values]
    return aligned(columns, names=("model", ds["model"].values), every_row=True)
