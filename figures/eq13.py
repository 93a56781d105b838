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
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.drawing import STYLE, TWO_COLUMNS, Source, lettered, run, run_one
from figures.eq13_panels import (
    draw_certificate,
    draw_convergence,
    draw_crossover,
    draw_deviation,
    draw_end,
    draw_gradients,
    draw_remainder,
    draw_spectra,
    draw_variational_term,
)
from figures.eq13_run import (
    COLOURS,
    LABELS,
    LINEAR,
    NOT_NORMAL,
    RADIUS,
    ROUNDING,
    SHORT,
    SHOWN_COUPLING,
    UNCOUPLED,
    Run,
    slope,
)

SOURCE = Source("eq13.nc", "python analyses/eq13.py", "20 minutes on two CPU cores", ("coupling", "model"))
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
