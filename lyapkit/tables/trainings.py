"""Trainings as text."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lyapkit.tables.numbers import number


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
        last, best = (number(float(value)) for value in (one["test_score"][-1], one["best_score"]))
        lines.append(
            f"{index:>7}" + "".join(f"{float(one[name]):>11.5g}" for name in settings) + f"{last:>10}{best:>10}"
            f"{reached:>22}{diverged:>14}"
        )
    return "\n".join(lines)
