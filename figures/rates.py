"""Draw which learning rates networks with residual r·I survive, beside the limit that the Hessian sets.

    python figures/rates.py

Gradient descent with momentum μ is stable only for η < 2(1 + μ)/λ_max. Lines: this limit from the largest measured
eigenvalue λ_max of the Hessian, before training and at the end of it, at 196 and 784 steps. Marks: trainings on sMNIST,
with what share of the networks collapses (their test loss rises by more than 1 above the least it had been, or is not
finite any more). Radii are compared across lengths by r^T: far below criticality nothing limits η before training, but
learning makes λ_max grow.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.claims.sweeps import largest_rises
from figures.drawing import STYLE, TWO_COLUMNS, Datasets, Source, blank, lettered, run, scales, sweep
from figures.fig2 import SOURCE as BEFORE

MOMENTUM = 0.9
COLLAPSE = 1.0  # rise of the loss
SHORT, LONG = ("smnist", "slower", "tried"), ("full-length", "one epoch")
FULL_LENGTH = Source(
    "expressivity/full-length/smnist_radius.nc",
    "python analyses/expressivity.py --scale full-length --task smnist --sweep radius --value 0.995 --seeds 1",
    "an hour",
    ("test_score", "best_score", "radius"),
)
SOURCES = {
    "smnist": sweep("smnist", "radius", "1.5 core hours", "hessian_eigenvalue", "learning_rate"),
    "slower": sweep("smnist", "radius-slower", "2 core hours", "hessian_eigenvalue", "learning_rate"),
    "tried": Source(
        "learning_rate/quick/smnist_radius.nc",
        "python analyses/learning_rate.py --task smnist",
        "10 core minutes",
        ("learning_rate", "radius", "test_loss"),
    ),
    "before": BEFORE,
    "full-length": FULL_LENGTH,
    "one epoch": Source(
        "learning_rate/full-length/smnist_radius.nc",
        "python analyses/learning_rate.py --scale full-length --task smnist",
        "half a core hour",
        ("learning_rate", "radius", "test_loss"),
    ),
}


def limit(eigenvalues: xr.DataArray) -> xr.DataArray:
    """Return the largest stable learning rate, 2(1 + μ)/λ_max."""
    return 2 * (1 + MOMENTUM) / eigenvalues.max("eigenvalue")


def collapsed(losses: xr.DataArray) -> xr.DataArray:
    """Return which trainings collapse; NaN where there is none."""
    values = losses.transpose(..., "iteration").values
    gone = np.where(np.isnan(values).all(-1), np.nan, largest_rises(values) > COLLAPSE)
    return losses.transpose(..., "iteration").isel(iteration=0, drop=True).copy(data=gone)


def trainings(ds: xr.Dataset) -> list[tuple[float, float, float, int]]:
    """Return radius, learning rate, share of networks that collapse and their number, of all trainings."""
    gone = collapsed(ds["test_loss"])
    if "divergence_iteration" in ds:
        gone = gone.where(ds["divergence_iteration"].isnull(), 1.0)
    if "network" not in gone.dims:
        gone = gone.expand_dims("network")
    found = []
    for radius in ds["radius"].values.tolist():
        one = gone.sel(radius=radius)
        if "learning_rate" in one.dims:
            rates = one["learning_rate"].values.tolist()
        else:
            rates = [float(ds["learning_rate"].sel(radius=radius))]
        for rate in rates:
            values = one.sel(learning_rate=rate) if "learning_rate" in one.dims else one
            known = values.values[~np.isnan(values.values)]
            if len(known):
                found.append((radius, rate, float(known.mean()), len(known)))
    return found


def draw_limit(ax: Axes, limits: xr.DataArray, colour: str, style: str, label: str) -> None:
    """Draw limits of learning rates against r: median over networks, a point each."""
    limits = limits.dropna("radius", how="all").transpose("radius", "network")
    for network in limits["network"].values:
        ax.plot(limits["radius"], limits.sel(network=network), ".", color=colour, markersize=2.5)
    ax.plot(limits["radius"], limits.median("network"), style, color=colour, label=label)


def draw_trainings(ax: Axes, found: list[tuple[float, float, float, int]]) -> None:
    """Draw a mark per training: full where all networks are well, empty where all collapse, its share between."""
    for radius, rate, share, _ in found:
        ax.plot(radius, rate, "o", color="0.2", markersize=5, markerfacecolor=(0.2, 0.2, 0.2, 1 - share), zorder=3)
        if share > 0:
            ax.plot(radius, rate, "x", color="#D55E00", markersize=5, zorder=4)


def make(datasets: Datasets) -> Figure:
    """Return the figure of those of the datasets `SOURCES` that are there."""
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(TWO_COLUMNS, 3.2))
        short, full = axes
        if "smnist" in datasets:
            curvature = datasets["smnist"]["hessian_eigenvalue"]
            ends = (("before", 0, "-"), ("after", -1, "--"))
            for name, place, style in ends:
                limits = limit(curvature.isel(checkpoint=place))
                stands = (limits > 0) & ((collapsed(datasets["smnist"]["test_loss"]) == 0) | (place == 0))
                draw_limit(
                    short, limits.where(stands), "#0072B2", style, f"2(1 + μ)/$\\lambda_{{max}}$ {name} training"
                )
            for name in SHORT:
                if name in datasets:
                    draw_trainings(short, trainings(datasets[name]))
            short.legend(loc="upper right")
        else:
            blank(short, SOURCES["smnist"])
        short.set(yscale="log", xlabel="radius r", ylabel="learning rate η", title="sMNIST, T = 196")
        if "before" in datasets:
            draw_limit(
                full,
                limit(datasets["before"]["hessian_eigenvalue"]),
                "#0072B2",
                "o-",
                "2(1 + μ)/$\\lambda_{max}$ before training",
            )
            full.legend(loc="lower left")
        else:
            blank(full, BEFORE)
        for name in LONG:
            if name in datasets:
                draw_trainings(full, trainings(datasets[name]))
        full.set(yscale="log", xlabel="radius r", title="sMNIST, T = 784")
        short.plot([], [], "o", color="0.2", markersize=5, label="all learn")
        short.plot([], [], "x", color="#D55E00", markersize=5, label="some or all collapse")
        handles, labels = short.get_legend_handles_labels()
        short.legend(handles, labels, loc="upper right")
        lettered([short, full], "AB")
        figure.suptitle(f"Learning rates and the Hessian ({scales(datasets)})")
    return figure


def numbers(datasets: Datasets) -> str:
    """Return what the figure says in numbers, as Markdown."""
    lines = ["| trainings | r | η | networks | of them collapse |", "|---|---|---|---|---|"]
    for name, ds in datasets.items():
        if name == "before":
            continue
        lines += [f"| {name} | {r:g} | {rate:g} | {n} | {share:.0%} |" for r, rate, share, n in trainings(ds)]
    return "\n".join(lines)


if __name__ == "__main__":
    run("rates", SOURCES, make, __doc__, numbers)
