"""Spectra as text."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from lyapkit.statistics import ensemble_mean, entropy_rate, kaplan_yorke_dimension

MAX_ROWS = 16


def spectrum_table(ds: xr.Dataset) -> str:
    """Return a spectrum as a table: mean over trajectories, standard error, range and memory timescale per exponent.

    Of long spectra the first and last exponents are shown, and some in between.
    """
    mean = ensemble_mean(ds)
    exponents = ds["lyapunov_exponent"].values
    k = exponents.shape[1]
    unit = ds["end_time"].attrs["units"]
    head = ["rank", "exponent", "std. error", "smallest", "largest", "memory"]
    units = ["", f"nats/{_short(unit)}", "", "of the trajectories", "", f"{_short(unit)}s"]
    rows = []
    for index in _shown_rows(k):
        value, error = float(mean["lyapunov_exponent"][index]), float(mean["standard_error"][index])
        valid = exponents[~np.isnan(exponents[:, index]), index]
        extent = (valid.min(), valid.max()) if len(valid) else (math.nan, math.nan)
        memory = -1 / value if value < 0 else (math.nan if math.isnan(value) else math.inf)
        rows.append([str(index + 1), *(_number(x) for x in (value, error, *extent)), f"{memory:.3g}"])
    lines = [
        f"{ds.attrs['system']}",
        f"{_counted(ds.sizes['trajectory'], 'trajectory', 'trajectories')} of {ds['end_time'].values[-1]:g} "
        f"{'steps' if unit == 'step' else 'units of time'}, {_counted(k, 'exponent', 'exponents')}",
        "",
        "{:>5} {:>13} {:>12} {:>12} {:>12} {:>10}".format(*head),
        f"{units[0]:>5} {units[1]:>13} {units[2]:>12} {units[3]:>25} {units[5]:>10}",
    ]
    previous = -1
    for index, row in zip(_shown_rows(k), rows, strict=True):
        if index > previous + 1:
            lines.append(f"{'…':>5}")
        lines.append("{:>5} {:>13} {:>12} {:>12} {:>12} {:>10}".format(*row))
        previous = index
    lines += [
        "",
        f"Kaplan–Yorke dimension {_mean_text(kaplan_yorke_dimension(ds))}, "
        f"entropy rate {_mean_text(entropy_rate(ds))} nats per {unit}",
        f"{ds.attrs['n_reorthonormalizations']} re-orthonormalisations, {ds.attrs['n_reconditionings']} factorisations "
        f"between them, worst condition {ds.attrs['worst_condition']:.1e}",
    ]
    if n_diverged := int(ds["divergence_step"].notnull().sum()):
        lines.append(f"{n_diverged} of {ds.sizes['trajectory']} trajectories diverged and are left out")
    return "\n".join(lines)


def _shown_rows(k: int) -> list[int]:
    if k <= MAX_ROWS:
        return list(range(k))
    middle = np.linspace(6, k - 4, MAX_ROWS - 8).round().astype(int)
    return sorted({*range(5), *middle.tolist(), *range(k - 3, k)})


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _short(unit: str) -> str:
    return "step" if unit == "step" else "time unit"


def _number(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.5f}"


def _mean_text(values: xr.DataArray) -> str:
    valid = values.values[~np.isnan(values.values)]
    return f"{valid.mean():.4g}" if len(valid) else "n/a"
