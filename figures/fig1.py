"""Draw Figure 1 of the paper: a weakly coupled residual network, folded and unrolled in time.

python figures/fig1.py
"""

from __future__ import annotations

from itertools import pairwise

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from figures.drawing import STYLE, TWO_COLUMNS, Datasets, run

SOURCES: dict = {}
RESIDUAL, COUPLING, OUTSIDE = "#0072B2", "#D55E00", "#333333"
STATES = (("0", "h_0 = 0"), ("1", "h_1"), ("2", "h_2"), ("T", "h_T"))


def make(datasets: Datasets) -> Figure:
    """Return the schematic; it needs no data."""
    with plt.style.context(STYLE):
        figure, ax = plt.subplots(figsize=(TWO_COLUMNS, 2.6))
        ax.set(xlim=(-0.9, 10.6), ylim=(-1.7, 2.5), aspect="equal")
        ax.axis("off")
        places = [0.0, 3.0, 6.0, 9.0]
        for (name, label), x in zip(STATES, places, strict=True):
            box(ax, x, 0, f"${label}$")
            if name != "0":
                arrow(ax, (x, -1.3), (x, -0.45), OUTSIDE)
                ax.text(x, -1.5, f"$x_{name}$", ha="center", va="center")
        for start, end in pairwise(places[:3]):
            step(ax, start, end)
        step(ax, places[2], places[3], dotted=True)
        arrow(ax, (9.0, 0.45), (9.0, 1.25), OUTSIDE)
        ax.text(9.0, 1.5, "readout of $h_T$,\nloss $L$", ha="center", va="bottom")
        ax.text(
            4.5,
            2.25,
            r"$h_t = R\,h_{t-1} + \alpha\,\sigma(W h_{t-1} + W_{in} x_t + b)$",
            ha="center",
            fontsize=9,
        )
    return figure


def step(ax: Axes, start: float, end: float, dotted: bool = False) -> None:
    """Draw the two ways from one state to the next: residual above, coupling below."""
    style = {"linestyle": ":" if dotted else "-"}
    arrow(ax, (start + 0.3, 0.35), (end - 0.3, 0.35), RESIDUAL, curve=-0.45, linewidth=2, **style)
    arrow(ax, (start + 0.45, -0.1), (end - 0.45, -0.1), COUPLING, linewidth=0.9, **style)
    middle = (start + end) / 2
    ax.text(middle, 1.25, "residual $R$", color=RESIDUAL, ha="center")
    ax.text(middle, -0.42, r"$\alpha\,\sigma(W\cdot)$", color=COUPLING, ha="center")


def box(ax: Axes, x: float, y: float, label: str) -> None:
    """Draw a state."""
    shape = FancyBboxPatch(
        (x - 0.42, y - 0.35), 0.84, 0.7, boxstyle="round,pad=0.03", fc="0.95", ec="0.3", linewidth=0.8
    )
    ax.add_patch(shape)
    ax.text(x, y, label, ha="center", va="center")


def arrow(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, curve: float = 0.0, **style: object
) -> None:
    """Draw an arrow."""
    options = {"arrowstyle": "-|>", "mutation_scale": 8, "color": colour, "shrinkA": 0, "shrinkB": 0}
    ax.add_patch(FancyArrowPatch(start, end, connectionstyle=f"arc3,rad={curve}", **options, **style))


if __name__ == "__main__":
    run("fig1", SOURCES, make, __doc__)
