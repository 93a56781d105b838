"""Pictures of datasets: functions of a dataset that return matplotlib axes."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.results import check_writable, replacing
from lyapkit.statistics import ensemble_mean, running_exponents

STYLE = Path(__file__).with_name("lyapkit.mplstyle")
MEAN_COLOUR, TRAJECTORY_COLOUR, THEORY_COLOUR = "#0072B2", "#8C8C8C", "#D55E00"
FEW_EXPONENTS = 20
_METADATA = {".png": {}, ".pdf": {"CreationDate": None}, ".svg": {"Date": None}}  # what would change from run to run


def _styled(draw: Callable[..., Axes]) -> Callable[..., Axes]:
    """Draw in lyapkit's style, whatever style is set."""

    @functools.wraps(draw)
    def styled(*arguments: object, **options: object) -> Axes:
        with plt.style.context(STYLE):
            return draw(*arguments, **options)

    return styled


@_styled
def plot_spectrum(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Plot the exponents against their rank: mean over trajectories ± standard error, each trajectory faint behind.

    Parameters
    ----------
    ds : xarray.Dataset
        What `lyapunov_spectrum` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = _axes(ax)
    mean = ensemble_mean(ds)
    rank = ds["exponent"].values
    values, errors = _finite(mean["lyapunov_exponent"]), mean["standard_error"].fillna(0.0).values
    n_trajectories = int(mean["n_trajectories"].max())
    few = len(rank) <= FEW_EXPONENTS
    if ds.sizes["trajectory"] > 1:
        single = _finite(ds["lyapunov_exponent"])
        marker = "_" if few else None
        lines = ax.plot(rank, single.T, color=TRAJECTORY_COLOUR, alpha=0.35, linewidth=0.7, marker=marker)
        lines[0].set_label("trajectories")
        label = f"mean of {n_trajectories} trajectories ± standard error"
    else:
        label = "exponent ± standard error"
    if few:
        ax.errorbar(rank, values, errors, fmt="o", color=MEAN_COLOUR, capsize=3, markersize=5, label=label)
        ax.set_xticks(rank)
    else:
        ax.plot(rank, values, color=MEAN_COLOUR, label=label)
        ax.fill_between(rank, values - errors, values + errors, color=MEAN_COLOUR, alpha=0.3, linewidth=0)
    ax.axhline(0.0, color="black", linewidth=0.8, linestyle="--")
    if n_dead := int(np.isneginf(ds["lyapunov_exponent"].values).sum()):
        ax.annotate(
            f"{n_dead} exponents of −∞ not shown", (0.98, 0.94), xycoords="axes fraction", ha="right", fontsize=8
        )
    ax.set(xlabel="exponent (rank)", ylabel=_exponent_label(ds), title=_title(ds))
    ax.margins(x=0.02 if len(rank) > FEW_EXPONENTS else 0.1)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    return ax


@_styled
def plot_convergence(ds: xr.Dataset, ax: Axes | None = None, n_exponents: int = 6) -> Axes:
    """Plot running exponents against time: mean over trajectories, each trajectory faint behind.

    Parameters
    ----------
    ds : xarray.Dataset
        What `lyapunov_spectrum` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    n_exponents : int
        How many exponents to show, evenly spread over the ranks.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = _axes(ax)
    running = running_exponents(ds)
    k = ds.sizes["exponent"]
    shown = np.unique(np.linspace(0, k - 1, min(n_exponents, k)).round().astype(int))
    time = ds["end_time"].values
    for index, colour in zip(shown, sns.color_palette("viridis", len(shown)), strict=True):
        values = _finite(running.isel(exponent=index))
        valid = ~np.isnan(values[:, -1])
        if len(values) > 1:
            ax.plot(time, values.T, color=colour, alpha=0.15, linewidth=0.6)
        if valid.any():
            ax.plot(time, values[valid].mean(axis=0), color=colour, label=f"λ{_subscript(index + 1)}")
    ax.axhline(0.0, color="black", linewidth=0.8, linestyle="--")
    if time[-1] > 20 * time[0]:
        ax.set_xscale("log")
    unit = ds["end_time"].attrs["units"]
    ax.set(
        xlabel="time (steps)" if unit == "step" else f"time ({unit})",
        ylabel=f"running {_exponent_label(ds)}",
        title=_title(ds),
    )
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


@_styled
def plot_weak_coupling(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Plot measured exponents over those that the residual predicts (Eq. 13), within their certificate.

    Parameters
    ----------
    ds : xarray.Dataset
        What `validate_weak_coupling` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = _axes(ax)
    mean = ensemble_mean(ds)
    rank = ds["exponent"].values
    bounds = [_finite(ds[f"certificate_{side}"].mean("trajectory")) for side in ("lower", "upper")]
    if np.isfinite(bounds).all():
        ax.axhspan(*bounds, color="0.9", label="certificate (Weyl)")
    ax.plot(rank, _finite(ds["predicted_exponent"]), color="black", linestyle="--", label="log|ρᵢ| (Eq. 13)")
    averaged = _finite(ds["averaged_exponent"].mean("trajectory"))
    ax.plot(rank, averaged, color=THEORY_COLOUR, label="averaged Jacobian (first order)")
    errors = mean["standard_error"].fillna(0.0).values
    style = {"color": MEAN_COLOUR, "markersize": 4, "linewidth": 1, "label": "measured ± standard error"}
    ax.errorbar(rank, _finite(mean["lyapunov_exponent"]), errors, fmt=".", **style)
    ax.set(xlabel="exponent (rank)", ylabel=_exponent_label(ds), title=_title(ds))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    return ax


@_styled
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
    ax = _axes(ax)
    time = ds["time"].values
    shown = ds["gradient_norm"].isel(sample=slice(n_samples)).transpose("time", "sample").values
    if len(ds["sample"]) > 1:
        lines = ax.plot(time, shown, color=TRAJECTORY_COLOUR, alpha=0.35, linewidth=0.7)
        lines[0].set_label("samples")
    rate = float(ds["decay_rate"].mean())
    styles = {
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
            ax.plot(time, np.exp(np.log(ds[name].where(ds[name] > 0)).mean("sample")), **style)
    ax.set(yscale="log", xlabel="time t (steps)", ylabel="‖∂L/∂h_t‖", title=_title(ds))
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    return ax


@_styled
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
    ax = _axes(ax)
    name = "hessian_eigenvalue" if "hessian_eigenvalue" in ds else "ggn_eigenvalue"
    values = ds[name]
    label = f"{values.attrs.get('long_name', 'eigenvalue')} ({values.attrs.get('units', '1')})"
    if "step" in values.dims:
        ranks = values["eigenvalue"].values
        for rank, colour in zip(ranks, sns.color_palette("viridis", len(ranks)), strict=True):
            ax.plot(values["step"], values.sel(eigenvalue=rank), color=colour, marker="o", markersize=3)
        ax.set(xlabel="training step", ylabel=label)
    else:
        few = values.sizes["eigenvalue"] <= FEW_EXPONENTS
        errors = ds["residual_norm"].values if "residual_norm" in ds else None
        style = {"fmt": "o" if few else ".", "color": MEAN_COLOUR, "capsize": 3, "markersize": 5 if few else 2}
        ax.errorbar(values["eigenvalue"], values, errors, **style, label="eigenvalue ± residual")
        if errors is not None and not bool(ds["converged"].all()):
            missed = values.where(ds["converged"] == 0)
            ax.plot(values["eigenvalue"], missed, "x", color=THEORY_COLOUR, label="not converged")
            ax.legend()
        ax.axhline(0.0, color="black", linewidth=0.8, linestyle="--")
        ax.set(xlabel="rank", ylabel=label)
        if few:
            ax.set_xticks(values["eigenvalue"])
    ax.set_title(_title(ds))
    return ax


@_styled
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
    ax = _axes(ax)
    value, density, error = ds["value"].values, ds["density"].values, ds["standard_error"].fillna(0.0).values
    low = 1e-6 * density.max()
    ax.plot(value, density, color=MEAN_COLOUR, label="density")
    label = "± standard error"
    ax.fill_between(value, np.maximum(density - error, low), density + error, color=MEAN_COLOUR, alpha=0.3, label=label)
    ax.set(yscale="log", ylim=(low, None), title=_title(ds))
    ax.set(xlabel=f"eigenvalue ({ds['value'].attrs['units']})", ylabel=f"density ({ds['density'].attrs['units']})")
    ax.legend()
    return ax


@_styled
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
    ax = _axes(ax)
    rates = ds["effective_learning_rate"]
    for vector, colour in zip(ds["eigenvector"].values, sns.color_palette("colorblind", len(rates)), strict=False):
        total = ds.attrs["learning_rate"] * float(ds["directional_curvature"].sel(eigenvector=vector))
        label = f"direction {vector}, sum {total:.3g}"
        ax.plot(ds["time"], rates.sel(eigenvector=vector), color=colour, linewidth=1, label=label)
    ax.axhline(0.0, color="black", linewidth=0.8, linestyle="--")
    ax.set(xlabel="time t (steps)", ylabel="effective learning rate η m(t)", title=_title(ds))
    ax.legend()
    return ax


def save_figure(ax: Axes, path: str | Path) -> Path:
    """Write the figure that `ax` is on to a PNG, PDF or SVG file, whole or not at all, and close it.

    The same data give the same bytes.

    Raises
    ------
    ValueError
        If the ending is none of these.
    OSError
        If the file cannot be written.
    """
    path = check_drawable(path)
    with replacing(path) as temporary, plt.style.context(STYLE):
        ax.figure.savefig(temporary, metadata=_METADATA[path.suffix])
    plt.close(ax.figure)
    return path


def check_drawable(path: str | Path) -> Path:
    """Return the path if a picture can be written there; raises like `save_figure`."""
    path = check_writable(path)
    if path.suffix not in _METADATA:
        raise ValueError(f"cannot draw {path.name}: unknown type {path.suffix!r}, expected .png, .pdf or .svg")
    return path


def _axes(ax: Axes | None) -> Axes:
    return plt.subplots()[1] if ax is None else ax


def _title(ds: xr.Dataset) -> str:
    """Return what was measured, in lines that fit above a picture."""
    return textwrap.fill(ds.attrs.get("system", ""), 68)


def _finite(values: xr.DataArray) -> np.ndarray:
    """Return values with infinities as gaps."""
    return values.where(np.isfinite(values)).values


def _exponent_label(ds: xr.Dataset) -> str:
    return f"Lyapunov exponent ({ds['lyapunov_exponent'].attrs['units']})"


def _subscript(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
