"""Pictures of gradients, curvature and learning-rate modulation of one network."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.labels import eigenvalue_variable
from lyapkit.plots.drawing import (
    FEW,
    MEAN_COLOUR,
    THEORY_COLOUR,
    TRAJECTORY_COLOUR,
    Lines,
    axes_or_new,
    distinct,
    graded,
    picture,
)


@picture("gradient_norm", of="gradient_norms")
def plot_gradient_norms(ds: xr.Dataset, ax: Axes | None = None, n_samples: int = 50, **options: Any) -> Axes:
    """Plot gradient norms against time, with what the residual and the averaged Jacobian predict (Eq. 15).

    Parameters
    ----------
    ds : xarray.Dataset
        What `gradient_norms` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    n_samples : int
        How many samples to draw, faint, behind their geometric mean.
    **options
        Of matplotlib, for the mean: `label`, `color`, `linewidth` and others.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import lyapkit as lk
    >>> model = lk.WCRNN(1, 8, 10, lk.residuals.scaled_identity(8, 0.9), 0.1)
    >>> inputs, labels = lk.task("digits").test_samples(20)
    >>> ds = lk.gradient_norms(model, inputs, labels, "cross-entropy")
    >>> lk.plot_gradient_norms(ds).get_yscale()
    'log'
    """
    ax, asked = axes_or_new(ax), Lines(options)
    time = ds["time"].values
    shown = ds["gradient_norm"].isel(sample=slice(n_samples)).transpose("time", "sample").values
    if len(ds["sample"]) > 1:
        faint = asked.coloured(TRAJECTORY_COLOUR)
        lines = ax.plot(time, shown, color=faint, alpha=0.35, linewidth=0.7)
        lines[0].set_label(asked.named("samples"))
    rate = float(ds["decay_rate"].mean())
    styles: dict[str, dict[str, Any]] = {
        "gradient_norm": asked.like(
            color=asked.coloured(MEAN_COLOUR),
            label=asked.named(f"geometric mean, {rate:+.3g} nats per step of distance"),
        ),
        "averaged_gradient_norm": {
            "color": THEORY_COLOUR,
            "linestyle": ":",
            "label": asked.named("averaged Jacobian (first order)"),
        },
        "predicted_gradient_norm": {
            "color": "black",
            "linestyle": "--",
            "label": asked.named("residual alone (Eq. 15)"),
        },
    }
    for name, style in styles.items():
        if name in ds:
            log = xr.apply_ufunc(np.log, ds[name].where(ds[name] > 0))
            ax.plot(time, np.exp(log.mean("sample")), **style)
    ax.set(yscale="log", xlabel="time t (steps)", ylabel="‖∂L/∂h_t‖")
    asked.title(ax, ds)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    return ax


@picture("hessian_eigenvalue", "ggn_eigenvalue", of="hessian_eigenvalues", single=False)
def plot_hessian_eigenvalues(ds: xr.Dataset, ax: Axes | None = None, **options: Any) -> Axes:
    """Plot eigenvalues of the Hessian or the GGN against their rank, or against training steps if there are some.

    Parameters
    ----------
    ds : xarray.Dataset
        What `hessian_eigenvalues` or `ggn_eigenvalues` returned, alone or `over_training`.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    **options
        Of matplotlib, for the eigenvalues: `label`, `color`, `linewidth` and others.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import lyapkit as lk
    >>> model = lk.WCRNN(1, 8, 10, lk.residuals.scaled_identity(8, 0.9), 0.1)
    >>> inputs, labels = lk.task("digits").test_samples(20)
    >>> ds = lk.hessian_eigenvalues(model, inputs, labels, "cross-entropy", 3)
    >>> lk.plot_hessian_eigenvalues(ds).get_xlabel()
    'rank'
    """
    ax, asked = axes_or_new(ax), Lines(options)
    name = eigenvalue_variable(ds)
    values = ds[name]
    label = f"{values.attrs.get('long_name', 'eigenvalue')} ({values.attrs.get('units', '1')})"
    if "step" in values.dims:
        ranks = values["eigenvalue"].values
        style = asked.like(marker="o", markersize=3)
        for rank, own in zip(ranks, graded(len(ranks)), strict=True):
            named = None if asked.label is None else asked.named(str(rank))
            ax.plot(values["step"], values.sel(eigenvalue=rank), color=asked.coloured(own), label=named, **style)
        ax.set(xlabel="training step", ylabel=label)
    else:
        few = values.sizes["eigenvalue"] <= FEW
        errors = ds["residual_norm"].values if "residual_norm" in ds else None
        style = asked.like(linestyle="none", marker="o" if few else ".", capsize=3, markersize=5 if few else 2)
        named, colour = asked.only("eigenvalue ± residual"), asked.coloured(MEAN_COLOUR)
        ax.errorbar(values["eigenvalue"], values, errors, color=colour, label=named, **style)
        if errors is not None and not bool(ds["converged"].all()):
            missed = values.where(ds["converged"] == 0)
            ax.plot(values["eigenvalue"], missed, "x", color=THEORY_COLOUR, label=asked.named("not converged"))
            ax.legend()
        ax.axhline(0.0, color="black", linewidth=0.8, linestyle="--")
        ax.set(xlabel="rank", ylabel=label)
        if few:
            ax.set_xticks(values["eigenvalue"])
    if asked.label is not None:
        ax.legend()
    asked.title(ax, ds)
    return ax


@picture("density", of="hessian_density")
def plot_hessian_density(ds: xr.Dataset, ax: Axes | None = None, **options: Any) -> Axes:
    """Plot the density of the Hessian's eigenvalues ± standard error, on a logarithmic axis.

    Parameters
    ----------
    ds : xarray.Dataset
        What `hessian_density` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    **options
        Of matplotlib, for the density: `label`, `color`, `linewidth` and others.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import lyapkit as lk
    >>> model = lk.WCRNN(1, 8, 10, lk.residuals.scaled_identity(8, 0.9), 0.1)
    >>> inputs, labels = lk.task("digits").test_samples(20)
    >>> ds = lk.hessian_density(model, inputs, labels, "cross-entropy", n_steps=10, n_vectors=2)
    >>> ax = lk.plot_hessian_density(ds)
    """
    ax, asked = axes_or_new(ax), Lines(options)
    value, density, error = ds["value"].values, ds["density"].values, ds["standard_error"].fillna(0.0).values
    low = 1e-6 * density.max()
    colour = asked.coloured(MEAN_COLOUR)
    ax.plot(value, density, color=colour, label=asked.only("density"), **asked.options)
    label = asked.named("± standard error")
    ax.fill_between(value, np.maximum(density - error, low), density + error, color=colour, alpha=0.3, label=label)
    ax.set(yscale="log", ylim=(low, None))
    asked.title(ax, ds)
    ax.set(xlabel=f"eigenvalue ({ds['value'].attrs['units']})", ylabel=f"density ({ds['density'].attrs['units']})")
    ax.legend()
    return ax


@picture("effective_learning_rate", of="learning_rate_modulation")
def plot_modulation(ds: xr.Dataset, ax: Axes | None = None, **options: Any) -> Axes:
    """Plot the effective learning rate that each unrolled layer contributes, one line per direction.

    Parameters
    ----------
    ds : xarray.Dataset
        What `learning_rate_modulation` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    **options
        Of matplotlib, for the lines: `label`, `color`, `linewidth` and others.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import lyapkit as lk
    >>> model = lk.WCRNN(1, 8, 10, lk.residuals.scaled_identity(8, 0.9), 0.1)
    >>> inputs, labels = lk.task("digits").test_samples(20)
    >>> ds = lk.learning_rate_modulation(model, inputs, labels, "cross-entropy")
    >>> ax = lk.plot_modulation(ds)
    """
    ax, asked = axes_or_new(ax), Lines(options)
    rates = ds["effective_learning_rate"]
    style = asked.like(linewidth=1)
    for vector, own in zip(ds["eigenvector"].values, distinct(len(rates)), strict=False):
        total = ds.attrs["learning_rate"] * float(ds["directional_curvature"].sel(eigenvector=vector))
        label = asked.named(f"direction {vector}, sum {total:.3g}")
        ax.plot(ds["time"], rates.sel(eigenvector=vector), color=asked.coloured(own), label=label, **style)
    ax.axhline(0.0, color="black", linewidth=0.8, linestyle="--")
    ax.set(xlabel="time t (steps)", ylabel="effective learning rate η m(t)")
    asked.title(ax, ds)
    ax.legend()
    return ax
