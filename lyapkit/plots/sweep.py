"""Pictures of parameter sweeps: exponents under the bifurcation diagram, or the largest one over two parameters."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.labels import swept_parameters
from lyapkit.plots.drawing import finite, styled, title
from lyapkit.statistics import ensemble_mean

MOST_EXPONENTS = 6  # that are drawn


@styled
def plot_sweep(ds: xr.Dataset, variable: int = 0) -> Axes:
    """Plot exponents ± standard error, of `ensemble_mean`, under the orbits; or the largest one over two parameters.

    Parameters
    ----------
    ds : xarray.Dataset
        What `sweep` returned.
    variable : int
        Which state variable's orbit to draw.

    Returns
    -------
    matplotlib.axes.Axes
        That of the exponents.

    Raises
    ------
    ValueError
        If more than two parameters were swept.
    """
    names = swept_parameters(ds)
    if len(names) > 2:
        raise ValueError(f"{len(names)} parameters were swept: select one value of all but two, by ds.sel")
    return _line(ds, names[0], variable) if len(names) == 1 else _map(ds, names[0], names[1])


def _line(ds: xr.Dataset, name: str, variable: int) -> Axes:
    has_orbit = "orbit" in ds
    axes = plt.subplots(1 + has_orbit, sharex=True, figsize=(6.4, 6.4 if has_orbit else 4.8), squeeze=False)[1][:, 0]
    ax, values = axes[-1], ds[name].values
    if has_orbit:
        orbit = ds["orbit"].sel(state=variable).transpose(name, "orbit_step").values
        points = np.repeat(values, orbit.shape[1]), orbit.ravel()
        axes[0].plot(*points, ",", color="black", alpha=0.5, rasterized=True)
        axes[0].set(ylabel=f"state variable {variable}")
    mean = ensemble_mean(ds)
    ranks = ds["exponent"].values[:MOST_EXPONENTS]
    for rank, colour in zip(ranks, sns.color_palette("colorblind", len(ranks)), strict=True):
        of_rank = mean.sel(exponent=rank)
        middle, error = finite(of_rank["lyapunov_exponent"]), of_rank["standard_error"].fillna(0.0).values
        ax.plot(values, middle, color=colour, linewidth=0.9, label=f"exponent {rank}")
        ax.fill_between(values, middle - error, middle + error, color=colour, alpha=0.3, linewidth=0)
    ax.axhline(0.0, color="black", linewidth=0.8, linestyle="--")
    ax.set(xlabel=name, ylabel=f"Lyapunov exponent ({ds['lyapunov_exponent'].attrs['units']})")
    ax.margins(x=0)
    ax.legend()
    axes[0].set_title(title(ds))
    return ax


def _map(ds: xr.Dataset, across: str, up: str) -> Axes:
    ax = plt.subplots()[1]
    largest = ensemble_mean(ds)["lyapunov_exponent"].sel(exponent=1).transpose(up, across)
    values = finite(largest)
    limit = float(np.nanmax(np.abs(values)))
    style: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "shading": "nearest", "rasterized": True}
    image = ax.pcolormesh(ds[across], ds[up], np.ma.masked_invalid(values), **style)
    unit = ds["lyapunov_exponent"].attrs["units"]
    ax.figure.colorbar(image, ax=ax, label=f"largest Lyapunov exponent ({unit})")
    ax.set(xlabel=across, ylabel=up, title=title(ds), facecolor="0.8")
    return ax
