"""Draw Figure 2 of the paper: WCRNNs before training, from data/before_training.nc.

    python figures/fig2.py                                         # figures/output/fig2.png and .pdf
    python figures/fig2.py --data output/quick_before_training.nc  # of another run

The data are made by `python analyses/before_training.py` (35 minutes on two CPU cores; `--quick`: ten seconds).
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.drawing import STYLE, TWO_COLUMNS, Source, run_one
from figures.panels import RELATIVE_GRADIENT
from lyapkit.plots.training import colours

SOURCE = Source(
    "before_training.nc",
    "python analyses/before_training.py",
    "35 minutes on two CPU cores",
    ("jacobian_eigenvalue", "hessian_eigenvalue", "averaged_decay_rate"),
)
REGIMES = (0.98, 1.0, 1.02)
NAMES = ("subcritical", "critical", "supercritical")
COLOURS = dict(zip(REGIMES, colours(np.array(REGIMES), "radius"), strict=True))
THEORY = "0.55"
LARGE_RATE = 0.005  # nats per step: distances to criticality from which a rate's relative error means something
CLOSE = 0.02  # relative error up to which a rate agrees with log r


def draw_regimes(ax: Axes, ds: xr.Dataset) -> None:
    """Draw the eigenvalues of one step's Jacobian, and r, near the unit circle."""
    angle = np.linspace(-0.049, 0.049, 200)
    ax.plot(np.cos(angle), np.sin(angle), color="black", linewidth=0.8, label="unit circle")
    for radius, name in zip(REGIMES, NAMES, strict=True):
        parts = ds["jacobian_eigenvalue"].sel(radius=radius).isel(network=0)
        style = {"color": COLOURS[radius], "label": f"{name}, r = {radius:g}"}
        ax.plot(parts.sel(part="real"), parts.sel(part="imaginary"), ".", markersize=4, **style)
        ax.plot(radius, 0, "+", color="0.4", markersize=9, markeredgewidth=1.2, zorder=1)
    ax.plot([], [], "+", color="0.4", label="eigenvalue of R")
    ax.set(xlabel="Re", ylabel="Im", ylim=(-0.05, 0.05), title="eigenvalues of $J_t$ and $R$")
    near = ax.inset_axes((0.76, 0.66, 0.23, 0.26))  # units saturate: the cloud is small
    near.plot(parts.sel(part="real") - radius, parts.sel(part="imaginary"), ".", markersize=3, color=COLOURS[radius])
    near.plot(0, 0, "+", color="0.4", markersize=9, zorder=1)
    near.set_title(f"around r = {radius:g}", fontsize=6)
    near.tick_params(labelsize=5)
    near.ticklabel_format(style="sci", scilimits=(0, 0))
    near.xaxis.get_offset_text().set_fontsize(5)
    near.yaxis.get_offset_text().set_fontsize(5)
    ax.legend(loc="lower left", ncols=2)


def draw_convergence(ax: Axes, ds: xr.Dataset) -> None:
    """Draw running exponents, largest and smallest, converging to log r."""
    time = ds["end_time"].values
    for radius in REGIMES:
        running = ds["running_exponent"].sel(radius=radius)
        largest, smallest = running.max("exponent").mean("network"), running.min("exponent").mean("network")
        ax.fill_between(time, smallest, largest, color=COLOURS[radius], alpha=0.25, linewidth=0)
        ax.plot(time, running.mean(["exponent", "network"]), color=COLOURS[radius], label=f"r = {radius:g}")
        ax.axhline(np.log(radius), color=THEORY, linewidth=0.8, linestyle="--")
    ax.plot([], [], color=THEORY, linewidth=0.8, linestyle="--", label="log r")
    ax.set(xlabel="time T (steps)", ylabel="running exponents (nats/step)", title="Lyapunov exponents")
    ax.legend(loc="center right", bbox_to_anchor=(1.0, 0.73), ncols=2)


def draw_eigenvalues(ax: Axes, ds: xr.Dataset) -> None:
    """Draw leading Hessian eigenvalues by rank: mean and range over networks."""
    rank = ds["eigenvalue"].values
    for radius in REGIMES:
        values = np.abs(ds["hessian_eigenvalue"].sel(radius=radius)).dropna("network", how="all")
        ax.plot(rank, values.mean("network"), "o-", color=COLOURS[radius], markersize=3, label=f"r = {radius:g}")
        style = {"color": COLOURS[radius], "alpha": 0.25, "linewidth": 0}
        ax.fill_between(rank, values.min("network"), values.max("network"), **style)
    ax.set(yscale="log", xlabel="rank", ylabel="|eigenvalue| (loss per weight²)", title="Hessian")
    ax.set_xticks(rank)
    ax.legend(loc="center right", bbox_to_anchor=(1.0, 0.26))


def draw_gradients(ax: Axes, ds: xr.Dataset) -> None:
    """Draw mean log gradient norms, relative to that of the last state, against time."""
    time = ds["time"].values
    for radius in REGIMES:
        one = ds.sel(radius=radius)
        for name, style in {
            "log_gradient_norm": {"color": COLOURS[radius], "label": f"r = {radius:g}"},
            "averaged_log_gradient_norm": {"color": THEORY, "linestyle": ":", "linewidth": 1.2},
            "predicted_log_gradient_norm": {"color": THEORY, "linestyle": "--", "linewidth": 0.8},
        }.items():
            logs = (one[name] - one[name].isel(time=-1)).mean("network")
            ax.plot(time, np.exp(logs), **style)
        start = float(np.exp((one["log_gradient_norm"] - one["log_gradient_norm"].isel(time=-1)).mean("network")[0]))
        style = {"fontsize": 6, "color": COLOURS[radius]}
        ax.annotate(
            f"r = {radius:g}", (time[0], start), (28, 0) if radius > 1 else (2, 6), textcoords="offset points", **style
        )
    theory = [
        ax.plot([], [], color=THEORY, linestyle="--", linewidth=0.8, label="slope log r (Eq. 15)")[0],
        ax.plot([], [], color=THEORY, linestyle=":", linewidth=1.2, label="averaged Jacobian (first order)")[0],
    ]
    ax.set(
        yscale="log",
        xlabel="time t (steps)",
        ylabel=RELATIVE_GRADIENT,
        title="gradient propagation",
    )
    ax.legend(handles=theory, loc="lower right")


def draw_rates(ax: Axes, ds: xr.Dataset) -> None:
    """Draw decay rates of gradients and mean exponents against r."""
    radius = ds["radius"].values
    log_r = np.log(radius)
    for name, style in {
        "decay_rate": {"color": COLOURS[0.98], "marker": "o", "label": "gradient"},
        "averaged_decay_rate": {"color": "black", "linestyle": ":", "label": "gradient, averaged Jacobian"},
    }.items():
        ax.plot(radius, ds[name].mean("network") - log_r, markersize=4, **style)
    exponents = ds["lyapunov_exponent"]
    mean = exponents.mean("network") - xr.DataArray(log_r, dims="radius")
    ax.fill_between(radius, mean.min("exponent"), mean.max("exponent"), color="0.88", label="range of the exponents")
    ax.axhline(0.0, color="black", linewidth=0.8, linestyle="--")
    ax.set(xlabel="radius r", ylabel="rate − log r (nats/step)", title="deviation from log r")
    ax.legend(loc="center left", bbox_to_anchor=(0.02, 0.28), frameon=True, framealpha=1.0, edgecolor="none")


def draw_growth(ax: Axes, ds: xr.Dataset) -> None:
    """Draw the leading Hessian eigenvalue of every network against r."""
    leading = np.abs(ds["hessian_eigenvalue"].isel(eigenvalue=0)).dropna("radius", how="all")
    for network in leading["network"].values:
        one = leading.sel(network=network).dropna("radius")
        if len(one):
            ax.plot(one["radius"], one, "o-", color="0.5", markersize=4, linewidth=0.8)
    ax.set(yscale="log", xlabel="radius r", ylabel="largest |eigenvalue| (loss per weight²)", title="Hessian against r")
    ax.set_xticks(leading["radius"].values)


PANELS = (draw_regimes, draw_convergence, draw_eigenvalues, draw_gradients, draw_rates, draw_growth)


def make(ds: xr.Dataset) -> Figure:
    """Return the figure of a dataset of `analyses/before_training.py`."""
    check(ds)
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(3, 2, figsize=(TWO_COLUMNS, 7.4))
        for letter, ax, draw in zip("ABCDEF", axes.flat, PANELS, strict=True):
            draw(ax, ds)
            ax.set_title(rf"$\bf{{{letter}}}$  {ax.get_title(loc='left')}")
        figure.suptitle(
            f"WCRNNs before training: N = {ds.sizes['unit']}, α = {ds.attrs['coupling']:g}, T = {ds.sizes['time']}, "
            f"{ds.sizes['network']} networks (scale {ds.attrs['scale']})"
        )
    return figure


def check(ds: xr.Dataset) -> None:
    """Say so if a dataset is of another experiment."""
    if missing := {"jacobian_eigenvalue", "hessian_eigenvalue", "averaged_decay_rate"} - set(ds.data_vars):
        title = ds.attrs.get("title", "no title")
        raise SystemExit(f"these data are not of analyses/before_training.py: {title}; they lack {sorted(missing)}")


def numbers(ds: xr.Dataset) -> str:
    """Return what the figure says in numbers, as Markdown."""
    check(ds)
    lines = [
        "| r | log r | exponents, mean (smallest … largest) | gradient rate | averaged Jacobian | Hessian, largest |",
        "|---|---|---|---|---|---|",
    ]
    off = []
    for radius in ds["radius"].values:
        one = ds.sel(radius=radius).mean("network")
        exponents, log_r = one["lyapunov_exponent"], float(np.log(radius))
        rate, averaged = float(one["decay_rate"]), float(one["averaged_decay_rate"])
        leading = ds["hessian_eigenvalue"].sel(radius=radius).isel(eigenvalue=0).dropna("network")
        curvature = f"{float(np.abs(leading).mean()):.3g}" if len(leading) else ""
        lines.append(
            f"| {radius:g} | {log_r:+.5f} | {float(exponents.mean()):+.5f} ({float(exponents.min()):+.5f} … "
            f"{float(exponents.max()):+.5f}) | {rate:+.5f} | {averaged:+.5f} | {curvature} |"
        )
        if abs(log_r) >= LARGE_RATE and abs(rate - log_r) > CLOSE * abs(log_r):
            explained = 1 - abs(rate - averaged) / abs(rate - log_r)
            off.append(
                f"- r = {radius:g}: the gradient's rate is off log r by {abs(rate / log_r - 1):.1%}; the averaged "
                f"Jacobian (first order in α) explains {explained:.1%} of that"
            )
    leading = np.abs(ds["hessian_eigenvalue"].isel(eigenvalue=0)).dropna("radius", how="all").dropna("network")
    for radius, share in zip(ds["radius"].values, ds["vanished"].mean("network").values, strict=True):
        if share > 0:
            off.append(
                f"- r = {radius:g}: {share:.1%} of the samples have no gradient left (softmax), and are left out"
            )
    grows = bool((leading.sortby("radius").diff("radius") > 0).all())
    lines += ["", *off]
    verdict = "grows" if grows else "does NOT grow"
    lines.append(f"- the largest Hessian eigenvalue {verdict} with r in every network")
    residual = float((ds["residual_norm"] / np.abs(ds["hessian_eigenvalue"])).max())
    lines.append(f"- largest relative residual of a Hessian eigenvalue: {residual:.1e}")
    for quantity in ("propagation", "hessian"):
        spent = ds[f"{quantity}_time"]
        lines.append(f"- {quantity}: {int(spent.count())} cells, {float(spent.mean()):.0f} s each")
    return "\n".join(lines)


def main() -> None:
    """Draw, and print the numbers."""
    run_one("fig2", SOURCE, make, __doc__, numbers)


if __name__ == "__main__":
    main()
