"""Spectra and trainings as text."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from lyapkit.statistics import ensemble_mean, entropy_rate, kaplan_yorke_dimension, memory_timescale

MAX_ROWS = 16


def spectrum_table(ds: xr.Dataset) -> str:
    """Return a spectrum as a table: mean over trajectories, standard error, range and memory timescale per exponent.

    Of long spectra the first and last exponents are shown, and some in between.
    """
    mean = ensemble_mean(ds)
    exponents = ds["lyapunov_exponent"].values
    k = exponents.shape[1]
    unit = ds["end_time"].attrs["units"]
    memory = memory_timescale(mean)
    lines = [
        ds.attrs["system"],
        f"{_counted(ds.sizes['trajectory'], 'trajectory', 'trajectories')} of {ds['end_time'].values[-1]:g} "
        f"{'steps' if unit == 'step' else 'units of time'}, {_counted(k, 'exponent', 'exponents')}",
        "",
        f"{'rank':>5} {'exponent':>13} {'std. error':>12} {'smallest':>12} {'largest':>12} {'memory':>10}",
        f"{'':>5} {'nats/' + _short(unit):>13} {'':>12} {'of the trajectories':>25} {_short(unit) + 's':>10}",
    ]
    previous = -1
    for index in _shown_rows(k):
        if index > previous + 1:
            lines.append(f"{'…':>5}")
        valid = exponents[~np.isnan(exponents[:, index]), index]
        extent = (valid.min(), valid.max()) if len(valid) else (math.nan, math.nan)
        numbers = (float(mean["lyapunov_exponent"][index]), float(mean["standard_error"][index]), *extent)
        value, error, smallest, largest = (_number(number) for number in numbers)
        lines.append(
            f"{index + 1:>5} {value:>13} {error:>12} {smallest:>12} {largest:>12} {float(memory[index]):>10.3g}"
        )
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


def training_table(ds: xr.Dataset) -> str:
    """Return the metrics of a training as a table: settings, last and best score, iterations, divergence per network.

    Settings are the coordinates along `network`, if there are any.
    """
    settings = [str(name) for name in ds.coords if ds[name].dims == ("network",) and name != "network"]
    score, unit = ds.attrs["score"], "iterations"
    lines = [
        f"{'network':>7}" + "".join(f"{name:>11}" for name in settings) + f"{'last':>10}{'best':>10}"
        f"{'minimal performance':>22}{'diverged':>14}",
        f"{'':>7}" + "".join(f"{'':>11}" for _ in settings) + f"{score:>20}{'after ' + unit:>22}{'at iteration':>14}",
    ]
    for index in ds["network"].values:
        one = ds.sel(network=index)
        numbers = (one["iterations_to_minimal_performance"], one["divergence_iteration"])
        reached, diverged = ("–" if np.isnan(number) else f"{int(number)}" for number in numbers)
        last, best = (_number(float(value)) for value in (one["test_score"][-1], one["best_score"]))
        lines.append(
            f"{index:>7}" + "".join(f"{float(one[name]):>11.5g}" for name in settings) + f"{last:>10}{best:>10}"
            f"{reached:>22}{diverged:>14}"
        )
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
