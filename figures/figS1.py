"""Draw Figure S1 of the paper: Lyapunov exponents of WCRNNs over training.

    python figures/figS1.py

(A) mean and range of the exponents, and (B) their mean minus log r, the exponents before training according to Eq. 13,
at checkpoints of three networks for each radius of the residual, on sMNIST, at a learning rate at which none collapses.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from figures.drawing import STYLE, TWO_COLUMNS, Datasets, blank, lettered, run, scales, sweep
from figures.panels import measured, over_checkpoints
from lyapkit.plots.training import colours

SOURCES = {
    "smnist": sweep("smnist", "radius-slower", "half a core hour", "lyapunov_exponent", "checkpoint"),
}


def make(datasets: Datasets) -> Figure:
    """Return the figure of those of the datasets `SOURCES` that are there."""
    with plt.style.context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(TWO_COLUMNS, 3.2))
        if "smnist" not in datasets:
            blank(left, SOURCES["smnist"])
            blank(right, SOURCES["smnist"])
            return figure
        exponents = measured(datasets["smnist"], "lyapunov_exponent")
        of_all = ["network", "exponent"]
        for radius, colour in zip(
            exponents["radius"].values, colours(exponents["radius"].values, "radius"), strict=True
        ):
            one = exponents.sel(radius=radius)
            left.fill_between(
                one["checkpoint"], one.min(of_all), one.max(of_all), color=colour, alpha=0.25, linewidth=0
            )
            left.plot(one["checkpoint"], one.mean(of_all), "o-", color=colour, label=f"{radius:g}")
            left.axhline(np.log(radius), color=colour, linewidth=0.5, linestyle="--")
        left.set(xlabel="training iteration", ylabel="Lyapunov exponents (nats/step)")
        left.set_title("exponents: mean, range; dashed: log r")
        log_radius = np.log(exponents["radius"])
        over_checkpoints(right, exponents.mean("exponent") - log_radius, "mean exponent − log r (nats/step)")
        right.axhline(0.0, color="black", linewidth=0.5, linestyle="--")
        right.set_title("distance from Eq. 13")
        right.legend(title="radius r", ncols=2)
        lettered([left, right], "AB")
        title = f"Exponents over training, sMNIST, {exponents.sizes['network']} networks each"
        figure.suptitle(f"{title} ({scales(datasets)})")
    return figure


def numbers(datasets: Datasets) -> str:
    """Return what the figure says in numbers, as Markdown."""
    if "smnist" not in datasets:
        return ""
    exponents = measured(datasets["smnist"], "lyapunov_exponent")
    checkpoints = exponents["checkpoint"].values
    header = "".join(f" exponents at {step:g} (min … max) |" for step in checkpoints)
    lines = [f"| r | log r |{header}", "|---" * (2 + len(checkpoints)) + "|"]
    for radius in exponents["radius"].values:
        one = exponents.sel(radius=radius)
        spans = "".join(
            f" {float(one.sel(checkpoint=step).min()):+.4f} … {float(one.sel(checkpoint=step).max()):+.4f} |"
            for step in checkpoints
        )
        lines.append(f"| {radius:g} | {np.log(radius):+.4f} |{spans}")
    return "\n".join(lines)


if __name__ == "__main__":
    run("figS1", SOURCES, make, __doc__, numbers)
