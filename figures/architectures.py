"""Draw the learning curves behind Table 2: every architecture on every task that has been run.

python figures/architectures.py
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import seaborn as sns
import table2
from drawing import STYLE, TWO_COLUMNS, Datasets, blank, lettered, run, scales
from matplotlib.figure import Figure
from panels import learning_curves, mean_and_deviation

SOURCES = table2.SOURCES
COLOURS = dict(zip(table2.NAMES, sns.color_palette("colorblind", len(table2.NAMES)).as_hex(), strict=True))


def make(datasets: Datasets) -> Figure:
    """Return the figure of those of the datasets `SOURCES` that are there."""
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(TWO_COLUMNS, 5.2))
        for ax, (name, source) in zip(axes.flat, SOURCES.items(), strict=True):
            if name in datasets:
                learning_curves(ax, datasets[name], legend=False, colour_of=COLOURS)
                ax.locator_params(axis="x", nbins=5)
                if datasets[name].attrs["score"] != "accuracy":
                    ax.set_yscale("log")  # errors before training are large
            else:
                blank(ax, source)
        handles = [plt.Line2D([], [], color=colour, label=table2.NAMES[name]) for name, colour in COLOURS.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=5)
        lettered(list(axes.flat), "ABCD")
        figure.suptitle(f"Architectures compared ({scales(datasets)})")
    return figure


def numbers(datasets: Datasets) -> str:
    """Return best scores and learning rates, as Markdown."""
    lines = ["| task | architecture | best score | learning rate |", "|---|---|---|---|"]
    for name, ds in datasets.items():
        for architecture in ds["architecture"].values:
            one = ds.sel(architecture=architecture)
            rate = float(one["learning_rate"])
            lines.append(f"| {name} | {architecture} | {mean_and_deviation(one['best_score'])} | {rate:g} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run("architectures", SOURCES, make, __doc__, numbers)
