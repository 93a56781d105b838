"""Pictures of trainings and tasks: learning curves, scores against a swept parameter, power spectra."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex

from lyapkit.plots.drawing import MEAN_COLOUR, THEORY_COLOUR, Lines, axes_or_new, graded, picture

_CRITICAL = {"radius": 1.0}  # where a diverging scale of colours has its middle
_NEAR, _FAR = 0.005, 0.1  # distances from there: below which the scale is linear, and where it ends
_FROM_SUB_TO_SUPERCRITICAL = ["#56B4E9", "#0072B2", "#1A1A1A", "#D55E00", "#E69F00"]  # colour-blind safe
_PER_NETWORK = ("network", "iteration")


@picture("test_score", of="train")
def plot_learning_curves(ds: xr.Dataset, ax: Axes | None = None, score: str = "test_score", **options: Any) -> Axes:
    """Plot test scores against iterations: one line per network, or mean ± SD over networks per swept value.

    Parameters
    ----------
    ds : xarray.Dataset
        The metrics that `train` returns, or a sweep with one more dimension, the swept parameter's name.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    score : "test_score", "test_loss" or "train_loss"
        What to draw.
    **options
        Of matplotlib, for the curves: `label`, `color`, `linewidth` and others.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import lyapkit as lk
    >>> network = lk.build_network("lstm", 1, 8, 10)
    >>> result = lk.train([network], lk.task("digits"), 4, batch_size=16, n_test_samples=20)
    >>> lk.plot_learning_curves(result.metrics).get_ylabel()
    'test accuracy'
    """
    ax, asked = axes_or_new(ax), Lines(options)
    curves, swept = ds[score], swept_parameter(ds)
    iteration = ds["iteration"].values
    if swept is None:
        for index, own in zip(ds["network"].values, colours(ds["network"].values), strict=True):
            values = curves.sel(network=index).values
            known = ~np.isnan(values)
            label = asked.named(f"network {index}")
            ax.plot(iteration[known], values[known], color=asked.coloured(own), label=label, **asked.options)
    else:
        for value, own in zip(ds[swept].values, colours(ds[swept].values, swept), strict=True):
            colour = asked.coloured(own)
            one = curves.sel({swept: value})
            mean, spread = one.mean("network").values, deviation(one).values
            known = ~np.isnan(mean)
            ax.plot(iteration[known], mean[known], color=colour, label=asked.named(_text(value)), **asked.options)
            band = (mean - spread)[known], (mean + spread)[known]
            ax.fill_between(iteration[known], *band, color=colour, alpha=0.2, linewidth=0)
    ax.set(xlabel="training iteration", ylabel=_label(curves))
    asked.title(ax, ds)
    heading = None if swept is None else ds[swept].attrs.get("long_name", swept)
    ax.legend(title=heading, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


@picture("test_score", of="train")
def plot_scores(ds: xr.Dataset, ax: Axes | None = None, variable: str = "best_score", **options: Any) -> Axes:
    """Plot a number per network against the swept parameter: mean ± SD over networks, each network faint behind.

    Parameters
    ----------
    ds : xarray.Dataset
        A sweep: metrics of `train` with the swept parameter as one more dimension.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    variable : "best_score" or "iterations_to_minimal_performance"
        What to draw. Networks that never reach minimal performance count with the last iteration, as in the paper.
    **options
        Of matplotlib, for the means: `label`, `color`, `linewidth` and others.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If nothing was swept.

    Examples
    --------
    >>> import lyapkit as lk
    >>> residuals = [lk.residuals.scaled_identity(8, r) for r in (0.9, 0.95)]
    >>> networks = [lk.build_network("wcrnn", 1, 8, 10, residual=residual) for residual in residuals]
    >>> metrics = lk.train(networks, lk.task("digits"), 4, batch_size=16, n_test_samples=20).metrics
    >>> ds = metrics.rename(network="radius").assign_coords(radius=[0.9, 0.95]).expand_dims("network")
    >>> lk.plot_scores(ds).get_ylabel()
    'best test accuracy'
    """
    swept = swept_parameter(ds)
    if swept is None:
        raise ValueError("nothing was swept here: the dataset has no dimension but network and iteration")
    ax, asked = axes_or_new(ax), Lines(options)
    values = until_minimal_performance(ds) if variable == "iterations_to_minimal_performance" else ds[variable]
    names = ds[swept].values
    place = np.arange(len(names)) if names.dtype.kind in "UOT" else names
    for network in ds["network"].values:
        ax.plot(place, values.sel(network=network), ".", color="0.6", markersize=4, zorder=1)
    style = asked.like(marker="o", linestyle="-", capsize=3, markersize=5)
    colour = asked.coloured(MEAN_COLOUR)
    ax.errorbar(place, values.mean("network"), deviation(values), color=colour, label=asked.label, **style)
    if names.dtype.kind in "UOT":
        ax.set_xticks(place, names, rotation=30, ha="right")
        ax.set_xlabel("")
    else:
        ax.set_xlabel(_label(ds[swept]))
        if swept in _CRITICAL:
            ax.axvline(_CRITICAL[swept], color="black", linewidth=0.8, linestyle="--")
    ax.set_ylabel(_label(values))
    asked.title(ax, ds)
    if asked.label is not None:
        ax.legend()
    return ax


@picture("power", of="power_spectrum")
def plot_power_spectrum(ds: xr.Dataset, ax: Axes | None = None, **options: Any) -> Axes:
    """Plot a task's mean power spectrum, with its characteristic frequency.

    Parameters
    ----------
    ds : xarray.Dataset
        What `power_spectrum` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    **options
        Of matplotlib, for the spectra: `label`, `color`, `linewidth` and others.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import lyapkit as lk
    >>> ds = lk.power_spectrum(lk.task("digits"), n_samples=50)
    >>> ax = lk.plot_power_spectrum(ds)
    """
    ax, asked = axes_or_new(ax), Lines(options)
    for feature, colour in zip(ds["feature"].values, colours(ds["feature"].values), strict=True):
        one = ds.sel(feature=feature)
        own = asked.coloured(MEAN_COLOUR if len(ds["feature"]) == 1 else colour)
        label = asked.only("power") if len(ds["feature"]) == 1 else asked.named(f"feature {feature}")
        ax.plot(one["frequency"], one["power"], color=own, label=label, **asked.like(linewidth=1))
        peak = float(one["characteristic_frequency"])
        label = asked.named(f"largest at {peak:.4g} rad per step, a period of {2 * np.pi / peak:.3g} steps")
        ax.axvline(peak, color=THEORY_COLOUR, linewidth=0.8, linestyle="--", label=label)
    ax.set(yscale="log", xlabel=_label(ds["frequency"]), ylabel=_label(ds["power"]))
    if asked.label is None:
        ax.set_title(f"{ds.attrs['task']}, {ds.attrs['n_steps']} steps")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13))
    return ax


def until_minimal_performance(ds: xr.Dataset) -> xr.DataArray:
    """Return iterations until minimal performance; networks that never reach it count all, as in the paper."""
    found = ds["iterations_to_minimal_performance"]
    counted = found.where(found.notnull() | ds["best_score"].isnull(), float(ds["iteration"].max()))
    return counted.assign_attrs(found.attrs)


def deviation(values: xr.DataArray) -> xr.DataArray:
    """Return the standard deviation between networks, its square unbiased; NaN where there is one network only."""
    return values.std("network", ddof=1)


def swept_parameter(ds: xr.Dataset) -> str | None:
    """Return the name of the swept parameter, the third dimension of learning curves; None if there is none."""
    others = [str(dim) for dim in ds["test_score"].dims if dim not in _PER_NETWORK]
    return others[0] if others else None


def colours(values: np.ndarray, name: str = "") -> list[str]:
    """Return a colour per value; a radius has the same one everywhere, from blue through black at 1 to orange."""
    if name not in _CRITICAL:
        return graded(len(values))
    scale = LinearSegmentedColormap.from_list("criticality", _FROM_SUB_TO_SUPERCRITICAL)
    distance = np.asarray(values, dtype=float) - _CRITICAL[name]
    length = np.log1p(np.abs(distance) / _NEAR) / np.log1p(_FAR / _NEAR)  # near criticality small steps count
    return [to_hex(scale(place)) for place in 0.5 + 0.5 * np.sign(distance) * np.minimum(length, 1.0)]


def _label(values: xr.DataArray) -> str:
    unit = values.attrs.get("units", "1")
    return values.attrs.get("long_name", str(values.name).replace("_", " ")) + ("" if unit == "1" else f" ({unit})")


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
