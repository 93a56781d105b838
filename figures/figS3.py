"""Draw Figure S3 of the paper: the coupling α swept.

    python figures/figS3.py

(A) learning curves by α, (B) best test score and (C) iterations until minimal performance, on sMNIST. The same
iterations, where all three networks reach it, for every learning rate η and α, (D) by η, (E) by η α and (F) by η α²:
where curves of different α fall onto each other, that alone decides how soon networks learn.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.claims.couplings import POWERS
from figures.claims.judging import SOURCES as ASKED
from figures.drawing import STYLE, TWO_COLUMNS, Datasets, blank, lettered, run, scales, sweep
from figures.panels import against_parameter, learning_curves, speeds_against_parameter
from lyapkit.plots.training import colours

SOURCES = {"smnist": sweep("smnist", "coupling", "20 core minutes"), "rates": ASKED["rates_coupling"]}


def make(datasets: Datasets) -> Figure:
    """Return the figure of the dataset, if it is there."""
    with plt.style.context(STYLE):
        figure, (axes, below) = plt.subplots(2, 3, figsize=(TWO_COLUMNS, 4.8))
        if "smnist" in datasets:
            ds = datasets["smnist"]
            learning_curves(axes[0], ds)
            against_parameter(axes[1], ds["best_score"], ds["best_score"].attrs["long_name"])
            speeds_against_parameter(axes[2], ds)
            for ax in axes[1:]:
                ax.set_xscale("log")
        else:
            for ax in axes:
                blank(ax, SOURCES["smnist"])
        for ax, (name, power) in zip(below, POWERS.items(), strict=True):
            if "rates" in datasets:
                draw_times(ax, datasets["rates"], name, power)
            else:
                blank(ax, SOURCES["rates"])
        lettered([*axes, *below], "ABCDEF")
        figure.suptitle(f"Coupling α ({scales(datasets)})")
    return figure


def draw_times(ax: Axes, ds: xr.Dataset, name: str, power: int) -> None:
    """Draw iterations to minimal performance against η times a power of α, a curve for each α: networks and median."""
    reached = ds["iterations_to_minimal_performance"].transpose("coupling", "learning_rate", "network")
    values = reached["coupling"].values
    for coupling, colour in zip(values, colours(values, "coupling"), strict=True):
        one = reached.sel(coupling=coupling).dropna("learning_rate")
        place = one["learning_rate"] * coupling**power
        ax.plot(place, one, ".", color=colour, alpha=0.5, markersize=3)
        ax.plot(place, one.median("network"), "-", color=colour, label=f"{coupling:.2g}")
    ax.set(xscale="log", yscale="log", xlabel=name, ylabel="iterations to MP", title=f"by {name}")
    if power == 0:
        ax.legend(title="α")


if __name__ == "__main__":
    run("figS3", SOURCES, make, __doc__)
