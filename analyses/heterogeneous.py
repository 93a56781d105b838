"""Measure WCRNNs with heterogeneous radii before training: Figure 5B, C and D of the paper, into data/heterogeneous.nc.

    python analyses/heterogeneous.py            # half an hour on two CPU cores
    python analyses/heterogeneous.py --quick    # a small version in under a minute, into output/

As `before_training.py`, for residuals diag(r_i) with r_i uniform in 0.98 ± ε: exponents and gradient norms of three
networks per ε, Hessian eigenvalues of the first of them.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import torch
import xarray as xr

import lyapkit as lk
from analyses.before_training import COUPLING, DIMS, ROOT, SCALES, measure
from lyapkit.provenance import provenance
from lyapkit.sweeps import join_cells, run_cells

RADIUS = 0.98
SPREADS = (0.0, 0.01, 0.02, 0.05)  # none, less than the distance to criticality, as much, more
N_NETWORKS, N_WITH_HESSIAN = 3, 1


def compute(quantity: str, spread: float, network: int, scale: str, dataset: str) -> xr.Dataset:
    """Return the dataset of one cell."""
    n_units = SCALES[scale][0]
    torch.manual_seed(network)
    residual = lk.residuals.heterogeneous(n_units, RADIUS, spread, network)
    model = lk.WCRNN(1, n_units, 10, residual, COUPLING, dtype=torch.float64)
    return measure(quantity, model, scale, dataset)


def main() -> None:
    """Compute what is missing, join, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small version, scikit-learn's digits")
    parser.add_argument("--output", type=Path, help="default: data/heterogeneous.nc")
    options = parser.parse_args()
    scale, dataset = ("quick", "digits") if options.quick else ("paper", "mnist")
    output = options.output or ROOT / ("output" if options.quick else "data") / "heterogeneous.nc"
    output.parent.mkdir(parents=True, exist_ok=True)
    cells = [
        {"quantity": quantity, "spread": spread, "network": network, "scale": scale, "dataset": dataset}
        for quantity, n_networks in (("propagation", N_NETWORKS), ("hessian", N_WITH_HESSIAN))
        for network in range(n_networks)
        for spread in SPREADS
    ]
    paths = run_cells(compute, cells, output.parent / f"{output.stem}.parts", n_workers=1)
    ds = join_cells(paths, ["spread", *DIMS[1:]])
    ds["spread"].attrs |= {"long_name": "spread ε of the radii"}
    ds["network"].attrs |= {"long_name": "weight seed"}
    n_units, n_samples, n_for_exponents = SCALES[scale]
    about = {
        "title": "WCRNNs with heterogeneous radii before training",
        "command": shlex.join(["python", "analyses/heterogeneous.py", *sys.argv[1:]]),
        "scale": scale,
        "coupling": COUPLING,
        "radius": RADIUS,
        "references": "Dubinin & Effenberger 2024, Section 4.3 and Figure 5",
    }
    made = provenance(hidden_size=n_units, n_samples=n_samples, n_samples_of_exponents=n_for_exponents, dataset=dataset)
    ds.attrs = made | ds.attrs | about
    lk.save(ds, output)
    spent = sum(float(ds[f"{quantity}_time"].sum()) for quantity in ("propagation", "hessian"))
    print(f"{output.name}: {len(cells)} cells, which took {spent:.0f} s in all")


if __name__ == "__main__":
    main()
