"""Draw the learning-rate modulation of rotational residuals (Figure 4B of the paper), from data/modulation.nc.

    python figures/modulation.py                                     # figures/output/modulation.png and .pdf
    python figures/modulation.py --data output/quick_modulation.nc   # of another run

The data are made by `python analyses/modulation.py`.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from figures.drawing import STYLE, TWO_COLUMNS, Source, run_one
from figures.layers import shares, spectrum
from lyapkit.plots.drawing import distinct

SOURCE = Source(
    "modulation.nc", "python analyses/modulation.py", "5 minutes on two CPU cores", ("modulation", "alignment")
)
CURVES = {
    "modulation": "m(t): curvature (shares)",
    "alignment": "c(t): gradient (shares)",
}


def make(ds: xr.Dataset) -> Figure:
    """Return the figure of a dataset of `analyses/modulation.py`."""
    if missing := set(CURVES) - set(ds.data_vars):
        raise SystemExit(f"these data are not of analyses/modulation.py: they lack {sorted(missing)}")
    frequencies = ds["frequency"].values
    colours = distinct(len(frequencies))
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(len(frequencies), 4, figsize=(TWO_COLUMNS, 1.3 * len(frequencies) + 0.5))
        for index, (row, frequency, colour) in enumerate(zip(axes, frequencies, colours, strict=True)):
            for ax, (name, label) in zip(row[[0, 2]], CURVES.items(), strict=True):
                curves = shares(ds, name).sel(frequency=frequency)
                ax.plot(ds["time"], curves.T, color="0.7", linewidth=0.6)
                ax.plot(ds["time"], curves.isel(network=0), color=colour, linewidth=1)
                ax.axhline(0.0, color="black", linewidth=0.6)
                ax.set_ylabel(f"ω = {frequency:.3g}" if name == "modulation" else "")
                if index == 0:
                    ax.set_title(label)
            for ax, name, factor in ((row[1], "modulation", 2), (row[3], "alignment", 1)):
                powers = [spectrum(curve) for curve in shares(ds, name).sel(frequency=frequency).values]
                ax.plot(powers[0][0], np.mean([p / p.sum() for _, p in powers], axis=0), color=colour, linewidth=1)
                if frequency:
                    ax.axvline(factor * frequency, color="black", linewidth=0.8, linestyle="--")
                ax.set(yscale="log", xlim=(0, 1.2 * factor * frequencies[-1]), ylim=(1e-5, 1))
                if index == 0:
                    ax.set_title("its spectrum; dashed: " + ("2ω" if factor == 2 else "ω"))
        for ax in axes[-1, [0, 2]]:
            ax.set_xlabel("time t (steps)")
        for ax in axes[-1, [1, 3]]:
            ax.set_xlabel("frequency (rad/step)")
        figure.suptitle(
            f"What unrolled layers contribute along the leading eigenvector of the Hessian:\nrotations of frequency ω, "
            f"{ds.sizes['network']} networks, {ds.attrs['n_samples']} samples (scale: {ds.attrs['scale']})"
        )
    return figure


def numbers(ds: xr.Dataset) -> str:
    """Return where the spectra peak, as Markdown."""
    lines = ["| ω (rad/step) | peak of the modulation's spectrum / ω | of the alignment's / ω |", "|---|---|---|"]
    for frequency in ds["frequency"].values:
        if frequency:
            peaks = []
            for name in CURVES:
                powers = [spectrum(curve) for curve in shares(ds, name).sel(frequency=frequency).values]
                peaks.append(", ".join(f"{f[p.argmax()] / frequency:.2f}" for f, p in powers))
            lines.append(f"| {frequency:.4f} | {peaks[0]} | {peaks[1]} |")
    return "\n".join(lines)


def main() -> None:
    """Draw, and print the numbers."""
    run_one("modulation", SOURCE, make, __doc__, numbers)


if __name__ == "__main__":
    main()
