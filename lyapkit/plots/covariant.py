"""Pictures of covariant vectors: angles between spaces, and which state variables carry which direction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.plots.drawing import FEW, Lines, axes_or_new, distinct, picture, time_label, title

N_BINS = 60
RIGHT = 90.0  # degrees


@picture("covariant_vector", of="covariant_vectors")
def plot_covariant_vectors(ds: xr.Dataset, ax: Sequence[Axes] | None = None) -> Axes:
    """Plot angles along time, their histogram, and the state variables that carry each direction, one above the other.

    Parameters
    ----------
    ds : xarray.Dataset
        What `covariant_vectors` returned.
    ax : sequence of three matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The first of the three.

    Examples
    --------
    >>> import lyapkit as lk
    >>> henon = lk.classical.henon()
    >>> ds = lk.covariant_vectors(henon, n_steps=200, n_transient=100, n_backward_transient=100)
    >>> ax = lk.plot_covariant_vectors(ds)
    """
    axes = plt.subplots(3, figsize=(6.4, 10.0), layout="constrained", height_ratios=(2, 2, 3))[1] if ax is None else ax
    for draw, ax in zip((plot_angles, plot_angle_histogram, plot_directions), axes, strict=True):
        draw(ds, ax)
        ax.set_title("")
    axes[0].set_title(title(ds))
    return axes[0]


@picture("covariant_vector", of="covariant_vectors")
def plot_angles(ds: xr.Dataset, ax: Axes | None = None, trajectory: int = 0, **options: Any) -> Axes:
    """Plot the angles between named subspaces along one trajectory; without any, between neighbouring vectors.

    Parameters
    ----------
    ds : xarray.Dataset
        What `covariant_vectors` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    trajectory : int
        Which one.
    **options
        Of matplotlib, for the lines: `label`, `color`, `linewidth` and others.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import lyapkit as lk
    >>> henon = lk.classical.henon()
    >>> ds = lk.covariant_vectors(henon, n_steps=200, n_transient=100, n_backward_transient=100)
    >>> lk.plot_angles(ds).get_ylabel()
    'angle (degrees)'
    """
    ax, asked = axes_or_new(ax), Lines(options)
    for label, angles, colour in _angles(ds.sel(trajectory=trajectory)):
        style = asked.like(linewidth=0.9)
        ax.plot(ds["time"], angles, color=asked.coloured(colour), label=asked.named(label), **style)
    ax.set(xlabel=time_label(ds["time"].attrs["units"]), ylabel="angle (degrees)")
    asked.title(ax, ds)
    ax.set_ylim(0.0, None)
    ax.margins(x=0)
    ax.legend()
    return ax


@picture("covariant_vector", of="covariant_vectors")
def plot_angle_histogram(ds: xr.Dataset, ax: Axes | None = None, **options: Any) -> Axes:
    """Plot how often angles between named subspaces, or neighbouring vectors, take each value.

    A density that vanishes towards 0 speaks for hyperbolicity: the spaces never touch.

    Parameters
    ----------
    ds : xarray.Dataset
        What `covariant_vectors` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    **options
        Of `seaborn.histplot`: `label`, `color`, `bins`, `linewidth` and others.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import lyapkit as lk
    >>> henon = lk.classical.henon()
    >>> ds = lk.covariant_vectors(henon, n_steps=200, n_transient=100, n_backward_transient=100)
    >>> lk.plot_angle_histogram(ds).get_xlabel()
    'angle (degrees)'
    """
    import seaborn as sns

    ax, asked = axes_or_new(ax), Lines(options)
    for label, angles, colour in _angles(ds):
        known = angles[np.isfinite(angles)]
        if not known.size:
            ax.plot([], [], " ", label=asked.named(f"{label}, not known"))
            continue
        bins = np.linspace(0.0, RIGHT, N_BINS + 1).tolist()
        style = asked.like(bins=bins, stat="density", element="step", alpha=0.45, linewidth=0)
        named = asked.named(f"{label}, smallest {known.min():.3g}°")
        sns.histplot(known, ax=ax, color=asked.coloured(colour), label=named, **style)
    ax.set(xlabel="angle (degrees)", ylabel="density (per degree)", xlim=(0.0, RIGHT))
    asked.title(ax, ds)
    ax.legend()
    return ax


@picture("covariant_vector", of="covariant_vectors")
def plot_directions(ds: xr.Dataset, ax: Axes | None = None, **options: Any) -> Axes:
    """Plot which state variables carry each direction: mean squared components, each row adding up to 1.

    The states of networks come layer by layer; an LSTM's outputs h before its cells c.

    Parameters
    ----------
    ds : xarray.Dataset
        What `covariant_vectors` returned.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    **options
        Of matplotlib, for the image: `cmap`, `vmin`, `vmax` and others.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import lyapkit as lk
    >>> henon = lk.classical.henon()
    >>> ds = lk.covariant_vectors(henon, n_steps=200, n_transient=100, n_backward_transient=100)
    >>> lk.plot_directions(ds).get_xlabel()
    'state variable'
    """
    ax = axes_or_new(ax)
    shares = (ds["covariant_vector"].astype(float) ** 2).mean(["trajectory", "time"])
    k, size = shares.shape
    extent = (-0.5, size - 0.5, k + 0.5, 0.5)
    known = shares.values[np.isfinite(shares.values)]
    own: dict[str, Any] = {
        "cmap": "viridis",
        "vmin": 0,
        "vmax": (np.quantile(known, 0.995) or None) if known.size else 1,
    }
    image = ax.imshow(shares, aspect="auto", extent=extent, **own | options)
    ax.figure.colorbar(image, ax=ax, label="mean squared component")
    ax.set(xlabel="state variable", ylabel="exponent (rank)", title=title(ds))
    if k <= FEW:
        ax.set_yticks(ds["exponent"])
    if size <= FEW:
        ax.set_xticks(ds["state"])
    return ax


def _angles(ds: xr.Dataset) -> Iterator[tuple[str, np.ndarray, str]]:
    """Yield label, angles in degrees, and colour, of pairs of subspaces; without any of the first neighbours."""
    if "subspace_angle" in ds:
        named = [(str(pair), ds["subspace_angle"].sel(pair=pair)) for pair in ds["pair"].values]
    else:
        few = ds["neighbour"].values[:4]
        named = [(f"vectors {one} and {one + 1}", ds["angle"].sel(neighbour=one)) for one in few]
    for (label, angles), colour in zip(named, distinct(len(named)), strict=True):
        yield label, np.degrees(angles.values), colour
