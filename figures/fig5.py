"""Draw Figure 5 of the paper: heterogeneous radii, r_i uniform in r ± ε.

    python figures/fig5.py

(A) learning curves by ε; before training: (B) Lyapunov spectra, with log r_i dashed where the weights leave them,
(C) gradient norms and (D) Hessian eigenvalues.
"""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.drawing import STYLE, TWO_COLUMNS, Datasets, Source, blank, lettered, run, scales, sweep
from figures.panels import RELATIVE_GRADIENT, learning_curves, palette

SOURCES = {
    "training": sweep("smnist", "spread", "40 core minutes"),
    "before training": Source(
        "heterogeneous.nc",
        "python analyses/heterogeneous.py",
        "half an hour on two CPU cores",
        ("spread", "lyapunov_exponent", "log_gradient_norm", "hessian_eigenvalue"),
    ),
}


def make(datasets: Datasets) -> Figure:
    """Return the figure of those of the datasets `SOURCES` that are there."""
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(TWO_COLUMNS, 4.8))
        colour_of = palette(*(ds["spread"] for ds in datasets.values())) if datasets else {}
        if "training" in datasets:
            learning_curves(axes[0, 0], datasets["training"], colour_of=colour_of)
        else:
            blank(axes[0, 0], SOURCES["training"])
        for ax, draw in zip(axes.flat[1:], (draw_spectra, draw_gradients, draw_curvature), strict=True):
            if "before training" in datasets:
                draw(ax, datasets["before training"], colour_of)
            else:
                blank(ax, SOURCES["before training"])
        lettered(list(axes.flat), "ABCD")
        figure.suptitle(f"Heterogeneous radii ({scales(datasets)})")
    return figure


def draw_spectra(ax: Axes, ds: xr.Dataset, colour_of: Mapping[float, str]) -> None:
    """Draw spectra by ε, and those of uniformly spread radii."""
    rank = ds["exponent"].values
    n, radius = len(rank), ds.attrs["radius"]
    for value in ds["spread"].values.tolist():
        exponents = ds["lyapunov_exponent"].sel(spread=value)
        ax.plot(rank, exponents.mean("network"), color=colour_of[value], label=f"{value:g}")
        radii = radius + value * (1 - 2 * (np.arange(n) + 0.5) / n)
        ax.plot(rank, np.log(radii), color="black", linewidth=0.5, linestyle="--")
    ax.axhline(0.0, color="black", linewidth=0.5)
    ax.plot([], [], color="black", linewidth=0.5, linestyle="--", label="log $r_i$ (Eq. 13)")
    ax.set(xlabel="rank", ylabel="Lyapunov exponent (nats/step)", title="Lyapunov spectrum")
    ax.legend(title="ε")


def draw_gradients(ax: Axes, ds: xr.Dataset, colour_of: Mapping[float, str]) -> None:
    """Draw mean log gradient norms, relative to that of the last state."""
    for value in ds["spread"].values.tolist():
        logs = ds["log_gradient_norm"].sel(spread=value)
        relative = (logs - logs.isel(time=-1)).mean("network")
        ax.plot(ds["time"], np.exp(relative), color=colour_of[value], label=f"{value:g}")
    ax.set(
        yscale="log",
        xlabel="time t (steps)",
        ylabel=RELATIVE_GRADIENT,
        title="gradient propagation",
    )
    ax.legend(title="ε")


def draw_curvature(ax: Axes, ds: xr.Dataset, colour_of: Mapping[float, str]) -> None:
    """Draw leading Hessian eigenvalues by rank."""
    for value in ds["spread"].values.tolist():
        eigenvalues = np.abs(ds["hessian_eigenvalue"].sel(spread=value)).mean("network")
        ax.plot(ds["eigenvalue"], eigenvalues, "o-", color=colour_of[value], label=f"{value:g}")
    ax.set(yscale="log", xlabel="rank", ylabel="|eigenvalue| (loss per weight²)", title="Hessian")
    ax.set_xticks(ds["eigenvalue"])
    ax.legend(title="ε")


def numbers(datasets: Datasets) -> str:
    """Return what the figure says in numbers, as Markdown."""
    lines = ["| ε | best score | largest exponent | smallest | gradient rate | Hessian, largest |", "|---" * 6 + "|"]
    training, before = datasets.get("training"), datasets.get("before training")
    values = sorted({float(value) for ds in datasets.values() for value in ds["spread"].values})
    for value in values:
        cells = [""] * 5
        if training is not None and value in training["spread"].values:
            cells[0] = f"{float(training['best_score'].sel(spread=value).mean()):.3f}"
        if before is not None and value in before["spread"].values:
            one = before.sel(spread=value)
            exponents = one["lyapunov_exponent"].mean("network")
            cells[1:] = [
                f"{float(exponents.max()):+.5f}",
                f"{float(exponents.min()):+.5f}",
                f"{float(one['decay_rate'].mean()):+.5f}",
                f"{float(np.abs(one['hessian_eigenvalue']).max()):.3g}",
            ]
        lines.append(f"| {value:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    run("fig5", SOURCES, make, __doc__, numbers)
