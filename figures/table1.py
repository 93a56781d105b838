"""Make Table 1 of the paper: homogeneous against heterogeneous residuals.

    python figures/table1.py

Best test score and iterations until minimal performance (MP), ours and, where they survived, the paper's numbers.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from figures.drawing import Datasets, sweep
from figures.panels import mean_and_deviation, task_name
from figures.tabulating import Rows, run

SOURCES = {
    "smnist": sweep("smnist", "residual", "40 core minutes"),
    "psmnist": sweep("psmnist", "residual", "40 core minutes"),
    "add100": sweep("add100", "residual", "40 core minutes"),
}
COMPARED = ("homogeneous", "heterogeneous")
PAPER = {  # accuracy in per cent, iterations to MP; of 784 steps and 200 epochs
    ("smnist", "homogeneous"): ("96.05", "200"),
    ("smnist", "heterogeneous"): ("98.22", "200"),
    ("psmnist", "homogeneous"): ("92.66", "2076"),
    ("psmnist", "heterogeneous"): ("95.37", "1038"),
    ("add100", "homogeneous"): ("–", "9298"),
    ("add100", "heterogeneous"): ("–", "8698"),
}


def make(datasets: Datasets) -> Rows:
    """Return the rows for those of the datasets `SOURCES` that are there."""
    rows = [["task", "residual", "best score (% or RMS)", "paper", "iterations to MP", "paper "]]
    for name, ds in datasets.items():
        for residual in COMPARED:
            if residual in ds["residual"].values:
                one = ds.sel(residual=residual)
                paper = PAPER[name, residual]
                rows.append([task_name(ds), residual, score(one, ds), paper[0], speed(one), paper[1]])
    return rows


def score(one: xr.Dataset, ds: xr.Dataset) -> str:
    """Return the best score: accuracy in per cent, or RMS error."""
    digits, factor = (2, 100.0) if ds.attrs["score"] == "accuracy" else (3, 1.0)
    return mean_and_deviation(one["best_score"], digits, factor)


def speed(one: xr.Dataset) -> str:
    """Return iterations until minimal performance of the networks that reach it, and how many do not."""
    found = one["iterations_to_minimal_performance"].where(one["best_score"].notnull(), drop=True)
    reached = found.dropna("network")
    never = len(found) - len(reached)
    text = f"{float(reached.mean()):.0f}" if len(reached) else "–"
    diverged = int(np.isfinite(one["divergence_iteration"]).sum())
    notes = [f"{never} never"] * (never > 0) + [f"{diverged} diverged"] * (diverged > 0)
    return text + (f" ({', '.join(notes)})" if notes else "")


if __name__ == "__main__":
    run("table1", SOURCES, make, __doc__)
