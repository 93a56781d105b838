"""Measure exponents, gradient propagation and curvature of WCRNNs before training (Figure 2 of the paper).

    python analyses/before_training.py            # into data/before_training.nc
    python analyses/before_training.py --quick    # a small version in under a minute, into output/

Networks with residual r·I and random weights, N = 100, α = 0.01, that read 1000 fixed MNIST test digits pixel by pixel
(784 steps):

- for every radius r and weight seed: the Lyapunov exponents along the first 100 of the digits, the norms of the
  gradients of all 1000 samples' losses (but those that have none left, where a softmax saturates), and the
  eigenvalues of the Jacobian of one step;
- for three radii and three seeds, or all of them with --all: the leading eigenvalues of the Hessian of the mean loss of
  all 1000 samples with respect to the recurrent weights.

Every (quantity, radius, network) is a cell with a file of its own; a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import functools
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch.nn.functional import cross_entropy

import lyapkit as lk
from lyapkit.provenance import provenance
from lyapkit.sweeps import Cell, join_cells, run_cells
from lyapkit.tasks.images import as_sequences, load_digits, load_mnist

ROOT = Path(__file__).resolve().parent.parent
COUPLING = 0.01
RADII = (0.9, 0.95, 0.97, 0.98, 0.99, 1.0, 1.005, 1.01, 1.02)
REGIMES = (0.98, 1.0, 1.02)  # sub-, near- and supercritical: where Hessians are computed
N_NETWORKS, N_WITH_HESSIAN = 5, 3
N_EIGENVALUES = 10
SAMPLES_SEED = 0
SCALES = {  # units, samples, samples for exponents
    "paper": (100, 1000, 100),
    "quick": (30, 100, 20),
}
DIMS = ["radius", "network"]


@functools.cache
def samples(dataset: str, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a fixed random set of test digits as sequences, and their labels."""
    images = load_mnist() if dataset == "mnist" else load_digits()
    chosen = np.random.default_rng(SAMPLES_SEED).permutation(len(images.test_images))[:n_samples]
    return as_sequences(images.test_images[chosen], "pixels"), images.test_labels[chosen]


def untrained(n_units: int, radius: float, seed: int) -> lk.WCRNN:
    """Return an untrained network."""
    torch.manual_seed(seed)
    return lk.WCRNN(1, n_units, 10, lk.residuals.scaled_identity(n_units, radius), COUPLING, dtype=torch.float64)


def compute(quantity: str, radius: float, network: int, scale: str, dataset: str) -> xr.Dataset:
    """Return the dataset of one cell."""
    return measure(quantity, untrained(SCALES[scale][0], radius, network), scale, dataset)


def measure(quantity: str, model: lk.WCRNN, scale: str, dataset: str) -> xr.Dataset:
    """Return what is asked for of a network, with the seconds it took."""
    started = time.perf_counter()
    ds = {"propagation": propagation, "hessian": hessian}[quantity](model, scale, dataset)
    seconds = {"units": "s", "long_name": f"time that {quantity} took"}
    ds[f"{quantity}_time"] = xr.DataArray(time.perf_counter() - started, attrs=seconds)
    return ds


def propagation(model: lk.WCRNN, scale: str, dataset: str) -> xr.Dataset:
    """Return exponents, their convergence, gradient norms over samples, and one Jacobian's eigenvalues."""
    _, n_samples, n_for_exponents = SCALES[scale]
    inputs, labels = samples(dataset, n_samples)
    spectrum = lk.lyapunov_spectrum(model, inputs[:n_for_exponents], reorthonormalize=inputs.shape[1] // 28 or 1)
    running = lk.running_exponents(spectrum)
    ds = lk.ensemble_mean(spectrum)[["lyapunov_exponent", "standard_error"]]
    ds["running_exponent"] = (
        ("end_time", "exponent"),
        running.mean("trajectory").transpose("interval", "exponent").values.astype("float32"),
        running.attrs,
    )
    ds = ds.assign_coords(end_time=("end_time", spectrum["end_time"].values, spectrum["end_time"].attrs))

    norms = lk.gradient_norms(model, inputs, labels, cross_entropy)
    for prefix in ("", "predicted_", "averaged_"):
        logs = np.log(norms[f"{prefix}gradient_norm"].where(norms["gradient_norm"].min("time") > 0))
        attributes = {"units": "1", "long_name": f"log {norms[f'{prefix}gradient_norm'].attrs['long_name']}, mean"}
        ds[f"{prefix}log_gradient_norm"] = logs.mean("sample").astype("float32").assign_attrs(attributes)
        rate = norms[f"{prefix}decay_rate"]
        ds[f"{prefix}decay_rate"] = rate.mean("sample").assign_attrs(rate.attrs)
    ds["log_gradient_norm_deviation"] = (
        np.log(norms["gradient_norm"].where(norms["gradient_norm"].min("time") > 0))
        .std("sample")
        .astype("float32")
        .assign_attrs(units="1", long_name="standard deviation of log ‖∂L/∂h_t‖ over samples")
    )
    vanished = {"units": "1", "long_name": "share of samples whose loss has no gradient left, to the last digit"}
    ds["vanished"] = (norms["gradient_norm"].min("time") == 0).mean("sample").assign_attrs(vanished)
    ds["jacobian_eigenvalue"] = one_jacobian(model, torch.from_numpy(inputs[:1]))
    return ds


def one_jacobian(model: lk.WCRNN, inputs: torch.Tensor) -> xr.DataArray:
    """Return the eigenvalues of the Jacobian of the step in the middle of a sequence, (unit, part)."""
    middle = inputs.shape[1] // 2
    with torch.no_grad():
        state = list(model.states(inputs[:, :middle]))[-1]
        rows = torch.eye(model.state_size, dtype=torch.float64)[None]
        jacobian = model.push(state, inputs[:, middle], rows)[1][0].mT
    eigenvalues = np.linalg.eigvals(jacobian.numpy())
    return xr.DataArray(
        np.stack([eigenvalues.real, eigenvalues.imag], axis=1),
        {"unit": np.arange(len(eigenvalues)), "part": ["real", "imaginary"]},
        ("unit", "part"),
        attrs={"units": "1", "long_name": "eigenvalue of the Jacobian of the step in the middle"},
    )


def hessian(model: lk.WCRNN, scale: str, dataset: str) -> xr.Dataset:
    """Return leading Hessian eigenvalues."""
    n_samples = SCALES[scale][1]
    ds = lk.hessian_eigenvalues(model, *samples(dataset, n_samples), cross_entropy, N_EIGENVALUES, tolerance=1e-3)
    ds["n_products"] = xr.DataArray(float(ds.attrs["n_products"]), attrs={"units": "1", "long_name": "products"})
    ds["converged"] = ds["converged"].astype(float).assign_attrs(ds["converged"].attrs)
    return ds.drop_vars("parameter", errors="ignore")


def grid(scale: str, dataset: str, everywhere: bool) -> list[Cell]:
    """Return the cells."""
    n_networks, n_with_hessian = (2, 2) if scale == "quick" else (N_NETWORKS, N_WITH_HESSIAN)
    radii = REGIMES if scale == "quick" else RADII
    fixed = {"scale": scale, "dataset": dataset}
    cells = [
        {"quantity": "propagation", "radius": radius, "network": seed} | fixed
        for radius in radii
        for seed in range(n_networks)
    ]
    return cells + [
        {"quantity": "hessian", "radius": radius, "network": seed} | fixed
        for seed in range(n_networks if everywhere else n_with_hessian)
        for radius in (radii if everywhere else REGIMES)
    ]


def main() -> None:
    """Compute what is missing, join, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small version, scikit-learn's digits")
    parser.add_argument("--all", action="store_true", help="Hessians of all radii and networks")
    parser.add_argument("--output", type=Path, help="default: data/before_training.nc")
    options = parser.parse_args()
    scale, dataset = ("quick", "digits") if options.quick else ("paper", "mnist")
    name = "before_training.nc"
    output = options.output or (ROOT / "output" / f"quick_{name}" if options.quick else ROOT / "data" / name)
    output.parent.mkdir(parents=True, exist_ok=True)

    cells = grid(scale, dataset, options.all)
    # one cell at a time: its products use all cores
    paths = run_cells(compute, cells, output.parent / f"{output.stem}.parts", n_workers=1)
    ds = join_cells(paths, DIMS)
    ds["radius"].attrs |= {"long_name": "radius r"}
    ds["network"].attrs |= {"long_name": "weight seed"}
    n_units, n_samples, n_for_exponents = SCALES[scale]
    made = provenance(
        coupling=COUPLING,
        hidden_size=n_units,
        n_samples=n_samples,
        n_samples_of_exponents=n_for_exponents,
        samples_seed=SAMPLES_SEED,
        dataset=dataset,
        loss="cross-entropy",
        block="recurrent.weight",
    )
    ds.attrs = (
        made
        | ds.attrs
        | {
            "title": "WCRNNs before training: exponents, gradient norms and Hessian eigenvalues",
            "command": shlex.join(["python", "analyses/before_training.py", *sys.argv[1:]]),
            "scale": scale,
            "coupling": COUPLING,
            "references": "Dubinin & Effenberger 2024, Section 2 and Figure 2",
        }
    )
    lk.save(ds, output)
    spent = sum(float(ds[f"{quantity}_time"].sum()) for quantity in ("propagation", "hessian"))
    print(f"{output.name}: {len(cells)} cells, which took {spent:.0f} s in all")


if __name__ == "__main__":
    main()
