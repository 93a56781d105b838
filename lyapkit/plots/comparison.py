"""The spectra of several models in one picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.comparison import as_comparison
from lyapkit.plots.drawing import FEW, Lines, axes_or_new, distinct, finite, picture

MOST_MODELS = 10  # that can be told apart by their colours


@picture("lyapunov_exponent", of="compare", single=False)
def plot_comparison(ds: xr.Dataset, ax: Axes | None = None, **options: Any) -> Axes:
    """Plot the exponents of several models against their rank, each a line with a band of ± standard error.

    Parameters
    ----------
    ds : xarray.Dataset
        What `compare` returned; or spectra of several checkpoints of a network, as `over_training` returns them.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: a new figure.
    **options
        Of matplotlib, for the lines: `label`, `color`, `linewidth` and others.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ValueError
        If the dataset is another, or holds more than ten models.

    Examples
    --------
    >>> import lyapkit as lk
    >>> maps = {f"a = {a}": lk.classical.henon(a) for a in (1.2, 1.4)}
    >>> ds = lk.compare({name: lk.lyapunov_spectrum(map, n_steps=200) for name, map in maps.items()})
    >>> [text.get_text() for text in lk.plot_comparison(ds).get_legend().get_texts()]
    ['a = 1.2', 'a = 1.4']
    """
    ds = as_comparison(ds, "plot_comparison")
    if ds.sizes["model"] > MOST_MODELS:
        raise ValueError(
            f"{ds.sizes['model']} models cannot be told apart in one picture: select {MOST_MODELS} at most"
        )
    ax, asked = axes_or_new(ax), Lines(options)
    rank = ds["exponent"].values
    few = len(rank) <= FEW
    style = asked.like(marker="o" if few else None, markersize=4)
    for name, own in zip(ds["model"].values, distinct(ds.sizes["model"]), strict=True):
        colour = asked.coloured(own)
        one = ds.sel(model=name)
        values, errors = finite(one["lyapunov_exponent"]), one["standard_error"].fillna(0.0).values
        ax.plot(rank, values, color=colour, label=asked.named(str(name)), **style)
        ax.fill_between(rank, values - errors, values + errors, color=colour, alpha=0.25, linewidth=0)
        bounds = one["is_bound"].values.astype(bool) & np.isfinite(values)
        if bounds.any():
            ax.plot(rank[bounds], values[bounds], "o", color=colour, markerfacecolor="white", markersize=3.5)
    ax.axhline(0.0, color="black", linewidth=0.8, linestyle="--")
    unit = ds["lyapunov_exponent"].attrs["units"]
    ax.set(xlabel="exponent (rank)", ylabel=f"Lyapunov exponent ({unit})")
    if few:
        ax.set_xticks(rank)
    ax.legend(title="mean ± standard error" + (", open: upper bound" if bool(ds["is_bound"].any()) else ""))
    return ax
