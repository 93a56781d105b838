"""The panels of the figure of Eq. 13, and of its supplement."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from figures.eq13_run import (
    COLOURS,
    LABELS,
    LINEAR,
    NOT_NORMAL,
    RADIUS,
    SHORT,
    SHOWN_COUPLING,
    UNCOUPLED,
    Run,
    slope,
)
from lyapkit.plots.drawing import graded
from lyapkit.plots.training import deviation


def _band(ax: Axes, x: np.ndarray, values: xr.DataArray, **style: object) -> None:
    """Draw mean ± standard deviation over networks, on logarithmic axes."""
    mean, spread = values.mean("network"), deviation(values)
    ax.plot(x, mean, **style)
    low = np.maximum(mean - spread, mean / 10)
    ax.fill_between(x, low, mean + spread, color=style["color"], alpha=0.2, linewidth=0)


def _leave_room_below(ax: Axes, factor: float) -> None:
    """Lower the end of a logarithmic axis, for a legend below the curves."""
    ax.set_ylim(bottom=ax.get_ylim()[0] * factor)


def draw_deviation(ax: Axes, run: Run) -> None:
    """Draw the deviation from Eq. 13 against α, and in the long-time regime."""
    for model in LINEAR:
        values = run.of(model)["largest_deviation"].sel(coupling=run.couplings).max("trajectory")
        _band(ax, run.couplings, values, color=COLOURS[model], label=LABELS.get(model, model))
    long = run.of("identity", inputs="digits in a row")
    values = long["largest_deviation"].sel(coupling=run.long_couplings).max("trajectory")
    mean, error = slope(long, "largest_deviation", run.long_couplings)
    label = f"r·I, αT = 60: slope {mean:.3f} ± {error:.3f}"
    _band(ax, run.long_couplings, values, color="black", marker="o", markersize=2, linestyle="--", label=label)
    ax.axhline(-np.log(RADIUS), color="0.5", linewidth=0.8)
    ax.annotate("distance to criticality", (run.couplings[0], -np.log(RADIUS)), va="bottom", fontsize=5.5, color="0.4")
    ax.set(xscale="log", yscale="log", xlabel="coupling α", ylabel="max |λᵢ − log|ρᵢ|| (nats/step)")
    ax.set_title("deviation from Eq. 13")
    _leave_room_below(ax, 1e-3)
    ax.legend(loc="lower right")


def draw_remainder(ax: Axes, run: Run) -> None:
    """Draw what the first-order theories leave of the deviation, for r·I."""
    networks = run.of("identity")
    names = {
        "largest_deviation": ("Eq. 13 (zeroth order)", "black"),
        "fixed_time_remainder": ("short time", COLOURS["identity"]),
        "long_time_remainder": ("long time", COLOURS["rotation"]),
        "averaged_remainder": ("averaged Jacobian, same T", COLOURS["heterogeneous"]),
    }
    for name, (label, colour) in names.items():
        if name == "fixed_time_remainder" and len(run.short_couplings) > 1:
            mean, error = slope(networks, name, run.short_couplings)
            label += f": slope {mean:.3f} ± {error:.3f}"
        values = networks[name].sel(coupling=run.couplings).max("trajectory")
        _band(ax, run.couplings, values, color=colour, label=label)
    ax.axvline(SHORT / run.n_steps, ymin=0.32, color="0.5", linewidth=0.8, linestyle=":")  # not through the legend
    place = (SHORT / run.n_steps, 0.97)
    ax.annotate(f" αT = {SHORT}", place, xycoords=("data", "axes fraction"), fontsize=5.5, color="0.4", va="top")
    ax.set(xscale="log", yscale="log", xlabel="coupling α", ylabel="max |λᵢ − theory| (nats/step)")
    ax.set_title(f"what theory leaves, r·I, T = {run.n_steps}")
    _leave_room_below(ax, 1e-6)
    ax.legend(loc="lower right")


def draw_crossover(ax: Axes, run: Run) -> None:
    """Draw the deviation over α against αT: from the diagonal of W to its eigenvalues."""
    networks = run.of("identity")
    shown = [c for c in run.couplings if 1e-4 <= c <= 0.1]
    for coupling, colour in zip(shown, graded(len(shown)), strict=True):
        one = networks.sel(coupling=coupling)
        time = one["running_time"].isel(network=0).values
        values = one["running_deviation"] / coupling
        ax.plot(coupling * time, values.mean("network"), color=colour, label=f"α = {coupling:g}")
    long = run.of("identity", inputs="digits in a row").sel(coupling=run.long_couplings)
    values = (long["largest_deviation"].max("trajectory") / run.long_couplings).mean("network")
    ax.plot(long["n_steps"].isel(network=0) * run.long_couplings, values, "k*", markersize=5, label="after a transient")
    ax.set(xscale="log", xlabel="αT", ylabel="max |λᵢ − log r| / α (nats/step)", title="crossover, r·I")
    ax.legend()


def draw_spectra(ax: Axes, run: Run) -> None:
    """Draw measured against predicted exponents of heterogeneous residuals."""
    networks = run.of("heterogeneous").isel(network=0)
    predicted = run.ds["predicted_exponent"].sel(model="heterogeneous", radius=RADIUS, hidden_size=run.size, network=0)
    shown = [c for c in run.couplings if c in (1e-3, 1e-2, 0.1)]
    for coupling, colour in zip(shown, graded(len(shown)), strict=True):
        measured = networks["lyapunov_exponent"].sel(coupling=coupling)
        ax.plot(predicted, measured, ".", color=colour, markersize=2, label=f"α = {coupling:g}")
    ends = [float(predicted.min()), float(predicted.max())]
    ax.plot(ends, ends, color="black", linewidth=0.8, linestyle="--")
    ax.set(xlabel="log|ρᵢ| (nats/step)", ylabel="λᵢ (nats/step)", title="spectrum, heterogeneous")
    ax.legend()


def draw_certificate(ax: Axes, run: Run) -> None:
    """Draw the range of measured exponents within the certified one."""
    networks = run.of("identity").sel(coupling=run.couplings)
    lower, upper = networks["certificate_lower"], networks["certificate_upper"]
    finite = np.isfinite(lower.isel(network=0, trajectory=0)).values
    x = run.couplings[finite]
    bounds = [edge.isel(coupling=finite).mean(["network", "trajectory"]) - np.log(RADIUS) for edge in (lower, upper)]
    ax.fill_between(x, *bounds, color="0.85", label="certificate (Weyl)")
    for name in ("largest_exponent", "smallest_exponent"):
        values = networks[name].mean(["network", "trajectory"]) - np.log(RADIUS)
        label = {"label": "largest and smallest exponent"} if name == "largest_exponent" else {}
        ax.plot(run.couplings, values, color=COLOURS["identity"], marker="o", markersize=2, **label)
    ax.set_yscale("symlog", linthresh=1e-5)
    ax.set_yticks([-1e-1, -1e-3, -1e-5, 0, 1e-5, 1e-3, 1e-1])
    ax.set(xscale="log", xlabel="coupling α", ylabel="λ − log r (nats/step)", title="certificate, r·I")
    ax.legend(loc="lower left")


def draw_convergence(ax: Axes, run: Run) -> None:
    """Draw the deviation against time, for the kinds of residuals."""
    for model in LINEAR:
        one = run.of(model).sel(coupling=SHOWN_COUPLING)
        time = one["running_time"].isel(network=0).values
        _band(ax, time, one["running_deviation"], color=COLOURS[model], label=LABELS.get(model, model))
    if run.has_uncoupled:
        one = run.of(NOT_NORMAL, inputs=UNCOUPLED).sel(coupling=0.0)
        time, values = one["running_time"].isel(network=0).values, one["running_deviation"]
        style = {"color": "black", "linestyle": ":", "label": f"{NOT_NORMAL}, α = 0: slope {run.rate():.2f}"}
        _band(ax, time, values, **style)
    ax.set(xscale="log", yscale="log", xlabel="time T (steps)", ylabel="max |λᵢ(T) − log|ρᵢ|| (nats/step)")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_title(f"convergence, α = {SHOWN_COUPLING}")
    _leave_room_below(ax, 0.02)
    ax.legend(loc="lower left")


def draw_end(ax: Axes, run: Run) -> None:
    """Draw the deviation over the distance to criticality: where it passes 1, weak coupling ends."""
    styles = {0.9: "-", RADIUS: "--", 1.02: ":"}
    for model in ("identity", "type A", "type B"):
        for radius, style in styles.items():
            values = run.of(model, radius)["largest_deviation"].sel(coupling=run.couplings).max("trajectory")
            ratio = (values / run.distance(model, radius)).mean("network")
            ax.plot(run.couplings, ratio, color=COLOURS[model], linestyle=style)
    for model in ("identity", "type A", "type B"):
        ax.plot([], [], color=COLOURS[model], label=LABELS[model])
    for radius, style in styles.items():
        ax.plot([], [], color="0.3", linestyle=style, label=f"r = {radius:g}")
    ax.axhline(1.0, color="black", linewidth=0.8)
    ax.set(xscale="log", yscale="log", xlabel="coupling α", ylabel="deviation / distance to criticality")
    ax.set_title("weak coupling ends at 1")
    _leave_room_below(ax, 0.005)
    ax.legend(ncols=2, loc="lower right")


def draw_variational_term(ax: Axes, run: Run) -> None:
    """Draw Eq. 12: the distance of V_T from R^T."""
    networks = run.of("identity")
    time = networks["time"].values
    shown = [c for c in run.couplings if 1e-4 <= c <= 0.1]
    for coupling, colour in zip(shown, graded(len(shown)), strict=True):
        values = networks["variational_deviation"].sel(coupling=coupling).transpose("network", "time")
        _band(ax, time, values, color=colour, marker="o", markersize=2, label=f"α = {coupling:g}")
    ax.set(
        xscale="log",
        yscale="log",
        xlabel="time T (steps)",
        ylabel=r"$\|V_T - R^T\| \; / \; \|R^T\|$",
        title="Eq. 12, r·I",
    )
    ax.legend()


def draw_gradients(ax: Axes, run: Run) -> None:
    """Draw Eq. 15: the rate at which gradients fade on their way back."""
    for model in ("identity", "rotation", "orthogonal"):
        rate = run.of(model)["gradient_decay_rate"].sel(coupling=run.couplings) - np.log(RADIUS)
        _band(ax, run.couplings, np.abs(rate).max("trajectory"), color=COLOURS[model], label=LABELS.get(model, model))
    ax.set(xscale="log", yscale="log", xlabel="coupling α", ylabel="|slope of log‖aₜ‖ − log r| (nats/step)")
    ax.set_title("Eq. 15, gradients")
    ax.legend()
