"""Draw Figure S2 of the paper: leading Hessian eigenvalues of WCRNNs over training.

    python figures/figS2.py

(A) the largest and (B) the fifth largest of them, at checkpoints, by the radius of the residual, on sMNIST:
medians of three networks, at a learning rate at which none collapses.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from figures.drawing import STYLE, TWO_COLUMNS, Datasets, blank, lettered, run, scales, sweep
from figures.panels import measured, over_checkpoints

SOURCES = {"smnist": sweep("smnist", "radius-slower", "half a core hour", "hessian_eigenvalue", "checkpoint")}
RANKS = {"largest": 1, "fifth largest": 5}


def make(datasets: Datasets) -> Figure:
    """Return the figure of the dataset, if it is there."""
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(TWO_COLUMNS, 3.2), sharey=True)
        for ax, (name, rank) in zip(axes, RANKS.items(), strict=True):
            if "smnist" not in datasets:
                blank(ax, SOURCES["smnist"])
                continue
            over_checkpoints(ax, ranked(datasets["smnist"], rank), "|Hessian eigenvalue| (loss per weight²)")
            ax.set(yscale="log", title=name)
            ax.legend(title="radius r", ncols=2)
        lettered(list(axes), "AB")
        figure.suptitle(f"Curvature over training, sMNIST ({scales(datasets)})")
    return figure


def ranked(ds: xr.Dataset, rank: int) -> xr.DataArray:
    """Return the rank-th largest eigenvalue by magnitude, (radius, network, checkpoint)."""
    magnitude = np.abs(measured(ds, "hessian_eigenvalue"))
    ordered = np.sort(magnitude.transpose(..., "eigenvalue").values)[..., ::-1]
    return magnitude.isel(eigenvalue=0, drop=True).copy(data=ordered[..., min(rank, ordered.shape[-1]) - 1])


def numbers(datasets: Datasets) -> str:
    """Return what the figure says in numbers, as Markdown."""
    if "smnist" not in datasets:
        return ""
    values = ranked(datasets["smnist"], 1).median("network")
    steps = values["checkpoint"].values
    lines = ["| r |" + "".join(f" largest at {step:g} |" for step in steps), "|---" * (1 + len(steps)) + "|"]
    for radius in values["radius"].values:
        lines.append(f"| {radius:g} |" + "".join(f" {float(v):.3g} |" for v in values.sel(radius=radius)))
    return "\n".join(lines)


if __name__ == "__main__":
    run("figS2", SOURCES, make, __doc__, numbers)
