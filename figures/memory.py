"""Draw how long each architecture remembers before training: its largest exponents along the inputs of every task.

python figures/memory.py

The largest Lyapunov exponent λ of untrained networks, a point per network, as PyTorch initialises them or, of WCRNNs,
at r = 0.99 and α = 0.01. Left of the dashed line states are forgotten, by a factor e in −1/λ steps; right of it
perturbations grow.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import table2
from figures.drawing import STYLE, TWO_COLUMNS, Source, run_one
from figures.panels import NAMES
from lyapkit.plots.drawing import distinct

SOURCE = Source(
    "architecture_memory.nc",
    "python analyses/architecture_memory.py",
    "half a minute",
    ("lyapunov_exponent", "architecture"),
)
LINEAR_BELOW = 0.01  # nats per step: exponents are drawn on a logarithmic scale beyond
TICKS = {-1: "−1\n1 step", -0.1: "−0.1\n10 steps", -0.01: "−0.01\n100 steps", 0: "0", 0.01: "0.01", 0.1: "0.1"}


def make(ds: xr.Dataset) -> Figure:
    """Return the figure."""
    with plt.style.context(STYLE):
        figure, ax = plt.subplots(figsize=(TWO_COLUMNS, 3.0))
        largest_exponents(ax, ds)
        ax.legend(title="task", loc="lower right")
        figure.suptitle(f"Memory before training (scale {ds.attrs['scale']})")
    return figure


def largest_exponents(ax: Axes, ds: xr.Dataset) -> None:
    """Draw the largest exponent of every network: architectures in rows, the longest memory on top, tasks by colour."""
    largest = ds["lyapunov_exponent"].sel(exponent=1)
    means = largest.mean(("task", "network"))
    order = means.sortby(means)["architecture"].values
    tasks = ds["task"].values.tolist()
    place = np.arange(len(order))
    for shift, name, colour in zip(np.linspace(0.27, -0.27, len(tasks)), tasks, distinct(len(tasks)), strict=True):
        for network in ds["network"].values:
            values = largest.sel(task=name, network=network, architecture=order)
            label = f"{NAMES.get(name, name.upper())}, T = {int(ds['n_steps'].sel(task=name))}"
            ax.plot(values, place + shift, "o", color=colour, markersize=3, label=None if network else label)
    for row in place[::2]:
        ax.axhspan(row - 0.5, row + 0.5, color="0.95", zorder=0)
    ax.axvline(0.0, color="black", linewidth=0.6, linestyle="--", zorder=1)
    ax.set_xscale("symlog", linthresh=LINEAR_BELOW)
    ax.set_xticks(list(TICKS), list(TICKS.values()))
    ax.set_yticks(place, [table2.NAMES[name] for name in order])
    ax.set_ylim(-0.5, len(order) - 0.5)
    ax.set_xlabel(f"largest exponent λ (nats per step), and memory −1/λ; {ds.sizes['network']} networks each")


def numbers(ds: xr.Dataset) -> str:
    """Return the largest exponents and memories, means over networks, as Markdown."""
    lines = ["| task | architecture | largest exponent (nats per step) | memory (steps) |", "|---|---|---|---|"]
    largest = ds["lyapunov_exponent"].sel(exponent=1).mean("network")
    for task in ds["task"].values:
        for architecture in ds["architecture"].values:
            value = float(largest.sel(task=task, architecture=architecture))
            memory = f"{-1 / value:.3g}" if value < 0 else "grows"
            lines.append(f"| {task} | {architecture} | {value:+.4f} | {memory} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_one("memory", SOURCE, make, __doc__, numbers)
