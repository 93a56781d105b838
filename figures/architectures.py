"""Draw the learning curves behind Table 2, every architecture on every task.

python figures/architectures.py
"""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from figures import table2
from figures.drawing import STYLE, TWO_COLUMNS, Datasets, blank, lettered, run, scales
from figures.panels import learning_curves, mean_and_deviation
from lyapkit.plots.drawing import distinct

SOURCES = table2.SOURCES
COLOURS = dict(zip(table2.NAMES, distinct(len(table2.NAMES)), strict=True))
SHORT = table2.NAMES | {
    "wcrnn-a": "type A",
    "wcrnn-b": "type B",
    "wcrnn-identity": "no nonlinearity",
    "elman-residual": "Elman",
}


def make(datasets: Datasets) -> Figure:
    """Return the figure of those of the datasets `SOURCES` that are there."""
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(TWO_COLUMNS, 5.0))
        for ax, (name, source) in zip(axes.flat, SOURCES.items(), strict=True):
            if name not in datasets:
                blank(ax, source)
                continue
            is_accuracy = datasets[name].attrs["score"] == "accuracy"
            if not is_accuracy:
                ax.set_yscale("log")  # errors before training are large
            learning_curves(ax, datasets[name], legend=False, colour_of=COLOURS, name_of=SHORT)
            if is_accuracy:
                ax.locator_params(axis="x", nbins=5)
        lettered(list(axes.flat), "ABCD")
        figure.suptitle(f"Architectures compared ({scales(datasets)})")
    return figure


def numbers(datasets: Datasets) -> str:
    """Return best scores and learning rates as Markdown."""
    lines = ["| task | architecture | best score | learning rate |", "|---|---|---|---|"]
    for name, ds in datasets.items():
        for architecture in ds["architecture"].values:
            one = ds.sel(architecture=architecture)
            cells = [name, architecture, mean_and_deviation(one["best_score"]), f"{float(one['learning_rate']):g}"]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run("architectures", SOURCES, make, __doc__, numbers)
