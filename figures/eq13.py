"""Draw the validation of Eq. 13, and print its numbers, from data/eq13.nc.

    python figures/eq13.py                              # figures/output/eq13.png and .pdf, and eq13_supplement
    python figures/eq13.py --data output/eq13_quick.nc  # of another run

(A) the farthest exponent from log|ρ_i| against α; (B) the same over α, against αT: from the diagonal of W, while αT is
small, to its eigenvalues; (C) over the distance to criticality: where it passes 1, weak coupling ends. The supplement
has what first-order theories leave, a spectrum, the certificate of Weyl, convergence in time, and Eq. 12 and 15.

The data are made by `python analyses/eq13.py` (20 minutes on two CPU cores; `--quick`: under a minute).
"""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from scipy.stats import t as student

from figures.drawing import STYLE, TWO_COLUMNS, Source, lettered, run, run_one
from lyapkit.plots.training import deviation

SOURCE = Source("eq13.nc", "python analyses/eq13.py", "20 minutes on two CPU cores", ("coupling", "model"))
LINEAR = ("identity", "rotation", "heterogeneous", "orthogonal")
NOT_NORMAL = "rotation × radii"
UNCOUPLED = "any (α = 0)"
LABELS = {"identity": "r·I", "type A": "type A, r·I", "type B": "type B, r·I"}
COLOURS = dict(zip([*LINEAR, "type A", "type B"], sns.color_palette("colorblind", 6), strict=True))
RADIUS = 0.98
SHOWN_COUPLING = 0.01
SHORT = 0.3  # αT up to which the fixed-time theory is asked for its slope
ROUNDING = 1e-12


def slope(ds: xr.Dataset, name: str, couplings: np.ndarray) -> tuple[float, float]:
    """Return the slope of log(name) against log(coupling) of the networks in `ds`: mean and 95 % confidence."""
    values = ds[name].sel(coupling=couplings).max("trajectory").transpose("network", "coupling").values
    slopes = np.polyfit(np.log(couplings), np.log(values).T, 1)[0]
    return float(slopes.mean()), float(student.ppf(0.975, len(slopes) - 1) * slopes.std(ddof=1) / len(slopes) ** 0.5)


class Run:
    """A dataset of `analyses/eq13.py`, and the parts of it that several panels need."""

    def __init__(self, ds: xr.Dataset) -> None:
        if "fixed_time_remainder" not in ds:
            raise SystemExit(f"these data are not of analyses/eq13.py: {ds.attrs.get('title', 'no title')}")
        self.ds = ds
        sizes = ds["hidden_size"].values
        self.size = int(sizes[len(sizes) // 2])
        self.at_size = ds.sel(hidden_size=self.size)
        self.digits = self.at_size.sel(inputs="digit")
        self.n_steps = int(self.digits["n_steps"].max())
        couplings = ds["coupling"].values
        long = self.at_size["largest_deviation"].sel(inputs="digits in a row", model="identity", radius=RADIUS)
        self.long_couplings = couplings[long.isel(network=0, trajectory=0).notnull().values]
        given = self.digits["largest_deviation"].sel(model="identity", radius=RADIUS)
        self.couplings = couplings[given.isel(network=0, trajectory=0).notnull().values]
        self.short_couplings = self.couplings[self.couplings * self.n_steps <= SHORT]

    def of(self, model: str, radius: float = RADIUS, inputs: str = "digit") -> xr.Dataset:
        """Return the networks of one model, (network, coupling, …)."""
        return self.at_size.sel(model=model, radius=radius, inputs=inputs)

    def distance(self, model: str, radius: float) -> xr.DataArray:
        """Return the distance to criticality, min |log|ρ_i||, (network,)."""
        predicted = self.ds["predicted_exponent"].sel(model=model, radius=radius, hidden_size=self.size)
        return np.abs(predicted).min("exponent")

    @property
    def has_uncoupled(self) -> bool:
        """Whether networks without coupling were computed."""
        return UNCOUPLED in self.ds["inputs"].values

    def rate(self) -> float:
        """Return the exponent of T with which the residual that is not normal converges, without coupling."""
        one = self.of(NOT_NORMAL, inputs=UNCOUPLED).sel(coupling=0.0)
        time, values = one["running_time"].isel(network=0).values, one["running_deviation"].mean("network").values
        valid = np.isfinite(time)
        return float(np.polyfit(np.log(time[valid]), np.log(values[valid]), 1)[0])

    def certified(self) -> xr.Dataset:
        """Return how many trajectories have a finite certificate, and how many of them violate it."""
        lower, upper = self.ds["certificate_lower"], self.ds["certificate_upper"]
        valid = np.isfinite(lower) & np.isfinite(upper) & self.ds["largest_exponent"].notnull()
        broken = (self.ds["smallest_exponent"] < lower - ROUNDING) | (self.ds["largest_exponent"] > upper + ROUNDING)
        return xr.Dataset({"valid": valid, "broken": valid & broken})


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
    for coupling, colour in zip(shown, sns.color_palette("viridis", len(shown)), strict=True):
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
    for coupling, colour in zip(shown, sns.color_palette("viridis", len(shown)), strict=True):
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
    for coupling, colour in zip(shown, sns.color_palette("viridis", len(shown)), strict=True):
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


PANELS = (draw_deviation, draw_crossover, draw_end)
SUPPLEMENT = (
    draw_remainder,
    draw_spectra,
    draw_certificate,
    draw_convergence,
    draw_variational_term,
    draw_gradients,
)


def make(ds: xr.Dataset) -> Figure:
    """Return the figure of a dataset of `analyses/eq13.py`."""
    return _figure(Run(ds), PANELS, "Lyapunov exponents of weakly coupled residual networks")


def make_supplement(ds: xr.Dataset) -> Figure:
    """Return its supplement: what stands behind the figure."""
    return _figure(Run(ds), SUPPLEMENT, "Supplement: exponents, gradients and theory of first order in α")


def _figure(run: Run, panels: tuple[Callable[[Axes, Run], None], ...], title: str) -> Figure:
    """Return a figure of panels, three in a row."""
    n_rows = len(panels) // 3
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(n_rows, 3, figsize=(TWO_COLUMNS, 0.5 + 2.4 * n_rows))
        for ax, draw in zip(axes.flat, panels, strict=True):
            draw(ax, run)
        lettered(list(axes.flat), "ABCDEF"[: len(panels)])
        networks = run.ds.sizes["network"]
        figure.suptitle(
            f"{title}: N = {run.size}, r = {RADIUS},\n"
            f"{networks} networks (mean ± SD), driven by digits, T = {run.n_steps} (scale: {run.ds.attrs['scale']})"
        )
    return figure


def numbers(ds: xr.Dataset) -> str:
    """Return what the figure says in numbers, as Markdown."""
    run = Run(ds)
    lines = [f"N = {run.size}, T = {run.n_steps}, {ds.sizes['network']} networks; ± is a 95 % confidence interval", ""]
    for inputs, radius in (("digits in a row", r) for r in ds["radius"].values):
        long = run.of("identity", radius, inputs)
        if bool(long["largest_deviation"].sel(coupling=run.long_couplings).isel(trajectory=0).notnull().all()):
            mean, error = slope(long, "largest_deviation", run.long_couplings)
            lines.append(f"- long time (αT = 60), r = {radius:g}: deviation ∝ α^({mean:.3f} ± {error:.3f})")
    if len(run.short_couplings) > 1:
        for model in LINEAR:
            for radius in ds["radius"].values:
                mean, error = slope(run.of(model, radius), "fixed_time_remainder", run.short_couplings)
                lines.append(
                    f"- short time (αT ≤ {SHORT}), {model}, r = {radius:g}: remainder ∝ α^({mean:.3f} ± {error:.3f})"
                )
    for model in LINEAR:
        shown = run.of(model).sel(coupling=SHOWN_COUPLING)
        deviation = float(shown["largest_deviation"].max("trajectory").mean("network"))
        left = {
            name: float(shown[f"{name}_remainder"].max("trajectory").mean("network"))
            for name in ("fixed_time", "long_time", "averaged")
        }
        width = shown["certificate_upper"] - shown["certificate_lower"]
        spread = shown["largest_exponent"] - shown["smallest_exponent"]
        told = ", ".join(f"{name.replace('_', ' ')} {1 - value / deviation:.1%}" for name, value in left.items())
        lines.append(
            f"- α = {SHOWN_COUPLING}, {model}: deviation {deviation:.2e}, explained by theory: {told}; "
            f"certificate / measured spread {float((width / spread).mean()):.2f}"
        )
    if run.has_uncoupled:
        uncoupled = run.at_size["largest_deviation"].sel(inputs=UNCOUPLED, coupling=0.0)
        normal = float(uncoupled.sel(model=list(LINEAR)).max())
        lines.append(f"- α = 0: largest deviation of any normal residual {normal:.1e}")
        lines.append(f"- α = 0, {NOT_NORMAL} (not normal): deviation ∝ T^{run.rate():.2f}")
    certified = run.certified()
    lines.append(
        f"- certificate: {int(certified['valid'].any('trajectory').sum())} cells "
        f"({int(certified['valid'].sum())} trajectories), {int(certified['broken'].sum())} violations"
    )
    n_diverged = int(ds["divergence_step"].notnull().sum())
    lines.append(f"- trajectories that left the finite numbers: {n_diverged}")
    lines += [
        "",
        "| network | r | deviation at α = 0.01 | distance to criticality | weak coupling ends at α |",
        "|---|---|---|---|---|",
    ]
    for model in COLOURS:
        for radius in ds["radius"].values:
            values = run.of(model, radius)["largest_deviation"].sel(coupling=run.couplings).max("trajectory")
            distance = float(run.distance(model, radius).mean())
            beyond = (values.mean("network") > distance).values
            end = f"{run.couplings[beyond][0]:g}" if beyond.any() else f"> {run.couplings[-1]:g}"
            if distance < ROUNDING:
                end = "(critical)"
            shown = float(values.sel(coupling=SHOWN_COUPLING).mean())
            lines.append(f"| {LABELS.get(model, model)} | {radius:g} | {shown:.2e} | {distance:.2e} | {end} |")
    return "\n".join(lines)


def main() -> None:
    """Draw the figure and its supplement, and print the numbers."""
    run_one("eq13", SOURCE, make, __doc__, numbers)
    run("eq13_supplement", {"data": SOURCE}, lambda datasets: make_supplement(datasets["data"]), __doc__)


if __name__ == "__main__":
    main()
