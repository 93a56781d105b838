"""Measure how layers modulate the learning rate in rotational WCRNNs before training (Figure 4B of the paper).

    python analyses/modulation.py            # into data/modulation.nc
    python analyses/modulation.py --quick    # a small version in under a minute, into output/

Networks with residual rotation(ω) of radius 1 and random weights, N = 100, α = 0.01, that read MNIST test digits pixel
by pixel (784 steps): the contribution of every unrolled layer to the curvature of the mean loss along the leading
eigenvector of its Hessian, and the alignment of its gradient with the whole one. Frequencies are multiples of
2π/28, MNIST's own; 0 is the residual I. Every (frequency, network) is a cell with a file of its own; a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch.nn.functional import cross_entropy

import lyapkit as lk
from analyses.before_training import samples
from lyapkit.provenance import provenance
from lyapkit.sweeps import join_cells, run_cells

ROOT = Path(__file__).resolve().parent.parent
COUPLING, RADIUS = 0.01, 1.0
MULTIPLES = (0.0, 0.5, 1.0, 2.0)  # of 2π/28
SCALES = {"paper": (100, 1000, 5), "quick": (100, 250, 3), "tiny": (10, 50, 2)}  # units, samples, networks
DIMS = ["frequency", "network"]


def compute(frequency: float, network: int, scale: str, dataset: str) -> xr.Dataset:
    """Return the modulation curves of one network, with the seconds they took."""
    started = time.perf_counter()
    n_units, n_samples, _ = SCALES[scale]
    torch.manual_seed(network)
    residual = lk.residuals.rotation(n_units, frequency, RADIUS)
    model = lk.WCRNN(1, n_units, 10, residual, COUPLING, dtype=torch.float64)
    ds = lk.learning_rate_modulation(model, *samples(dataset, n_samples), cross_entropy).isel(eigenvector=0, drop=True)
    attributes = {"units": "s", "long_name": "time that it took"}
    ds["time_taken"] = xr.DataArray(time.perf_counter() - started, attrs=attributes)
    return ds.drop_vars("effective_learning_rate")


def main() -> None:
    """Compute what is missing, join, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny version, scikit-learn's digits")
    parser.add_argument("--scale", choices=["paper", "quick"], default="quick", help="1000 or 250 samples")
    parser.add_argument("--output", type=Path, help="default: data/modulation.nc")
    options = parser.parse_args()
    scale, dataset = ("tiny", "digits") if options.quick else (options.scale, "mnist")
    output = options.output or ROOT / ("output/quick_modulation.nc" if options.quick else "data/modulation.nc")
    output.parent.mkdir(parents=True, exist_ok=True)
    n_units, n_samples, n_networks = SCALES[scale]
    own = 2 * np.pi / (8 if dataset == "digits" else 28)
    cells = [
        {"frequency": multiple * own, "network": network, "scale": scale, "dataset": dataset}
        for network in range(n_networks)
        for multiple in MULTIPLES
    ]
    # one cell at a time: its products use all cores
    paths = run_cells(compute, cells, output.parent / f"{output.stem}_{scale}.parts", n_workers=1)
    ds = join_cells(paths, DIMS)
    ds["frequency"].attrs = {"units": "rad per step", "long_name": "frequency ω of the rotation"}
    ds["network"].attrs |= {"long_name": "weight seed"}
    made = provenance(
        coupling=COUPLING,
        radius=RADIUS,
        hidden_size=n_units,
        n_samples=n_samples,
        dataset=dataset,
        loss="cross-entropy",
    )
    ds.attrs = (
        made
        | ds.attrs
        | {
            "title": "Learning-rate modulation of rotational WCRNNs before training",
            "command": shlex.join(["python", "analyses/modulation.py", *sys.argv[1:]]),
            "scale": "paper" if scale == "paper" else "quick",
            "n_samples": n_samples,
            "references": "Dubinin & Effenberger 2024, Eq. 6 to 10 and Figure 4B",
        }
    )
    lk.save(ds, output)
    print(f"{output.name}: {len(cells)} cells, which took {float(ds['time_taken'].sum()):.0f} s in all")


if __name__ == "__main__":
    main()
