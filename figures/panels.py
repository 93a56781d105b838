"""Panels that several figures have: learning curves, scores and exponents of a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from lyapkit.plots.training import colours, deviation, swept_parameter

ONE_NETWORK = "0.75"  # colour
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
    ax: Axes, ds: xr.Dataset, legend: bool = True, colour_of: Mapping[float, str] | None = None
) -> None:
    """Draw test scores against iterations: mean ± SD over networks, one colour per swept value."""
    dim = swept_parameter(ds)
    colour_of = palette(ds[dim]) if colour_of is None else colour_of
    for value in ds[dim].values.tolist():
        colour = colour_of[value]
        scores = ds["test_score"].sel({dim: value})
        mean, spread = scores.mean("network"), deviation(scores)
        label = value if isinstance(value, str) else f"{value:.4g}"
        ax.plot(ds["iteration"], mean, color=colour, label=label)
        ax.fill_between(ds["iteration"], mean - spread, mean + spread, color=colour, alpha=0.12, linewidth=0)
    ax.set(xlabel="training iteration", ylabel=ds["test_score"].attrs["long_name"])
    ax.set_title(f"{task_name(ds)}, {networks(ds)}")
    if legend:
        ax.legend(title=SYMBOLS.get(dim, dim), ncols=2 if ds.sizes[dim] > 4 else 1)


def against_parameter(ax: Axes, values: xr.DataArray, ylabel: str, colour: str = "#0072B2", label: str = "") -> None:
    """Draw a number per network against the swept parameter: mean ± SD, each network faint behind."""
    (dim,) = (dim for dim in values.dims if dim != "network")
    names = values[dim].values
    is_named = names.dtype.kind in "UOT"
    place = np.arange(len(names)) if is_named else names
    for network in values["network"].values:
        ax.plot(place, values.sel(network=network), ".", color=ONE_NETWORK, markersize=2.5, zorder=1)
    style = {"color": colour, "capsize": 2, "elinewidth": 0.8, "label": label or None}
    ax.errorbar(place, values.mean("network"), deviation(values), fmt="o" if is_named else "o-", **style)
    if is_named:
        ax.set_xticks(place, [str(name).replace(" ", "\n") for name in names])
        ax.margins(x=0.2)
    else:
        unit = values[dim].attrs.get("units", "1")
        ax.set_xlabel(values[dim].attrs.get("long_name", dim) + ("" if unit == "1" else f" ({unit})"))
    if dim == "radius":
        ax.axvline(1.0, color="black", linewidth=0.6, linestyle="--")
    ax.set_ylabel(ylabel)


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


def over_checkpoints(ax: Axes, values: xr.DataArray, ylabel: str) -> None:
    """Draw a number per checkpoint against the training iteration, one colour per swept value."""
    (dim,) = (dim for dim in values.dims if dim != "checkpoint")
    for value, colour in zip(values[dim].values, colours(values[dim].values, dim), strict=True):
        ax.plot(values["checkpoint"], values.sel({dim: value}), "o-", color=colour, label=f"{value:.4g}")
    ax.set(xlabel="training iteration", ylabel=ylabel)
