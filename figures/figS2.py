"""Draw Figure S2 of the paper: leading Hessian eigenvalues of WCRNNs over training.

    python figures/figS2.py

(A) the largest and (B) the fifth largest of them, at checkpoints of one network per radius of the residual, on sMNIST.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from figures.drawing import STYLE, TWO_COLUMNS, Datasets, blank, lettered, run, scales, sweep
from figures.panels import over_checkpoints

SOURCES = {"smnist": sweep("smnist", "radius", "1.5 core hours", "hessian_eigenvalue", "checkpoint")}
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
    """Return the rank-th largest eigenvalue by magnitude of the first network, (radius, checkpoint)."""
    magnitude = np.abs(ds["hessian_eigenvalue"].sel(network=0)).dropna("radius", how="all")
    ordered = np.sort(magnitude.transpose(..., "eigenvalue").values)[..., ::-1]
    return magnitude.isel(eigenvalue=0, drop=True).copy(data=ordered[..., min(rank, ordered.shape[-1]) - 1])


def numbers(datasets: Datasets) -> str:
    """Return what the figure says in numbers, as Markdown."""
    if "smnist" not in datasets:
        return ""
    values = ranked(datasets["smnist"], 1)
    steps = values["checkpoint"].values
    lines = ["| r |" + "".join(f" largest at {step:g} |" for step in steps), "|---" * (1 + len(steps)) + "|"]
    for radius in values["radius"].values:
        lines.append(f"| {radius:g} |" + "".join(f" {float(v):.3g} |" for v in values.sel(radius=radius)))
    return "\n".join(lines)


if __name__ == "__main__":
    run("figS2", SOURCES, make, __doc__, numbers)
