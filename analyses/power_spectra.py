"""Compute the mean power spectra of sMNIST and psMNIST (Figure 4 of the paper), into data/power_spectra.nc.

python analyses/power_spectra.py    # half a minute
"""

from __future__ import annotations

from pathlib import Path

import xarray as xr

import lyapkit as lk

ROOT = Path(__file__).resolve().parent.parent
TASKS = ("smnist", "psmnist")


def main() -> None:
    """Compute and write."""
    spectra = [lk.power_spectrum(lk.task(name)).isel(feature=0, drop=True) for name in TASKS]
    ds = xr.concat(spectra, dim="task", combine_attrs="drop_conflicts")
    ds = ds.assign_coords(task=("task", list(TASKS), {"units": "1", "long_name": "task"}))
    ds.attrs |= {
        "title": "Mean power spectra of image sequences, test samples",
        "command": "python analyses/power_spectra.py",
        "scale": "paper",
        "references": "Dubinin & Effenberger 2024, Section 4.2 and Figure 4",
        "permutation_sha256": spectra[1].attrs["permutation_sha256"],
    }
    path = lk.save(ds, ROOT / "data" / "power_spectra.nc")
    for name, frequency in zip(TASKS, ds["characteristic_frequency"].values, strict=True):
        print(
            f"{path.name}: {name} is largest at {frequency:.5f} rad per step, a period of {6.2831853 / frequency:.2f}"
        )


if __name__ == "__main__":
    main()
