"""Draw Figure S3 of the paper: the coupling α swept.

    python figures/figS3.py

(A) learning curves by α, (B) best test score and (C) iterations until minimal performance, on sMNIST.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from figures.drawing import STYLE, TWO_COLUMNS, Datasets, blank, lettered, run, scales, sweep
from figures.panels import against_parameter, learning_curves, speeds_against_parameter

SOURCES = {"smnist": sweep("smnist", "coupling", "20 core minutes")}


def make(datasets: Datasets) -> Figure:
    """Return the figure of the dataset, if it is there."""
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(TWO_COLUMNS, 2.6))
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
        lettered(list(axes), "ABC")
        figure.suptitle(f"Coupling α ({scales(datasets)})")
    return figure


if __name__ == "__main__":
    run("figS3", SOURCES, make, __doc__)
