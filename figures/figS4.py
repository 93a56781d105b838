"""Draw Figure S4 of the paper: rotational residuals after a long training.

    python figures/figS4.py

(A) learning curves by ω of a training four times as long as that of Figure 4, (B) the best score of both, on sMNIST.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from figures.drawing import STYLE, TWO_COLUMNS, Datasets, blank, lettered, run, scales, sweep
from figures.panels import against_parameter, characteristic_frequency, learning_curves, mark_rows, mean_and_deviation

SOURCES = {
    "long": sweep("smnist", "frequency-long", "1 core hour"),
    "short": sweep("smnist", "frequency", "1 core hour"),
}
COLOURS = {"long": "#D55E00", "short": "#0072B2"}


def make(datasets: Datasets) -> Figure:
    """Return the figure of those of the datasets `SOURCES` that are there."""
    with plt.style.context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(TWO_COLUMNS, 2.8))
        if "long" in datasets:
            learning_curves(left, datasets["long"])
            left.get_legend().set_title("ω (rad per step)")
        else:
            blank(left, SOURCES["long"])
        for name, ds in datasets.items():
            label = f"after {int(ds['iteration'].max())} iterations"
            against_parameter(right, ds["best_score"], ds["best_score"].attrs["long_name"], COLOURS[name], label)
            mark_rows([right], ds)
        right.set_title("best score; dashed: ω of rows, harmonics")
        right.legend()
        lettered([left, right], "AB")
        figure.suptitle(f"Rotational residuals, long training ({scales(datasets)})")
    return figure


def numbers(datasets: Datasets) -> str:
    """Return what the figure says in numbers, as Markdown."""
    lines = ["| training | ω / characteristic | best score |", "|---|---|---|"]
    for name, ds in datasets.items():
        own = characteristic_frequency(ds)
        for value in ds["frequency"].values:
            best = mean_and_deviation(ds["best_score"].sel(frequency=value))
            lines.append(f"| {name} | {value / own:.2f} | {best} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run("figS4", SOURCES, make, __doc__, numbers)
