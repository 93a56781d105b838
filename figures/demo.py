"""Draw the README's pictures from data/: spectra and convergence of the demo's networks.

python figures/demo.py

The data are made by `analyses/demo_checkpoint.py` and `analyses/demo_checkpoint.py --dataset mnist` (5 s and 30 s).
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import xarray as xr
from matplotlib.axes import Axes

import lyapkit as lk
from lyapkit.plots import save_figure

ROOT = Path(__file__).resolve().parent.parent
N_LEADING = 10


def leading(ax: Axes, ds: xr.Dataset) -> None:
    """Draw the largest exponents in an inset: how close they are to 0 is what the whole spectrum does not show."""
    inset = ax.inset_axes((0.09, 0.1, 0.4, 0.42))
    lk.plot_spectrum(ds.isel(exponent=slice(N_LEADING)), ax=inset)
    inset.get_legend().remove()
    inset.set(xlabel="", ylabel="")
    inset.set_title(f"the {N_LEADING} largest", loc="left", fontsize="small")
    inset.tick_params(labelsize="small")


def main() -> None:
    """Draw all pictures into docs/images."""
    matplotlib.use("Agg")
    folder = ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for name, title in (("digits_rows", "scikit-learn's digits"), ("mnist_rows", "MNIST")):
        ds = lk.load(ROOT / "data" / f"{name}_spectrum.nc")
        for kind, draw in (("spectrum", lk.plot_spectrum), ("convergence", lk.plot_convergence)):
            ax = draw(ds)
            if kind == "spectrum":
                leading(ax, ds)
            ax.set_title(f"{ds.attrs['system']}\ndriven by rows of {title} (scale: {ds.attrs['scale']})", loc="left")
            print(f"drew {save_figure(ax, folder / f'{name}_{kind}.png').relative_to(ROOT)}")


if __name__ == "__main__":
    main()
