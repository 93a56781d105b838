"""Spectra of several systems as text."""

from __future__ import annotations

import math

import xarray as xr

from lyapkit.comparison import as_comparison
from lyapkit.tables.numbers import exponent_with_error


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
    unit = ds.attrs["time_unit"]
    short = "step" if unit == "step" else "time unit"
    width = max(len("model"), *(len(str(name)) for name in ds["model"].values))
    shown = min(3, ds.sizes["exponent"])
    head = "".join(f"{'λ' + str(i + 1):>22}" for i in range(shown))
    lines = [
        f"{'model':<{width}} {'exponents':>10}{head} {'memory':>10} {'dimension':>10}",
        f"{'':<{width}} {'':>10}{'nats/' + short:>22}{'':>{22 * (shown - 1)}} {short + 's':>10} {'':>10}",
    ]
    for name in ds["model"].values:
        one = ds.sel(model=name)
        first = float(one["lyapunov_exponent"][0])
        memory = "∞" if first >= 0 else "n/a" if math.isnan(first) else f"{-1 / first:.4g}"
        numbers = "".join(f"{exponent_with_error(one, i):>22}" for i in range(shown))
        dimension = float(one["kaplan_yorke_dimension"])
        lines.append(
            f"{name!s:<{width}} {int(one['n_exponents']):>10}{numbers} {memory:>10} "
            f"{'n/a' if math.isnan(dimension) else f'{dimension:.4g}':>10}"
        )
    return "\n".join(lines)
