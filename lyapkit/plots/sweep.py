"""Pictures of parameter sweeps: exponents under the bifurcation diagram, or the largest one over two parameters."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.labels import cells_of_sweep
from lyapkit.plots.drawing import Lines, axes_or_new, distinct, finite, picture, title
from lyapkit.statistics import ensemble_mean

MOST_EXPONENTS = 6  # that are drawn


@picture("remark", of="sweep", single=False)
def plot_sweep(ds: xr.Dataset, ax: Axes | None = None, variable: int = 0, **options: Any) -> Axes:
    """Plot exponents ± standard error, of `ensemble_mean`, under the orbits; or the largest one over two parameters.

    Parameters
    ----------
    ds : xarray.Dataset
        What `sweep` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw, without the orbits. Default: a new figure.
    variable : int
        Which state variable's orbit to draw.
    **options
        Of matplotlib: `label`, `color` and others for the lines of exponents, `cmap` and others for the map.

    Returns
    -------
    matplotlib.axes.Axes
        That of the exponents.

    Raises
    ------
    ValueError
        If more than two parameters were swept.

    Examples
    --------
    >>> import lyapkit as lk
    >>> ds = lk.sweep(lk.classical.henon, {"a": [1.0, 1.2, 1.4]}, n_steps=500)
    >>> ax = lk.plot_sweep(ds)
    """
    names, ds = cells_of_sweep(ds)
    if len(names) > 2:
        raise ValueError(f"{len(names)} parameters were swept: select one value of all but two, by ds.sel")
    if len(names) == 2:
        return _map(ds, axes_or_new(ax), names[0], names[1], options)
    return _line(ds, ax, names[0], variable, Lines(options))


def _line(ds: xr.Dataset, ax: Axes | None, name: str, variable: int, asked: Lines) -> Axes:
    has_orbit = "orbit" in ds and ax is None
    size = (6.4, 6.4 if has_orbit else 4.8)
    axes = [ax] if ax else plt.subplots(1 + has_orbit, sharex=True, figsize=size, squeeze=False)[1][:, 0]
    ax, values = axes[-1], ds[name].values
    if has_orbit:
        orbit = ds["orbit"].sel(state=variable).transpose(name, "orbit_step").values
        points = np.repeat(values, orbit.shape[1]), orbit.ravel()
        axes[0].plot(*points, ",", color="black", alpha=0.5, rasterized=True)
        axes[0].set(ylabel=f"state variable {variable}")
    mean = ensemble_mean(ds)
    ranks = ds["exponent"].values[:MOST_EXPONENTS]
    style = asked.like(linewidth=0.9)
    for rank, own in zip(ranks, distinct(len(ranks)), strict=True):
        colour = asked.coloured(own)
        of_rank = mean.sel(exponent=rank)
        middle, error = finite(of_rank["lyapunov_exponent"]), of_rank["standard_error"].fillna(0.0).values
        ax.plot(values, middle, color=colour, label=asked.named(f"exponent {rank}"), **style)
        ax.fill_between(values, middle - error, middle + error, color=colour, alpha=0.3, linewidth=0)
    ax.axhline(0.0, color="black", linewidth=0.8, linestyle="--")
    ax.set(xlabel=name, ylabel=f"Lyapunov exponent ({ds['lyapunov_exponent'].attrs['units']})")
    ax.margins(x=0)
    ax.legend()
    asked.title(axes[0], ds)
    return ax


def _map(ds: xr.Dataset, ax: Axes, across: str, up: str, options: dict[str, Any]) -> Axes:
    largest = ensemble_mean(ds)["lyapunov_exponent"].sel(exponent=1).transpose(up, across)
    values = finite(largest)
    limit = float(np.nanmax(np.abs(values)))
    style: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "shading": "nearest", "rasterized": True}
    image = ax.pcolormesh(ds[across], ds[up], np.ma.masked_invalid(values), **style | options)
    unit = ds["lyapunov_exponent"].attrs["units"]
    ax.figure.colorbar(image, ax=ax, label=f"largest Lyapunov exponent ({unit})")
    ax.set(xlabel=across, ylabel=up, title=title(ds), facecolor="0.8")
    return ax
