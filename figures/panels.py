"""Panels that several figures have: learning curves, scores and exponents of a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.plots.training import colours, deviation, swept_parameter

ONE_NETWORK = "0.6"  # colour
NEVER = 1.12  # where "never" is drawn, in iterations that were made
RELATIVE_GRADIENT = r"$\|\partial L/\partial h_t\|\,/\,\|\partial L/\partial h_T\|$"
NAMES = {
    "smnist": "sMNIST",
    "psmnist": "psMNIST",
    "scifar10": "sCIFAR10",
}
SYMBOLS = {"radius": "r", "frequency": "ω", "spread": "ε", "coupling": "α"}


def task_name(ds: xr.Dataset) -> str:
    """Return what the task of a dataset is called in the paper, with its length."""
    base = str(ds.attrs["task"]).partition("/")[0]
    name = NAMES.get(base, base.upper())
    return name if name.endswith(str(ds.attrs["n_steps"])) else f"{name}, T = {ds.attrs['n_steps']}"


def networks(ds: xr.Dataset) -> str:
    """Return in words how many networks there are per swept value."""
    numbers = ds["best_score"].count("network")
    few, many = int(numbers.min()), int(numbers.max())
    return f"{few} to {many} networks each" if few < many else f"{many} network{'s' if many > 1 else ''} each"


def mean_best_score(ds: xr.Dataset) -> xr.DataArray:
    """Return the best scores of a sweep, means over networks."""
    return ds["best_score"].mean("network")


def is_learnt(ds: xr.Dataset) -> bool:
    """Return whether any network of a sweep finds minimal performance."""
    return bool(ds["iterations_to_minimal_performance"].notnull().any())


def palette(*values: xr.DataArray) -> dict[float, str]:
    """Return a colour for each value of a swept parameter, the same in all panels that show some of them."""
    united = np.unique(np.concatenate([one.values for one in values]))
    return dict(zip(united.tolist(), colours(united, str(values[0].name)), strict=True))


def learning_curves(
    ax: Axes,
    ds: xr.Dataset,
    legend: bool = True,
    colour_of: Mapping[float, str] | None = None,
    name_of: Mapping[str, str] | None = None,
) -> None:
    """Draw test scores against iterations: median and quartiles over networks, one colour per swept value.

    Values, or their names, stand at the ends of their curves, unless there is a legend.
    """
    dim = swept_parameter(ds)
    colour_of = palette(ds[dim]) if colour_of is None else colour_of
    ends = []
    for value in ds[dim].values.tolist():
        colour, label = (
            colour_of[value],
            f"{value:.4g}" if not isinstance(value, str) else (name_of or {}).get(value, value),
        )
        scores = ds["test_score"].sel({dim: value})
        low, middle, high = quartiles(scores)
        ax.plot(ds["iteration"], middle, color=colour, label=label)
        ax.fill_between(ds["iteration"], low, high, color=colour, alpha=0.12, linewidth=0)
        if (known := ~np.isnan(middle)).any():
            ends.append((float(ds["iteration"][known][-1]), float(middle[known][-1]), label, colour))
    ax.set(xlabel="training iteration", ylabel=ds["test_score"].attrs["long_name"])
    ax.set_title(f"{task_name(ds)}, {networks(ds)}")
    if legend:
        ax.legend(title=SYMBOLS.get(dim, dim), ncols=2 if ds.sizes[dim] > 4 else 1)
    else:
        label_ends(ax, ends, f"{SYMBOLS[dim]} = " if dim in SYMBOLS else "")


def quartiles(values: xr.DataArray, method: str = "linear") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return lower quartile, median and upper quartile over networks; NaN where there is none."""
    known = values.transpose("network", ...).values
    found = np.full((3, *known.shape[1:]), np.nan)
    some = ~np.isnan(known).all(axis=0)
    found[:, some] = np.nanquantile(known[:, some], (0.25, 0.5, 0.75), axis=0, method=method)
    return found[0], found[1], found[2]


def label_ends(ax: Axes, ends: list[tuple[float, float, str, str]], before: str = "", size: float = 5.5) -> None:
    """Write labels at the ends of curves, (x, y, label, colour), right of the panel and apart from each other."""
    if not ends:
        return
    bottom, top = ax.get_ylim()
    is_log = ax.get_yscale() == "log"
    scale = np.log if is_log else np.asarray
    height = ax.get_position().height * ax.figure.get_figheight() * 72
    apart = 1.15 * size / height  # as a share of the panel
    shares = [float((scale(y) - scale(bottom)) / (scale(top) - scale(bottom))) for _, y, *_ in ends]
    order = np.argsort(shares)
    places = np.array(shares)[order]
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + apart)
    if len(places) * apart < 1:  # there is room for all of them in the panel: those that lie too high make way
        places[-1] = min(places[-1], 0.96)
        for index in range(len(places) - 2, -1, -1):
            places[index] = min(places[index], places[index + 1] - apart)
    for place, index in zip(places, order, strict=True):
        _, _, label, colour = ends[index]
        text = f"{before}{label}" if index == order[-1] else label
        ax.text(1.01, place, text, transform=ax.transAxes, fontsize=size, color=colour, va="center", clip_on=False)


def against_parameter(
    ax: Axes, values: xr.DataArray, ylabel: str, colour: str = "#0072B2", label: str = "", method: str = "linear"
) -> None:
    """Draw a number per network against the swept parameter: a point each, median and quartiles over networks."""
    (dim,) = (dim for dim in values.dims if dim != "network")
    names = values[dim].values
    is_named = names.dtype.kind in "UOT"
    place = np.arange(len(names)) if is_named else names
    for network in values["network"].values:
        ax.plot(place, values.sel(network=network), ".", color=ONE_NETWORK, markersize=3.5, zorder=1)
    low, middle, high = quartiles(values, method)
    ax.vlines(place, low, high, color=colour, linewidth=0.9)
    ax.plot(place, middle, "o" if is_named else "o-", color=colour, label=label or None, markersize=3.5)
    if is_named:
        ax.set_xticks(place, [str(name).replace(" ", "\n") for name in names])
        ax.margins(x=0.2)
    else:
        unit = values[dim].attrs.get("units", "1")
        ax.set_xlabel(values[dim].attrs.get("long_name", dim) + ("" if unit == "1" else f" ({unit})"))
    if dim == "radius":
        ax.axvline(1.0, color="black", linewidth=0.6, linestyle="--")
    ax.set_ylabel(ylabel)


def speeds(ds: xr.Dataset) -> xr.DataArray:
    """Return iterations to minimal performance; NEVER times as many as were made, where it is never reached."""
    found = ds["iterations_to_minimal_performance"]
    never = found.isnull() & ds["best_score"].notnull()
    return found.where(~never, NEVER * float(ds["iteration"].max())).assign_attrs(found.attrs)


def speeds_against_parameter(ax: Axes, ds: xr.Dataset, colour: str = "#0072B2", label: str = "") -> None:
    """Draw iterations to minimal performance; networks that never reach it stand on a line of their own, "never"."""
    against_parameter(ax, speeds(ds), "iterations to MP", colour, label, "inverted_cdf")  # nothing between and never
    last = float(ds["iteration"].max())
    if bool((speeds(ds) > last).any()):
        ax.axhline(NEVER * last, color="0.8", linewidth=0.6, zorder=0)
        at = {"transform": ax.get_yaxis_transform(), "va": "center"}
        ax.text(1.01, NEVER * last, "never", fontsize=5.5, color="0.4", **at)
    ax.set_ylim(0, 1.08 * NEVER * last if bool((speeds(ds) > last).any()) else None)


def mark_rows(axes: Iterable[Axes], ds: xr.Dataset) -> None:
    """Mark where theory expects good frequencies: at that of the images' rows of pixels, and its harmonics."""
    own = characteristic_frequency(ds)
    for ax in axes:
        for frequency in np.arange(own, float(ds["frequency"].max()) + 1e-6, own):
            ax.axvline(frequency, color="0.55", linewidth=0.6, linestyle="--", zorder=0)


def characteristic_frequency(ds: xr.Dataset) -> float:
    """Return the frequency of rows of pixels, of square images that are read pixel by pixel."""
    return 2 * np.pi / float(ds.attrs["n_steps"]) ** 0.5


def mean_and_deviation(values: xr.DataArray, digits: int = 3, factor: float = 1.0) -> str:
    """Return mean ± SD over networks as text, with their number; no deviation of a single one."""
    known = values.dropna("network") * factor
    spread = f" ± {float(deviation(known)):.{digits}f}" if len(known) > 1 else ""
    return f"{float(known.mean()):.{digits}f}{spread} ({len(known)})"


def measured(ds: xr.Dataset, name: str) -> xr.DataArray:
    """Return a variable of those networks and swept values that were measured at checkpoints."""
    return ds[name].dropna("network", how="all").dropna(swept_parameter(ds), how="all")


def over_checkpoints(ax: Axes, values: xr.DataArray, ylabel: str) -> None:
    """Draw a number per checkpoint against the training iteration, one colour per swept value: networks and median."""
    (dim,) = (dim for dim in values.dims if dim not in ("checkpoint", "network"))
    values = values.transpose(dim, "checkpoint", "network")
    for value, colour in zip(values[dim].values, colours(values[dim].values, dim), strict=True):
        one = values.sel({dim: value})
        if one.sizes["network"] > 1:
            ax.plot(one["checkpoint"], one, color=colour, alpha=0.4, linewidth=0.6)
        ax.plot(one["checkpoint"], one.median("network"), "o-", color=colour, label=f"{value:.4g}")
    ax.set(xlabel="training iteration", ylabel=ylabel)
