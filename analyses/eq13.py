"""Measure the exponents of weakly coupled residual networks and compare them with Eq. 13 and its sharper statements.

    python analyses/eq13.py            # the whole grid, into data/eq13.nc
    python analyses/eq13.py --quick    # a small grid in under a minute, into output/eq13_quick.nc

Networks with random weights, before any training: residuals r·I, rotation, heterogeneous and random orthogonal, and the
non-linear types A and B (with r·I), for many couplings α, radii r and sizes N, driven by

- MNIST digits pixel by pixel (784 steps), or scikit-learn's where MNIST is not to be had;
- the adding problem, of the same length;
- digits in a row, for the long-time regime: αT = 60, after as long a transient.

Without coupling, α = 0, also a rotation times heterogeneous radii, which is not normal.

Every (network, inputs) is a cell with a file of its own; a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch.nn.functional import cross_entropy, l1_loss

import lyapkit as lk
from lyapkit.learning.gradients import gradient_norms
from lyapkit.provenance import provenance
from lyapkit.sweeps import Cell, join_cells, run_cells
from lyapkit.tasks.adding import adding
from lyapkit.tasks.images import Images, as_sequences, load_digits, load_mnist
from lyapkit.weak_coupling import variational_deviation

ROOT = Path(__file__).resolve().parent.parent
LINEAR = ("identity", "rotation", "heterogeneous", "orthogonal")
MODELS = (*LINEAR, "type A", "type B")
NOT_NORMAL = "rotation × radii"
UNCOUPLED = "any (α = 0)"
SPREAD = 0.02  # of heterogeneous radii around r
FREQUENCY = 2 * np.pi / 28  # of rotations, rad per step: the rows of MNIST
N_TRAJECTORIES = 2
LONG = 60.0  # αT of the long-time regime, and of the transient before it
COUPLINGS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.2, 0.5)
FEW_COUPLINGS = (1e-4, 1e-3, 1e-2, 0.1, 0.5)  # for other sizes and inputs
LONG_COUPLINGS = (1e-3, 3e-3, 1e-2, 3e-2)
QUICK_COUPLINGS = (1e-4, 1e-3, 1e-2, 0.1)
QUICK_LONG_COUPLINGS = (1e-2, 3e-2)
DIMS = ["model", "inputs", "hidden_size", "radius", "network"]
BY_TRAJECTORY = ("largest_deviation", "mean_deviation", "certificate_lower", "certificate_upper", "perturbation_norm")


def residual(model: str, n: int, radius: float, network: int) -> lk.Residual:
    """Return the residual of a network; the random ones are drawn anew for every network."""
    if model == "rotation":
        return lk.residuals.rotation(n, FREQUENCY, radius)
    if model == NOT_NORMAL:
        radii = np.random.default_rng(network).uniform(radius - SPREAD, radius + SPREAD, n)
        return lk.residuals.rotation(n, FREQUENCY, radii)
    if model == "heterogeneous":
        return lk.residuals.heterogeneous(n, radius, SPREAD, network)
    if model == "orthogonal":
        return lk.residuals.orthogonal(n, network, radius)
    return lk.residuals.scaled_identity(n, radius)


@functools.cache
def _images(dataset: str) -> Images:
    return load_mnist() if dataset == "mnist" else load_digits()


def driving(inputs: str, dataset: str, network: int, n_steps: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return input sequences and targets; other digits for every network."""
    images = _images(dataset)
    sequences = as_sequences(images.test_images, "pixels")
    if inputs == "ADD":
        return adding(N_TRAJECTORIES, sequences.shape[1], network)
    rng = np.random.default_rng(network)
    if inputs in ("digit", UNCOUPLED):
        chosen = rng.choice(len(sequences), N_TRAJECTORIES, replace=False)
        return sequences[chosen], images.test_labels[chosen]
    chosen = rng.choice(len(sequences), -(-n_steps // sequences.shape[1]))
    return sequences[chosen].reshape(1, -1, 1)[:, :n_steps], images.test_labels[chosen[-1:]]


def compute(
    model: str, inputs: str, hidden_size: int, radius: float, network: int, dataset: str, couplings: list[float]
) -> xr.Dataset:
    """Return measured and predicted exponents of one network for all couplings."""
    return xr.concat(
        [
            compute_one(model, inputs, hidden_size, radius, network, dataset, coupling).expand_dims(coupling=[coupling])
            for coupling in couplings
        ],
        dim="coupling",
        data_vars="all",
        join="outer",  # the number of intervals differs
    ).assign_coords(coupling=("coupling", list(couplings), {"units": "1", "long_name": "coupling α"}))


def compute_one(
    model: str, inputs: str, hidden_size: int, radius: float, network: int, dataset: str, coupling: float
) -> xr.Dataset:
    """Return measured and predicted exponents of one network."""
    is_long = inputs == "digits in a row"
    n_transient = round(LONG / coupling) if is_long else 0
    sequences, targets = driving(inputs, dataset, network, 2 * n_transient)
    torch.manual_seed(network)
    kind = model.removeprefix("type ") if model.startswith("type") else "linear"
    n_outputs = 1 if inputs == "ADD" else 10
    wcrnn = lk.WCRNN(
        sequences.shape[2],
        hidden_size,
        n_outputs,
        residual(model, hidden_size, radius, network),
        coupling,
        kind,
        dtype=torch.float64,
    )
    validated = lk.validate_weak_coupling(wcrnn, sequences, n_transient=n_transient)
    exponents = validated["lyapunov_exponent"]
    ds = validated[[*BY_TRAJECTORY, "divergence_step"]]
    for name in ("averaged", "long_time", "fixed_time"):
        left = np.abs(exponents - validated[f"{name}_exponent"]).max("exponent", skipna=False)
        ds[f"{name}_remainder"] = left.assign_attrs(
            units="nats per step", long_name=f"largest |exponent − {name.replace('_', '-')} prediction|"
        )
    for name in ("largest", "smallest"):
        extreme = exponents.max("exponent") if name == "largest" else exponents.min("exponent")
        ds[f"{name}_exponent"] = extreme.assign_attrs(units="nats per step", long_name=f"{name} exponent")
    for name in ("lyapunov_exponent", "standard_error"):
        ds[name] = validated[name].mean("trajectory").astype("float32").assign_attrs(validated[name].attrs)
    ds["predicted_exponent"] = validated["predicted_exponent"]
    running = validated["running_deviation"]
    ds["running_deviation"] = running.mean("trajectory").astype("float32").assign_attrs(running.attrs)
    ds["running_time"] = validated["end_time"].drop_vars(["duration", "end_time"])
    ds["n_steps"] = xr.DataArray(float(validated["duration"].sum()), attrs={"units": "step", "long_name": "T"})
    ds = ds.drop_vars(["duration", "end_time"])
    if not is_long:
        n_steps = sequences.shape[1]
        times = sorted({1, n_steps // 28, n_steps // 7, n_steps // 2, n_steps})
        products = variational_deviation(wcrnn, sequences, times).mean("trajectory", keep_attrs=True)
        singular = products["singular_exponent"].sel(time=n_steps, drop=True)
        ds["singular_exponent"] = singular.astype("float32").assign_attrs(products["singular_exponent"].attrs)
        ds["variational_deviation"] = products["variational_deviation"]
        norms = gradient_norms(wcrnn, sequences, targets, l1_loss if inputs == "ADD" else cross_entropy)
        ds["gradient_decay_rate"] = norms["decay_rate"].rename(sample="trajectory").drop_vars("trajectory")
    return ds


def grid(quick: bool, dataset: str) -> list[Cell]:
    """Return the cells of the grid."""
    sizes, radii, networks = ((30,), (0.9, 0.98, 1.02), 2) if quick else ((50, 100, 200), (0.9, 0.98, 1.0, 1.02), 5)
    couplings, few = (QUICK_COUPLINGS, QUICK_COUPLINGS) if quick else (COUPLINGS, FEW_COUPLINGS)
    long_couplings = QUICK_LONG_COUPLINGS if quick else LONG_COUPLINGS
    middle = sizes[len(sizes) // 2]
    runs = [
        ("digit", MODELS, (middle,), radii, couplings),
        (UNCOUPLED, (*LINEAR, NOT_NORMAL), (middle,), radii, (0.0,)),
        ("digits in a row", LINEAR, (middle,), (0.98,), long_couplings),
        ("ADD", MODELS[:1] if quick else MODELS, (middle,), radii, few),
        ("digit", MODELS, [n for n in sizes if n != middle], (0.9, 0.98, 1.02), few),
    ]
    return [
        dict(
            zip(
                [*DIMS, "dataset", "couplings"], [model, inputs, n, radius, network, dataset, list(alphas)], strict=True
            )
        )
        for inputs, models, hidden_sizes, radii, alphas in runs
        for n, model, radius, network in itertools.product(hidden_sizes, models, radii, range(networks))
    ]


def available_dataset() -> str:
    """Return "mnist", or "digits" where it is not to be had."""
    try:
        load_mnist()
    except Exception as error:  # no network, no folder, no pooch
        print(f"MNIST is not available ({error}): using scikit-learn's digits, 64 steps instead of 784")
        return "digits"
    return "mnist"


def main() -> None:
    """Compute what is missing, join, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small grid, scikit-learn's digits")
    parser.add_argument("--dataset", choices=["mnist", "digits"], help="default: mnist if it is available")
    parser.add_argument("--workers", type=int, help="processes; default: one per core")
    parser.add_argument("--output", type=Path, help="default: data/eq13.nc, or output/eq13_quick.nc")
    options = parser.parse_args()
    dataset = options.dataset or ("digits" if options.quick else available_dataset())
    output = options.output or ROOT / ("output/eq13_quick.nc" if options.quick else "data/eq13.nc")
    output.parent.mkdir(parents=True, exist_ok=True)

    started = time.perf_counter()
    cells = grid(options.quick, dataset)
    parts = output.parent / f"{output.stem}_{dataset}.parts"
    paths = run_cells(compute, cells, parts, n_workers=options.workers)
    ds = join_cells(paths, DIMS)
    ds["radius"].attrs |= {"long_name": "radius r"}
    ds["network"].attrs |= {"long_name": "weight seed"}
    ds["predicted_exponent"] = ds["predicted_exponent"].max(["inputs", "coupling"], keep_attrs=True)  # all the same
    made = provenance(spread=SPREAD, frequency=FREQUENCY, n_trajectories=N_TRAJECTORIES, long=LONG, dataset=dataset)
    ds.attrs = (
        made
        | ds.attrs
        | {
            "title": "Exponents of weakly coupled residual networks against Eq. 13",
            "command": shlex.join(["python", "analyses/eq13.py", *sys.argv[1:]]),
            "scale": "quick" if options.quick or dataset == "digits" else "paper",
            "references": "Dubinin & Effenberger 2024, Eq. 12, 13 and 15",
        }
    )
    lk.save(ds, output)
    print(f"{output.name}: {len(cells)} cells, {time.perf_counter() - started:.0f} s for those that were missing")


if __name__ == "__main__":
    main()
