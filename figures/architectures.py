"""Draw the learning curves behind Table 2, every architecture on every task, and what each forgets before training.

python figures/architectures.py
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures import table2
from figures.drawing import STYLE, TWO_COLUMNS, Datasets, Source, blank, lettered, run, scales
from figures.panels import NAMES, learning_curves, mean_and_deviation

EXPONENTS = Source(
    "architecture_memory.nc",
    "python analyses/architecture_memory.py",
    "half a minute",
    ("lyapunov_exponent", "architecture"),
)
SOURCES = table2.SOURCES | {"exponents": EXPONENTS}
COLOURS = dict(zip(table2.NAMES, sns.color_palette("colorblind", len(table2.NAMES)).as_hex(), strict=True))
SHORT = table2.NAMES | {
    "wcrnn-a": "type A",
    "wcrnn-b": "type B",
    "wcrnn-identity": "no nonlinearity",
    "elman-residual": "Elman",
}
LINEAR_BELOW = 0.01  # nats per step: exponents are drawn on a logarithmic scale beyond


def make(datasets: Datasets) -> Figure:
    """Return the figure of those of the datasets `SOURCES` that are there."""
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(3, 2, figsize=(TWO_COLUMNS, 7.4))
        *panels, last = axes.flat
        for ax, (name, source) in zip(panels, SOURCES.items(), strict=True):
            if name not in datasets:
                blank(ax, source)
            elif name == "exponents":
                largest_exponents(ax, datasets[name])
            else:
                if datasets[name].attrs["score"] != "accuracy":
                    ax.set_yscale("log")  # errors before training are large
                learning_curves(ax, datasets[name], legend=False, colour_of=COLOURS, name_of=SHORT)
                if datasets[name].attrs["score"] == "accuracy":
                    ax.locator_params(axis="x", nbins=5)
        last.axis("off")
        handles = [plt.Line2D([], [], color=colour, label=table2.NAMES[name]) for name, colour in COLOURS.items()]
        last.legend(handles=handles, loc="center left", title="architecture")
        lettered(panels, "ABCDE")
        figure.suptitle(f"Architectures compared ({scales(datasets)})")
    return figure


def largest_exponents(ax: Axes, ds: xr.Dataset) -> None:
    """Draw the largest exponent of each architecture on each task, mean over networks."""
    largest = _largest(ds)
    place = np.arange(ds.sizes["task"])
    for shift, (architecture, colour) in zip(np.linspace(-0.32, 0.32, len(COLOURS)), COLOURS.items(), strict=True):
        ax.plot(place + shift, largest.sel(architecture=architecture), "o", color=colour, markersize=4)
    ax.axhline(0.0, color="black", linewidth=0.6, linestyle="--")
    ax.set_yscale("symlog", linthresh=LINEAR_BELOW)
    ax.set_yticks([-1, -0.1, -0.01, 0, 0.01, 0.1], ["−1", "−0.1", "−0.01", "0", "0.01", "0.1"])
    ax.set_xticks(place, [NAMES.get(name, name.upper()) for name in ds["task"].values])
    ax.set_ylabel("largest exponent (nats per step)")
    ax.set_title(f"before training, {ds.sizes['network']} networks each")


def _largest(ds: xr.Dataset) -> xr.DataArray:
    return ds["lyapunov_exponent"].sel(exponent=1).mean("network")


def numbers(datasets: Datasets) -> str:
    """Return best scores, learning rates and largest exponents before training, as Markdown."""
    lines = [
        "| task | architecture | best score | learning rate | largest exponent before training (nats per step) |",
        "|---|---|---|---|---|",
    ]
    largest = _largest(datasets["exponents"]) if "exponents" in datasets else None
    for name, ds in datasets.items():
        if name == "exponents":
            continue
        for architecture in ds["architecture"].values:
            one = ds.sel(architecture=architecture)
            cells = [name, architecture, mean_and_deviation(one["best_score"]), f"{float(one['learning_rate']):g}"]
            exponent = "" if largest is None else f"{float(largest.sel(task=name, architecture=architecture)):+.4f}"
            lines.append(f"| {' | '.join([*cells, exponent])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run("architectures", SOURCES, make, __doc__, numbers)
