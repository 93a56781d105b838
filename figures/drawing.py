"""What the figure scripts share: from a dataset in data/ to a printed summary and pictures in figures/output/."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import matplotlib
import xarray as xr
from matplotlib.figure import Figure

import lyapkit as lk
from lyapkit.plots import save_figure

ROOT = Path(__file__).resolve().parent.parent


def draw_figure(
    name: str,
    data: str,
    cost: str,
    make: Callable[[xr.Dataset], Figure],
    numbers: Callable[[xr.Dataset], str],
    about: str,
) -> None:
    """Read the options of a figure script, print its numbers, and draw it as PNG and PDF.

    Parameters
    ----------
    name : str
        What the pictures are called.
    data : str
        Name of the file in data/ and of the script in analyses/ that makes it.
    cost : str
        How long that takes.
    make, numbers : callable
        Return the figure, and what it says in numbers, of a dataset.
    about : str
        The script's docstring, its help text.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "data" / f"{data}.nc", help=f"default: data/{data}.nc")
    default = ROOT / "figures" / "output"
    parser.add_argument("--output", type=Path, default=default, help="folder; default: figures/output")
    options = parser.parse_args()
    matplotlib.use("Agg")
    if not options.data.is_file():
        raise SystemExit(f"{options.data} does not exist: python analyses/{data}.py makes it ({cost})")
    ds = lk.open(options.data)
    print(numbers(ds))
    options.output.mkdir(parents=True, exist_ok=True)
    for suffix in (".png", ".pdf"):
        path = save_figure(make(ds).axes[0], options.output / f"{name}{suffix}")
        print(f"drew {path} from {options.data} (scale: {ds.attrs['scale']})")
