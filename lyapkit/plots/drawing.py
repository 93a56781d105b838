"""What all pictures have in common: style, colours, and how they are written."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ParamSpec

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cbook import normalize_kwargs
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

from lyapkit.files.writing import check_writable, replacing
from lyapkit.given_datasets import takes

STYLE = Path(__file__).with_name("lyapkit.mplstyle")
MEAN_COLOUR, TRAJECTORY_COLOUR, THEORY_COLOUR = "#0072B2", "#8C8C8C", "#D55E00"
DISTINCT = (  # told apart also by the colour-blind: seaborn's palette "colorblind"
    *("#0173B2", "#DE8F05", "#029E73", "#D55E00", "#CC78BC", "#CA9161", "#FBAFE4", "#949494", "#ECE133", "#56B4E9"),
)
FEW = 20  # points that are drawn one by one
P = ParamSpec("P")
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {},
    ".pdf": {"CreationDate": None},
    ".svg": {"Date": None},
}  # what would change from run to run


def picture(*variables: str, of: str, single: bool = True) -> Callable[[Callable[P, Axes]], Callable[P, Axes]]:
    """Return a decorator: draw in lyapkit's style, whatever style is set, what holds one of these variables.

    Parameters
    ----------
    *variables : str
        By which the right dataset is known.
    of : str
        The function that returns it.
    single : bool
        Whether it must be of one checkpoint, and of no sweep.
    """

    def decorator(draw: Callable[P, Axes]) -> Callable[P, Axes]:
        @takes(*variables, of=of, single=single)
        @functools.wraps(draw)
        def in_style(*arguments: P.args, **options: P.kwargs) -> Axes:
            with plt.style.context(STYLE):
                return draw(*arguments, **options)

        return in_style

    return decorator


def distinct(number: int) -> list[str]:
    """Return colours of things without an order; more than ten of them share some."""
    return [DISTINCT[index % len(DISTINCT)] for index in range(number)]


def graded(number: int) -> list[str]:
    """Return colours of things with an order, from dark to light."""
    return [to_hex(colour) for colour in plt.get_cmap("viridis")(np.linspace(0, 1, number + 2)[1:-1])]


class Lines:
    """What is asked of the lines of a picture: `label`, `color`, and all else that matplotlib's lines take.

    Where a picture has several lines, the label comes before what each is called, and the colour is one for all.
    """

    def __init__(self, options: Mapping[str, Any], kind: type[Artist] = Line2D) -> None:
        self.options = normalize_kwargs(dict(options), kind)
        self.label: str | None = self.options.pop("label", None)
        self.color = self.options.pop("color", None)

    def named(self, own: str) -> str:
        """Return the label of one of several things."""
        return own if self.label is None else f"{self.label}, {own}"

    def only(self, own: str) -> str:
        """Return the label of the only thing."""
        return own if self.label is None else self.label

    def coloured(self, own: Any) -> Any:
        """Return the colour of a thing that has this one of its own."""
        return own if self.color is None else self.color

    def like(self, **own: Any) -> dict[str, Any]:
        """Return options for matplotlib: those asked for, in front of a picture's own."""
        return own | self.options

    def title(self, ax: Axes, ds: xr.Dataset) -> None:
        """Set the title, unless labels say what is what."""
        if self.label is None:
            ax.set_title(title(ds))


def save_figure(ax: Axes, path: str | Path, style: Path = STYLE) -> Path:
    """Write the figure that `ax` is on to a PNG, PDF or SVG file, whole or not at all, and close it.

    The same data give the same bytes. `style` is a matplotlib style, of resolution and fonts in the file.

    Raises
    ------
    ValueError
        If the ending is none of these.
    OSError
        If the file cannot be written.
    """
    path = check_drawable(path)
    with replacing(path) as temporary:
        savefig(ax, temporary, path.suffix, style)
    return path


def savefig(ax: Axes, target: Path | BinaryIO, suffix: str = ".png", style: Path = STYLE) -> None:
    """Write the figure that `ax` is on to a file or a stream, and close it. The same data give the same bytes."""
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("these axes are on no figure")
    with plt.style.context(style):
        figure.savefig(target, format=suffix[1:], metadata=_METADATA[suffix])
    plt.close(figure)


def check_drawable(path: str | Path, inputs: Iterable[str | Path] = ()) -> Path:
    """Return the path if a picture can be written there and replaces no input; raises like `save_figure`."""
    path = check_writable(path, inputs)
    if path.suffix not in _METADATA:
        raise ValueError(f"cannot draw {path.name}: unknown type {path.suffix!r}, expected .png, .pdf or .svg")
    return path


def axes_or_new(ax: Axes | None) -> Axes:
    """Return the axes that were given, or new ones."""
    return plt.subplots()[1] if ax is None else ax


def title(ds: xr.Dataset) -> str:
    """Return what was measured, in lines that fit above a picture."""
    return textwrap.fill(ds.attrs.get("system", ds.attrs.get("title", "")), 68)


def time_label(unit: str) -> str:
    """Return what an axis of times in a unit is called."""
    return "time (steps)" if unit == "step" else f"time ({unit})"


def finite(values: xr.DataArray) -> np.ndarray:
    """Return values with infinities as gaps."""
    return values.where(np.isfinite(values)).values
