"""Draw what Hessians of residual networks are made of, and what they depend on (Sections 2.2 and 4.1 of the paper).

    python figures/hessians.py

(A) Largest |eigenvalue| of the Hessian minus its Gauss–Newton part, as a share of the Hessian's own, while networks
learn: a line per network; dotted, as large as the Hessian's. (B) Curvature of each unrolled layer, for the size of the
step's second derivative, against the gradient that reaches it: a line of slope 1 (dashed) is proportional. (C) Leading
Hessian eigenvalue on three choices of 1000 samples: a mark per choice, networks side by side.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from figures.drawing import STYLE, TWO_COLUMNS, Datasets, Source, blank, lettered, run, scales
from lyapkit.plots.drawing import DISTINCT

NEEDS = {
    "parts": ("remainder_eigenvalue", "hessian_eigenvalue", "checkpoint"),
    "layers": ("log_layer_curvature", "log_bend", "log_gradient_norm"),
    "samples": ("hessian_eigenvalue", "choice"),
}
SOURCES = {
    name: Source(f"curvature_{name}.nc", f"python analyses/curvature.py {name}", "half a core hour", needs)
    for name, needs in NEEDS.items()
}


def relative_curvature(layers: xr.Dataset) -> xr.DataArray:
    """Return log |vᵀK_t v| − log ‖b_t‖: the layers' curvature, trends of Dh_t taken out."""
    return (layers["log_layer_curvature"] - layers["log_bend"]).where(np.isfinite(layers["log_bend"]))


def draw_parts(ax: Axes, ds: xr.Dataset) -> None:
    """Draw the share of the rest of the Hessian against training iterations, by network."""
    share = ds["remainder_eigenvalue"] / ds["hessian_eigenvalue"]
    for index, network in enumerate(ds["network"].values):
        colour = DISTINCT[index]
        ax.plot(ds["checkpoint"], share.sel(network=network), "o-", color=colour, markersize=3)
    ax.axhline(1.0, color="0.5", linewidth=0.6, linestyle=":")
    first, last = (float(ds["test_score"].isel(checkpoint=place).mean()) for place in (0, -1))
    title = f"{ds.sizes['network']} networks, accuracy {first:.2f} to {last:.2f}"
    ax.set(ylim=(0, None), title=title)
    ax.set(xlabel="training iteration", ylabel="$|\\lambda|$ of $\\Sigma_t K_t$ / of the Hessian")
    at = ds["checkpoint"].values
    ax.set_xticks(at[(at == 0) | (at > 0.1 * at[-1])])


def draw_layers(ax: Axes, ds: xr.Dataset) -> None:
    """Draw layers' curvature against gradients, the first network of each radius."""
    curvature = relative_curvature(ds)
    for index, radius in enumerate(ds["radius"].values):
        one = ds.sel(radius=radius).isel(network=0)
        there = np.isfinite(curvature.sel(radius=radius).isel(network=0))
        colour = DISTINCT[index]
        x, y = one["log_gradient_norm"].values[there], curvature.sel(radius=radius).isel(network=0).values[there]
        ax.plot(x, y, ".", color=colour, markersize=1.5, label=f"r = {radius:g}")
        ax.plot(x[[0, -1]], y.mean() + x[[0, -1]] - x.mean(), "--", color=colour, linewidth=0.8)
    ax.legend(markerscale=5)
    ax.set(xlabel="log ‖∂L/∂$h_t$‖", ylabel="log (|$v^T K_t v$| / ‖$b_t$‖)", title=f"T = {ds.sizes['time']} layers")


def draw_samples(ax: Axes, ds: xr.Dataset) -> None:
    """Draw leading eigenvalues by radius, network and choice of samples."""
    leading = np.abs(ds["hessian_eigenvalue"]).max("eigenvalue")
    n = ds.sizes["network"]
    for index, network in enumerate(ds["network"].values):
        colour = DISTINCT[index]
        for choice, mark in zip(ds["choice"].values, "o^s", strict=False):
            x = np.arange(ds.sizes["radius"]) + 0.2 * (index - (n - 1) / 2)
            ax.plot(x, leading.sel(network=network, choice=choice), mark, color=colour, markersize=4, fillstyle="none")
    ax.set_xticks(range(ds.sizes["radius"]), [f"{r:g}" for r in ds["radius"].values])
    ax.set(yscale="log", xlabel="radius r", ylabel="largest |Hessian eigenvalue|", title="three choices of samples")


def make(datasets: Datasets) -> Figure:
    """Return the figure of those of the datasets `SOURCES` that are there."""
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(TWO_COLUMNS, 2.7))
        for ax, (name, draw) in zip(
            axes, {"parts": draw_parts, "layers": draw_layers, "samples": draw_samples}.items(), strict=True
        ):
            if name in datasets:
                draw(ax, datasets[name])
            else:
                blank(ax, SOURCES[name])
        lettered(list(axes), "ABC")
        figure.suptitle(f"What Hessians are made of and depend on ({scales(datasets)})")
    return figure


def numbers(datasets: Datasets) -> str:
    """Return what the figure says in numbers, as Markdown."""
    lines = []
    if "parts" in datasets:
        ds = datasets["parts"]
        share = (ds["remainder_eigenvalue"] / ds["hessian_eigenvalue"]).median("network")
        lines += ["| iteration | share of the rest, median |", "|---|---|"]
        lines += [f"| {int(one['checkpoint'])} | {float(one):.2f} |" for one in share]
    return "\n".join(lines)


if __name__ == "__main__":
    run("hessians", SOURCES, make, __doc__, numbers)
