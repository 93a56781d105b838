"""Trainings as text."""

from __future__ import annotations

import xarray as xr

from lyapkit.tables.layout import Columns, aligned
from lyapkit.tables.numbers import number


def training_table(ds: xr.Dataset) -> str:
    """Return the metrics of a training as a table: settings, last and best score, iterations, divergence per network.

    Settings are the coordinates along `network`, if there are any.
    """
    score = ds.attrs["score"]
    settings = [str(name) for name in ds.coords if ds[name].dims == ("network",) and name != "network"]
    columns: Columns = {
        ("network", ""): ds["network"].values,
        **{
            (name, ""): [
                f"{value:.8g}" if isinstance(value, float) else str(value) for value in ds[name].values.tolist()
            ]
            for name in settings
        },
        ("last", score): [number(value) for value in ds["test_score"].isel(iteration=-1).values],
        ("best", score): [number(value) for value in ds["best_score"].values],
    }
    for head, unit, name in (
        ("minimal performance", "after iterations", "iterations_to_minimal_performance"),
        ("diverged", "at iteration", "divergence_iteration"),
    ):
        columns[head, unit] = [number(value, form=".0f", missing="–") for value in ds[name].values]
    return aligned(columns, every_row=True)
