"""Pictures of Lyapunov spectra, their convergence, and what weak coupling predicts of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.plots.drawing import (
    FEW,
    MEAN_COLOUR,
    THEORY_COLOUR,
    TRAJECTORY_COLOUR,
    Lines,
    axes_or_new,
    finite,
    graded,
    picture,
    time_label,
)
from lyapkit.statistics import ensemble_mean, running_exponents, upper_bounds

MOST_CIRCLES = 80  # that fit beside each other on a curve


@picture("lyapunov_exponent", of="lyapunov_spectrum")
def plot_spectrum(ds: xr.Dataset, ax: Axes | None = None, **options: Any) -> Axes:
    """Plot the exponents against their rank: mean over trajectories ± standard error, each trajectory faint behind.

    Open circles are means of which only an upper bound is known, and −∞ is counted, not drawn.

    Parameters
    ----------
    ds : xarray.Dataset
        What `lyapunov_spectrum` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    **options
        Of matplotlib, for the mean: `label`, `color`, `linewidth` and others.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import lyapkit as lk
    >>> ds = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=1000, n_transient=100)
    >>> lk.plot_spectrum(ds, color="black").get_ylabel()
    'Lyapunov exponent (nats per step)'
    """
    ax, asked = axes_or_new(ax), Lines(options)
    colour = asked.coloured(MEAN_COLOUR)
    is_mean = "trajectory" not in ds.dims
    mean = ds if is_mean else ensemble_mean(ds)
    rank = ds["exponent"].values
    values, errors = finite(mean["lyapunov_exponent"]), mean["standard_error"].fillna(0.0).values
    n_trajectories = int(mean["n_trajectories"].max())
    few = len(rank) <= FEW
    label = f"mean of {n_trajectories} trajectories ± standard error"
    if not is_mean and ds.sizes["trajectory"] > 1:
        single = finite(ds["lyapunov_exponent"])
        marker = "_" if few else None
        faint = asked.coloured(TRAJECTORY_COLOUR)
        lines = ax.plot(rank, single.T, color=faint, alpha=0.35, linewidth=0.7, marker=marker)
        lines[0].set_label(asked.named("trajectories"))
    elif n_trajectories <= 1:
        label = "exponent ± standard error"
    if few:
        style = asked.like(marker="o", linestyle="none", capsize=3, markersize=5)
        ax.errorbar(rank, values, errors, color=colour, label=asked.only(label), **style)
        ax.set_xticks(rank)
    else:
        ax.plot(rank, values, color=colour, label=asked.only(label), **asked.options)
        ax.fill_between(rank, values - errors, values + errors, color=colour, alpha=0.3, linewidth=0)
    shown = _spread(upper_bounds(mean) & np.isfinite(values), at_most=MOST_CIRCLES)
    if shown.any():
        circle: dict[str, Any] = {"color": colour, "markerfacecolor": "white", "markersize": 5 if few else 3.5}
        ax.plot(rank[shown], values[shown], "o", **circle, zorder=3, label=asked.named("upper bound"))
    ax.axhline(0.0, color="black", linewidth=0.8, linestyle="--")
    if n_dead := int(np.isneginf(ds["lyapunov_exponent"].values).sum()):
        ax.plot([], [], " ", label=asked.named(f"{n_dead} exponent{'s' if n_dead > 1 else ''} of −∞ not shown"))
    ax.update_datalim([(rank[0], 0.0), (rank[-1], 0.0)])  # all ranks, even if their exponents are not drawn
    ax.set(xlabel="exponent (rank)", ylabel=_exponent_label(ds))
    asked.title(ax, ds)
    ax.margins(x=0.02 if len(rank) > FEW else 0.1)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    return ax


@picture("log_growth", of="lyapunov_spectrum")
def plot_convergence(ds: xr.Dataset, ax: Axes | None = None, n_exponents: int = 6, **options: Any) -> Axes:
    """Plot running exponents against time: mean over trajectories, each trajectory faint behind.

    Dashed lines end in upper bounds. Where some trajectories have −∞, the mean has no line: the legend says how many.

    Parameters
    ----------
    ds : xarray.Dataset
        What `lyapunov_spectrum` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    n_exponents : int
        How many exponents to show, evenly spread over the ranks.
    **options
        Of matplotlib, for the means: `label`, `color`, `linewidth` and others.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import lyapkit as lk
    >>> ds = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=1000, n_transient=100)
    >>> lk.plot_convergence(ds).get_xlabel()
    'time (steps)'
    """
    ax, asked = axes_or_new(ax), Lines(options)
    running = running_exponents(ds)
    k = ds.sizes["exponent"]
    shown = np.unique(np.linspace(0, k - 1, min(n_exponents, k)).round().astype(int))
    time = ds["end_time"].values
    mean = ensemble_mean(ds)
    is_bound, n_dead, n_averaged = upper_bounds(mean), mean["n_dead"].values, mean["n_trajectories"].values
    for index, own in zip(shown, graded(len(shown)), strict=True):
        colour = asked.coloured(own)
        values = finite(running.isel(exponent=index))
        valid = ~np.isnan(values[:, -1])
        if time.ndim == 2:  # trajectories end at different times
            lines = ax.plot(time.T, values.T, color=colour, alpha=0.6, linewidth=0.8)
            lines[0].set_label(asked.named(f"λ{_subscript(index + 1)}, each trajectory"))
            continue
        if len(values) > 1:
            ax.plot(time, values.T, color=colour, alpha=0.15, linewidth=0.6)
        name = asked.named(f"λ{_subscript(index + 1)}")
        if n_dead[index]:
            ax.plot([], [], " ", label=f"{name} = −∞ in {n_dead[index]} of {n_averaged[index]}")
        elif valid.any():
            dashes, note = ("--", " (upper bound)") if is_bound[index] else ("-", "")
            style = asked.like(linestyle=dashes)
            ax.plot(time, values[valid].mean(axis=0), color=colour, label=name + note, **style)
    ax.axhline(0.0, color="black", linewidth=0.8, linestyle="--")
    if np.nanmax(time) > 20 * np.nanmin(time):
        ax.set_xscale("log")
    ax.set(
        xlabel=time_label(ds["end_time"].attrs["units"]),
        ylabel=f"running {_exponent_label(ds)}",
    )
    asked.title(ax, ds)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


@picture("predicted_exponent", of="validate_weak_coupling")
def plot_weak_coupling(ds: xr.Dataset, ax: Axes | None = None, **options: Any) -> Axes:
    """Plot measured exponents over those that the residual predicts (Eq. 13), within their certificate.

    Parameters
    ----------
    ds : xarray.Dataset
        What `validate_weak_coupling` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    **options
        Of matplotlib, for the measured exponents: `label`, `color`, `linewidth` and others.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import lyapkit as lk
    >>> import numpy as np
    >>> model = lk.WCRNN(1, 8, 10, lk.residuals.scaled_identity(8, 0.9), 0.001)
    >>> ds = lk.validate_weak_coupling(model, np.zeros((1, 200, 1)))
    >>> lk.plot_weak_coupling(ds).get_xlabel()
    'exponent (rank)'
    """
    ax, asked = axes_or_new(ax), Lines(options)
    mean = ensemble_mean(ds)
    rank = ds["exponent"].values
    lower, upper = (finite(ds[f"certificate_{side}"].mean("trajectory")) for side in ("lower", "upper"))
    if np.isfinite([lower, upper]).all():
        ax.axhspan(float(lower), float(upper), color="0.9", label="certificate (Weyl)")
    ax.plot(rank, finite(ds["predicted_exponent"]), color="black", linestyle="--", label="log|ρᵢ| (Eq. 13)")
    averaged = finite(ds["averaged_exponent"].mean("trajectory"))
    ax.plot(rank, averaged, color=THEORY_COLOUR, label="averaged Jacobian (first order)")
    errors = mean["standard_error"].fillna(0.0).values
    style = asked.like(marker=".", linestyle="none", markersize=4, linewidth=1)
    label, colour = asked.only("measured ± standard error"), asked.coloured(MEAN_COLOUR)
    ax.errorbar(rank, finite(mean["lyapunov_exponent"]), errors, color=colour, label=label, **style)
    ax.set(xlabel="exponent (rank)", ylabel=_exponent_label(ds))
    asked.title(ax, ds)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    return ax


def _spread(chosen: np.ndarray, at_most: int) -> np.ndarray:
    """Return which of the chosen ranks to mark so that marks keep apart: the ends of each run, and some in between."""
    before, after = np.append(False, chosen[:-1]), np.append(chosen[1:], False)
    every = -(-len(chosen) // at_most)
    return chosen & (~before | ~after | (np.arange(len(chosen)) % every == 0))


def _exponent_label(ds: xr.Dataset) -> str:
    return f"Lyapunov exponent ({ds['lyapunov_exponent'].attrs['units']})"


def _subscript(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
