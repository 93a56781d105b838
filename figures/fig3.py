"""Draw Figure 3 of the paper: WCRNNs with residual r·I learn, below, at and above criticality.

    python figures/fig3.py

(A) learning curves by r, (B) best test score and (C) iterations until minimal performance against r, for three tasks,
and (C) for adding problems of other lengths; (D) leading Hessian eigenvalues over training. Images are learnt at a
rate at which networks above 1 do not collapse.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.drawing import STYLE, TWO_COLUMNS, Datasets, blank, lettered, run, scales, sweep
from figures.panels import (
    against_parameter,
    is_learnt,
    label_ends,
    learning_curves,
    mean_and_deviation,
    measured,
    networks,
    over_checkpoints,
    speeds_against_parameter,
    task_name,
)
from lyapkit.plots.training import until_minimal_performance

SHOWN = ("smnist", "psmnist", "add100")  # one per column
OTHER_LENGTHS = {"add50": "#E69F00", "add200": "#009E73"}  # of the adding problem, and their colours
SOURCES = {
    "smnist": sweep("smnist", "radius-slower", "half a core hour", "hessian_eigenvalue", "checkpoint"),
    "psmnist": sweep("psmnist", "radius-slower", "1 core hour"),
    "add100": sweep("add100", "radius", "1 core hour"),
    "add50": sweep("add50", "radius", "10 core minutes"),
    "add200": sweep("add200", "radius", "1 core hour per seed"),
}


def make(datasets: Datasets) -> Figure:
    """Return the figure of those of the datasets `SOURCES` that are there."""
    with plt.style.context(STYLE):
        layout = [[f"{row}{column}" for column in range(3)] for row in "ABC"] + [["D", "D", "legend"]]
        figure, axes = plt.subplot_mosaic(layout, figsize=(TWO_COLUMNS, 7.6), height_ratios=[1.2, 1, 1, 1])
        for column, name in enumerate(SHOWN):
            panels = [axes[f"{row}{column}"] for row in "ABC"]
            if name not in datasets:
                for ax in panels:
                    blank(ax, SOURCES[name])
                continue
            ds = datasets[name]
            learning_curves(panels[0], ds, legend=False)
            against_parameter(panels[1], ds["best_score"], ds["best_score"].attrs["long_name"])
            if name.startswith("add"):
                panels[1].set_title(f"{task_name(ds)}, trained until MP only")
            else:
                panels[1].set_title(task_name(ds))
            panels[2].set_title(task_name(ds))
            label = task_name(ds) if name.startswith("add") else ""
            speeds_against_parameter(panels[2], ds, label=label)
        draw_other_lengths(axes["C2"], datasets)
        draw_curvature(axes["D"], datasets)
        draw_legend(axes["legend"], axes["C2"])
        lettered([axes["A0"], axes["B0"], axes["C0"], axes["D"]], "ABCD")
        figure.suptitle(f"Residual r·I from sub- to supercritical ({scales(datasets)})")
    return figure


def draw_other_lengths(ax: Axes, datasets: Datasets) -> None:
    """Draw how long adding problems of other lengths take, beside the one that has a column."""
    for name, colour in OTHER_LENGTHS.items():
        if name in datasets:
            ds = datasets[name]
            label = f"{task_name(ds)}, {networks(ds)}" + ("" if is_learnt(ds) else ", never")
            speeds_against_parameter(ax, ds, colour, label)


def draw_curvature(ax: Axes, datasets: Datasets) -> None:
    """Draw leading Hessian eigenvalues of sMNIST networks over training."""
    if "smnist" not in datasets:
        blank(ax, SOURCES["smnist"])
        return
    leading = np.abs(measured(datasets["smnist"], "hessian_eigenvalue")).max("eigenvalue")
    over_checkpoints(ax, leading, "largest |Hessian eigenvalue|")
    ax.set(yscale="log", title=f"curvature over training (sMNIST, {leading.sizes['network']} networks each)")
    medians = [line for line in ax.lines if not str(line.get_label()).startswith("_")]
    ends = [(0.0, float(line.get_ydata()[-1]), str(line.get_label()), str(line.get_color())) for line in medians]
    label_ends(ax, ends, "r = ")


def draw_legend(ax: Axes, lengths: Axes) -> None:
    """Draw the colours of the lengths of the adding problem."""
    ax.axis("off")
    ax.legend(*lengths.get_legend_handles_labels(), title="adding problem of C", loc="center")


def numbers(datasets: Datasets) -> str:
    """Return what the figure says in numbers, as Markdown."""
    lines = ["| task | r | best score | iterations to MP | diverged |", "|---|---|---|---|---|"]
    for name, ds in datasets.items():
        reached = until_minimal_performance(ds)
        for radius in ds["radius"].values:
            best, iterations = ds["best_score"].sel(radius=radius), reached.sel(radius=radius)
            diverged = int(ds["divergence_iteration"].sel(radius=radius).notnull().sum())
            never = int((ds["iterations_to_minimal_performance"].sel(radius=radius).isnull() & best.notnull()).sum())
            lines.append(
                f"| {name} | {radius:g} | {mean_and_deviation(best)} | "
                f"{float(iterations.mean()):.0f}{f' ({never} never)' if never else ''} | {diverged} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    run("fig3", SOURCES, make, __doc__, numbers)
