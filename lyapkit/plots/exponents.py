"""Pictures of Lyapunov spectra, their convergence, and what weak coupling predicts of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.plots.drawing import (
    FEW,
    MEAN_COLOUR,
    THEORY_COLOUR,
    TRAJECTORY_COLOUR,
    axes_or_new,
    finite,
    styled,
    time_label,
    title,
)
from lyapkit.statistics import ensemble_mean, running_exponents, upper_bounds

MOST_CIRCLES = 80  # that fit beside each other on a curve


@styled
def plot_spectrum(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Plot the exponents against their rank: mean over trajectories ± standard error, each trajectory faint behind.

    Open circles are means of which only an upper bound is known, and −∞ is counted, not drawn.

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
    ax = axes_or_new(ax)
    mean = ensemble_mean(ds)
    rank = ds["exponent"].values
    values, errors = finite(mean["lyapunov_exponent"]), mean["standard_error"].fillna(0.0).values
    n_trajectories = int(mean["n_trajectories"].max())
    few = len(rank) <= FEW
    if ds.sizes["trajectory"] > 1:
        single = finite(ds["lyapunov_exponent"])
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
    shown = _spread(upper_bounds(mean) & np.isfinite(values), at_most=MOST_CIRCLES)
    if shown.any():
        style: dict[str, Any] = {
            "color": MEAN_COLOUR,
            "markerfacecolor": "white",
            "markersize": 5 if few else 3.5,
            "zorder": 3,
        }
        ax.plot(rank[shown], values[shown], "o", **style, label="upper bound")
    ax.axhline(0.0, color="black", linewidth=0.8, linestyle="--")
    if n_dead := int(np.isneginf(ds["lyapunov_exponent"].values).sum()):
        ax.plot([], [], " ", label=f"{n_dead} exponent{'s' if n_dead > 1 else ''} of −∞ not shown")
    ax.update_datalim([(rank[0], 0.0), (rank[-1], 0.0)])  # all ranks, even if their exponents are not drawn
    ax.set(xlabel="exponent (rank)", ylabel=_exponent_label(ds), title=title(ds))
    ax.margins(x=0.02 if len(rank) > FEW else 0.1)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    return ax


@styled
def plot_convergence(ds: xr.Dataset, ax: Axes | None = None, n_exponents: int = 6) -> Axes:
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

    Returns
    -------
    matplotlib.axes.Axes
    """
    ax = axes_or_new(ax)
    running = running_exponents(ds)
    k = ds.sizes["exponent"]
    shown = np.unique(np.linspace(0, k - 1, min(n_exponents, k)).round().astype(int))
    time = ds["end_time"].values
    mean = ensemble_mean(ds)
    is_bound, n_dead, n_averaged = upper_bounds(mean), mean["n_dead"].values, mean["n_trajectories"].values
    for index, colour in zip(shown, sns.color_palette("viridis", len(shown)), strict=True):
        values = finite(running.isel(exponent=index))
        valid = ~np.isnan(values[:, -1])
        if time.ndim == 2:  # trajectories end at different times
            lines = ax.plot(time.T, values.T, color=colour, alpha=0.6, linewidth=0.8)
            lines[0].set_label(f"λ{_subscript(index + 1)}, each trajectory")
            continue
        if len(values) > 1:
            ax.plot(time, values.T, color=colour, alpha=0.15, linewidth=0.6)
        name = f"λ{_subscript(index + 1)}"
        if n_dead[index]:
            ax.plot([], [], " ", label=f"{name} = −∞ in {n_dead[index]} of {n_averaged[index]}")
        elif valid.any():
            style, note = ("--", " (upper bound)") if is_bound[index] else ("-", "")
            ax.plot(time, values[valid].mean(axis=0), color=colour, linestyle=style, label=name + note)
    ax.axhline(0.0, color="black", linewidth=0.8, linestyle="--")
    if np.nanmax(time) > 20 * np.nanmin(time):
        ax.set_xscale("log")
    ax.set(
        xlabel=time_label(ds["end_time"].attrs["units"]),
        ylabel=f"running {_exponent_label(ds)}",
        title=title(ds),
    )
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


@styled
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
    ax = axes_or_new(ax)
    mean = ensemble_mean(ds)
    rank = ds["exponent"].values
    lower, upper = (finite(ds[f"certificate_{side}"].mean("trajectory")) for side in ("lower", "upper"))
    if np.isfinite([lower, upper]).all():
        ax.axhspan(float(lower), float(upper), color="0.9", label="certificate (Weyl)")
    ax.plot(rank, finite(ds["predicted_exponent"]), color="black", linestyle="--", label="log|ρᵢ| (Eq. 13)")
    averaged = finite(ds["averaged_exponent"].mean("trajectory"))
    ax.plot(rank, averaged, color=THEORY_COLOUR, label="averaged Jacobian (first order)")
    errors = mean["standard_error"].fillna(0.0).values
    style: dict[str, Any] = {
        "color": MEAN_COLOUR,
        "markersize": 4,
        "linewidth": 1,
        "label": "measured ± standard error",
    }
    ax.errorbar(rank, finite(mean["lyapunov_exponent"]), errors, fmt=".", **style)
    ax.set(xlabel="exponent (rank)", ylabel=_exponent_label(ds), title=title(ds))
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
