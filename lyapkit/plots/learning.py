"""Pictures of gradients, curvature and learning-rate modulation of one network."""

from __future__ import annotations

from typing import Any

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.plots.drawing import FEW, MEAN_COLOUR, THEORY_COLOUR, TRAJECTORY_COLOUR, axes_or_new, styled, title


@styled
def plot_gradient_norms(ds: xr.Dataset, ax: Axes | None = None, n_samples: int = 50) -> Axes:
    """Plot gradient norms against time, with what the residual and the averaged Jacobian predict (Eq. 15).

    Parameters
    ----------
    ds : xarray.Dataset
        What `gradient_norms` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    n_samples : int
        How many samples to draw, faint, behind their geometric mean.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = axes_or_new(ax)
    time = ds["time"].values
    shown = ds["gradient_norm"].isel(sample=slice(n_samples)).transpose("time", "sample").values
    if len(ds["sample"]) > 1:
        lines = ax.plot(time, shown, color=TRAJECTORY_COLOUR, alpha=0.35, linewidth=0.7)
        lines[0].set_label("samples")
    rate = float(ds["decay_rate"].mean())
    styles: dict[str, dict[str, Any]] = {
        "gradient_norm": {"color": MEAN_COLOUR, "label": f"geometric mean, {rate:+.3g} nats per step of distance"},
        "averaged_gradient_norm": {
            "color": THEORY_COLOUR,
            "linestyle": ":",
            "label": "averaged Jacobian (first order)",
        },
        "predicted_gradient_norm": {"color": "black", "linestyle": "--", "label": "residual alone (Eq. 15)"},
    }
    for name, style in styles.items():
        if name in ds:
            log = xr.apply_ufunc(np.log, ds[name].where(ds[name] > 0))
            ax.plot(time, np.exp(log.mean("sample")), **style)
    ax.set(yscale="log", xlabel="time t (steps)", ylabel="‖∂L/∂h_t‖", title=title(ds))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    return ax


@styled
def plot_hessian_eigenvalues(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Plot eigenvalues of the Hessian or the GGN against their rank, or against training steps if there are some.

    Parameters
    ----------
    ds : xarray.Dataset
        What `hessian_eigenvalues` or `ggn_eigenvalues` returned, alone or `over_training`.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = axes_or_new(ax)
    name = "hessian_eigenvalue" if "hessian_eigenvalue" in ds else "ggn_eigenvalue"
    values = ds[name]
    label = f"{values.attrs.get('long_name', 'eigenvalue')} ({values.attrs.get('units', '1')})"
    if "step" in values.dims:
        ranks = values["eigenvalue"].values
        for rank, colour in zip(ranks, sns.color_palette("viridis", len(ranks)), strict=True):
            ax.plot(values["step"], values.sel(eigenvalue=rank), color=colour, marker="o", markersize=3)
        ax.set(xlabel="training step", ylabel=label)
    else:
        few = values.sizes["eigenvalue"] <= FEW
        errors = ds["residual_norm"].values if "residual_norm" in ds else None
        style: dict[str, Any] = {
            "fmt": "o" if few else ".",
            "color": MEAN_COLOUR,
            "capsize": 3,
            "markersize": 5 if few else 2,
        }
        ax.errorbar(values["eigenvalue"], values, errors, **style, label="eigenvalue ± residual")
        if errors is not None and not bool(ds["converged"].all()):
            missed = values.where(ds["converged"] == 0)
            ax.plot(values["eigenvalue"], missed, "x", color=THEORY_COLOUR, label="not converged")
            ax.legend()
        ax.axhline(0.0, color="black", linewidth=0.8, linestyle="--")
        ax.set(xlabel="rank", ylabel=label)
        if few:
            ax.set_xticks(values["eigenvalue"])
    ax.set_title(title(ds))
    return ax


@styled
def plot_hessian_density(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Plot the density of the Hessian's eigenvalues ± standard error, on a logarithmic axis.

    Parameters
    ----------
    ds : xarray.Dataset
        What `hessian_density` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = axes_or_new(ax)
    value, density, error = ds["value"].values, ds["density"].values, ds["standard_error"].fillna(0.0).values
    low = 1e-6 * density.max()
    ax.plot(value, density, color=MEAN_COLOUR, label="density")
    label = "± standard error"
    ax.fill_between(value, np.maximum(density - error, low), density + error, color=MEAN_COLOUR, alpha=0.3, label=label)
    ax.set(yscale="log", ylim=(low, None), title=title(ds))
    ax.set(xlabel=f"eigenvalue ({ds['value'].attrs['units']})", ylabel=f"density ({ds['density'].attrs['units']})")
    ax.legend()
    return ax


@styled
def plot_modulation(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Plot the effective learning rate that each unrolled layer contributes, one line per direction.

    Parameters
    ----------
    ds : xarray.Dataset
        What `learning_rate_modulation` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = axes_or_new(ax)
    rates = ds["effective_learning_rate"]
    for vector, colour in zip(ds["eigenvector"].values, sns.color_palette("colorblind", len(rates)), strict=False):
        total = ds.attrs["learning_rate"] * float(ds["directional_curvature"].sel(eigenvector=vector))
        label = f"direction {vector}, sum {total:.3g}"
        ax.plot(ds["time"], rates.sel(eigenvector=vector), color=colour, linewidth=1, label=label)
    ax.axhline(0.0, color="black", linewidth=0.8, linestyle="--")
    ax.set(xlabel="time t (steps)", ylabel="effective learning rate η m(t)", title=title(ds))
    ax.legend()
    return ax
