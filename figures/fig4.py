"""Draw Figure 4 of the paper: rotational residuals, and frequencies that suit the data.

    python figures/fig4.py

(A) best test score and iterations until minimal performance against ω, with the data's mean power spectrum behind, for
sMNIST and psMNIST; (B) learning-rate modulation by rotations before training; (C) learning curves by ω; (D) random
orthogonal residuals and heterogeneous frequencies beside homogeneous residuals.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.drawing import STYLE, TWO_COLUMNS, Datasets, Source, blank, lettered, run, scales, sweep
from figures.panels import (
    against_parameter,
    characteristic_frequency,
    learning_curves,
    mean_and_deviation,
    mean_best_score,
    networks,
    speeds_against_parameter,
    task_name,
)
from lyapkit.plots.training import colours, until_minimal_performance

FULL_LENGTH = 784  # steps of the sequences of the power spectra
SOURCES = {
    "smnist": sweep("smnist", "frequency", "1 core hour"),
    "psmnist": sweep("psmnist", "frequency", "1 core hour"),
    "residual": sweep("smnist", "residual", "40 core minutes"),
    "power": Source("power_spectra.nc", "python analyses/power_spectra.py", "half a minute", ("power", "task")),
    "modulation": Source("modulation.nc", "python analyses/modulation.py", "5 minutes", ("modulation", "frequency")),
}
RESIDUALS = ["homogeneous", "heterogeneous frequencies", "orthogonal"]


def make(datasets: Datasets) -> Figure:
    """Return the figure of those of the datasets `SOURCES` that are there."""
    with plt.style.context(STYLE):
        layout = [["score0", "score1"], ["speed0", "speed1"], ["B", "C"], ["D", "D"]]
        figure, axes = plt.subplot_mosaic(layout, figsize=(TWO_COLUMNS, 7.6))
        for column, name in enumerate(("smnist", "psmnist")):
            draw_sweep(axes[f"score{column}"], axes[f"speed{column}"], datasets, name)
        draw_modulation(axes["B"], datasets)
        if "smnist" in datasets:
            learning_curves(axes["C"], datasets["smnist"], legend=False)
        else:
            blank(axes["C"], SOURCES["smnist"])
        draw_residuals(axes["D"], datasets)
        lettered([axes[name] for name in ("score0", "B", "C", "D")], "ABCD")
        figure.suptitle(f"Rotational residuals ({scales(datasets)})")
    return figure


def draw_sweep(score: Axes, speed: Axes, datasets: Datasets, name: str) -> None:
    """Draw score and speed against ω, over the power spectrum of the data."""
    if name not in datasets:
        blank(score, SOURCES[name])
        blank(speed, SOURCES[name])
        return
    ds = datasets[name]
    against_parameter(score, ds["best_score"], ds["best_score"].attrs["long_name"])
    speeds_against_parameter(speed, ds)
    speed.set_title(task_name(ds))
    score.set_title(f"{task_name(ds)}, {networks(ds)}; grey: power (right)")
    for ax in (score, speed):
        ax.set_xlim(-0.03, 1.05 * float(ds["frequency"].max()))
        if "power" in datasets and ax is score:
            draw_power(ax, datasets["power"].sel(task=name), int(ds.attrs["n_steps"]))


def draw_power(ax: Axes, ds: xr.Dataset, n_steps: int) -> None:
    """Draw a power spectrum behind a panel; frequencies of images that are k times smaller are k times larger."""
    factor = (FULL_LENGTH / n_steps) ** 0.5
    behind = ax.twinx()
    shown = ds["frequency"] * factor <= ax.get_xlim()[1]
    behind.fill_between(ds["frequency"][shown] * factor, ds["power"][shown], color="0.9", linewidth=0)
    behind.set_ylim(0, None)
    behind.tick_params(labelsize=5, colors="0.5")
    behind.spines[:].set_visible(False)
    behind.set_zorder(-1)
    ax.patch.set_visible(False)


def draw_modulation(ax: Axes, datasets: Datasets) -> None:
    """Draw each layer's share of the gradient, of one network per ω."""
    if "modulation" not in datasets:
        blank(ax, SOURCES["modulation"])
        return
    ds = datasets["modulation"]
    chosen = ds["frequency"].values
    for index, (value, colour) in enumerate(zip(chosen, colours(chosen), strict=True)):
        one = ds["modulation"].sel(frequency=value).isel(network=0)
        share = one / one.sum("time")
        scaled = share / float(np.abs(share).max())
        ax.plot(ds["time"], scaled - 2.2 * index, color=colour, linewidth=0.7, label=f"{value:.3g}")
        ax.text(ds["time"].values[-1] * 1.01, -2.2 * index, f"ω = {value:.3g}", fontsize=6, va="center", color=colour)
    ax.set(xlabel="time t (steps)", yticks=[], title=f"effective learning rate of layer t, T = {ds.sizes['time']}")


def draw_residuals(ax: Axes, datasets: Datasets) -> None:
    """Draw best scores by kind of residual."""
    if "residual" not in datasets:
        blank(ax, SOURCES["residual"])
        return
    ds = datasets["residual"]
    chosen = [name for name in RESIDUALS if name in ds["residual"].values]
    against_parameter(ax, ds["best_score"].sel(residual=chosen), ds["best_score"].attrs["long_name"])
    ax.set_title(f"kinds of residual, {task_name(ds)}, {networks(ds)}")


def numbers(datasets: Datasets) -> str:
    """Return what the figure says in numbers, as Markdown."""
    lines = ["| task | ω (rad/step) | ω / characteristic | best score | iterations to MP |", "|---|---|---|---|---|"]
    for name in ("smnist", "psmnist"):
        if name not in datasets:
            continue
        ds = datasets[name]
        own = characteristic_frequency(ds)
        for value in ds["frequency"].values:
            best = ds["best_score"].sel(frequency=value)
            reached = float(until_minimal_performance(ds).sel(frequency=value).mean())
            lines.append(f"| {name} | {value:.4f} | {value / own:.2f} | {mean_and_deviation(best)} | {reached:.0f} |")
    if "residual" in datasets:
        best = mean_best_score(datasets["residual"])
        lines.append("")
        lines += [f"- {name}: {float(best.sel(residual=name)):.3f}" for name in best["residual"].values]
    return "\n".join(lines)


if __name__ == "__main__":
    run("fig4", SOURCES, make, __doc__, numbers)
