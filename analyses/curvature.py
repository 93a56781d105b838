"""Measure what makes up Hessians of residual networks, and what they depend on (Sections 2.2 and 4.1 of the paper).

    python analyses/curvature.py parts      # the Hessian and its Gauss–Newton part while networks learn
    python analyses/curvature.py layers     # the curvature of every unrolled layer beside the gradient that reaches it
    python analyses/curvature.py samples    # the leading eigenvalue on three choices of 1000 samples
    python analyses/curvature.py layers --quick    # a small version in under a minute, into output/

Each goes into data/curvature_NAME.nc. WCRNNs with residual r·I, N = 100, α = 0.01, that read MNIST digits pixel by
pixel: 14×14 pixels, 196 steps, or all 784 for "layers"; the loss is the cross-entropy, the block the recurrent weights.
Every (value, network) is a cell with a file of its own; a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import functools
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
from torch.func import functional_call, jvp
from torch.nn.functional import cross_entropy

import lyapkit as lk
from analyses.before_training import COUPLING, ROOT, untrained
from analyses.grid import SETTINGS, cached_task
from lyapkit.learning.objective import Objective
from lyapkit.learning.products import ggn_product, hessian_product
from lyapkit.provenance import provenance
from lyapkit.sweeps import join_cells, run_cells
from lyapkit.training import checkpoints, train

BLOCK = "recurrent.weight"
LEARNING_RADIUS = 0.99  # of the networks that are trained
CHECKPOINTS = (0, 117, 468, 936, 1872)
TOLERANCE = 1e-3
UNITS = {"units": "loss per parameter²"}


def samples(n_samples: int, choice: int = 0, full_length: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return a fixed random choice of MNIST's test digits as sequences, in float64, and their labels."""
    inputs, labels = cached_task("smnist" if full_length else "smnist/2").test_samples()
    chosen = np.random.default_rng(choice).permutation(len(inputs))[:n_samples]
    return np.asarray(inputs[chosen], dtype=np.float64), np.asarray(labels[chosen])


def parts(network: int, n_units: int, n_samples: int, n_iterations: int, *, folder: Path) -> xr.Dataset:
    """Return the largest |eigenvalue| of the Hessian, its Gauss–Newton part and the rest, while a network learns."""
    settings = SETTINGS["quick"]["smnist"]
    at = sorted({min(one, n_iterations) for one in CHECKPOINTS})
    kept_in = folder / f"{network}_{n_units}_{n_iterations}.run"
    result = train(
        [untrained(n_units, LEARNING_RADIUS, network)],
        cached_task(settings.task),
        n_iterations,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        evaluate_every=settings.evaluate_every,
        n_test_samples=settings.n_test_samples,
        folder=kept_in,
        checkpoints=at,
        resume=True,
    )
    found = []
    for path in checkpoints(kept_in, 0).values():
        objective = Objective(lk.load_network(path), *samples(n_samples), cross_entropy, parameters=BLOCK)
        whole, part = (functools.partial(product, objective) for product in (hessian_product, ggn_product))
        products = (whole, part, lambda vector, whole=whole, part=part: whole(vector) - part(vector))
        found.append([largest(product, objective.size) for product in products])
    names = ("hessian", "ggn", "remainder")
    long_names = ("of the Hessian", "of its Gauss–Newton part", "of the rest, Σ_t K_t")
    ds = xr.Dataset(
        {
            f"{name}_eigenvalue": ("checkpoint", values, UNITS | {"long_name": f"largest |eigenvalue| {long_name}"})
            for name, long_name, values in zip(names, long_names, np.transpose(found), strict=True)
        },
        {"checkpoint": ("checkpoint", at, {"units": "1", "long_name": "training iteration of a checkpoint"})},
    )
    curves = result.metrics.isel(network=0, drop=True)[["test_loss", "test_score"]]
    return ds.merge(curves.sel(iteration=at).rename(iteration="checkpoint").drop_attrs())


def largest(product: Callable[[Tensor], Tensor], size: int) -> float:
    """Return the largest |eigenvalue| of a symmetric matrix from its products with vectors."""
    matrix = LinearOperator(
        (size, size), lambda vector: product(torch.from_numpy(vector.ravel())).numpy(), dtype=np.float64
    )
    start = np.random.default_rng(0).normal(size=size)
    return float(np.abs(eigsh(matrix, 1, which="LM", v0=start, tol=TOLERANCE)[0][0]))


def layers(radius: float, network: int, n_units: int, n_samples: int, full_length: bool) -> xr.Dataset:
    """Return the curvature vᵀK_t v = a_t · b_t of each layer along the Hessian's leading eigenvector v (Eq. 9).

    a_t is the gradient of a sample's loss with respect to the state h_t, b_t the second derivative of the step along
    v and what v has done to the state before. How large b_t is does not depend on what follows; so a layer's share of
    the curvature is proportional to the gradient that reaches it if log |vᵀK_t v| − log ‖b_t‖ is log ‖a_t‖ + constant.
    """
    model = untrained(n_units, radius, network)
    inputs, labels = samples(n_samples, full_length=full_length)
    found = lk.hessian_eigenvalues(
        model, inputs, labels, cross_entropy, 1, parameters=BLOCK, tolerance=TOLERANCE, eigenvectors=True
    )
    direction = torch.from_numpy(found["eigenvector"].values[0]).view_as(model.recurrent.weight)
    gradients = gradients_at_states(model, torch.from_numpy(inputs), torch.from_numpy(labels))
    moved = state = torch.zeros(n_samples, n_units, dtype=torch.float64)
    logs = []
    for input, gradient in zip(torch.from_numpy(inputs).unbind(1), gradients, strict=True):
        state, moved, bent = second_derivative(model, direction, state, input, moved)
        curvature, size = (gradient * bent).sum(1).abs(), torch.linalg.vector_norm(bent, dim=1)
        length = torch.linalg.vector_norm(gradient, dim=1)
        logs.append(torch.stack([curvature.log(), size.log(), length.log()]))
    values = torch.stack(logs, -1).numpy()  # (part, sample, time)
    known = np.isfinite(values[2]).all(1) & np.isfinite(values[:, :, 1:]).all((0, 2))  # samples with a gradient left
    values = np.where(np.isfinite(values), values, np.nan)[:, known].mean(1)
    long_names = {
        "log_layer_curvature": "log |vᵀK_t v|, mean over samples",
        "log_bend": "log ‖b_t‖, second derivative of a step, mean over samples",
        "log_gradient_norm": "log ‖∂L/∂h_t‖, mean over samples",
    }
    variables = {
        name: ("time", one, {"units": "1", "long_name": long_name})
        for (name, long_name), one in zip(long_names.items(), values, strict=True)
    }
    time_steps = ("time", np.arange(1, inputs.shape[1] + 1), {"units": "step", "long_name": "time t"})
    share = {"units": "1", "long_name": "share of samples whose loss has a gradient left, to the last digit"}
    return xr.Dataset(variables | {"known": ((), known.mean(), share)}, {"time": time_steps})


def gradients_at_states(model: lk.WCRNN, inputs: Tensor, labels: Tensor) -> list[Tensor]:
    """Return ∂L/∂h_t (sample, unit) for t = 1 … T, of every sample's own loss."""
    state = torch.zeros(len(inputs), model.state_size, dtype=inputs.dtype)
    states = []
    for input in inputs.unbind(1):
        state = model.step(state, input)
        states.append(state)
    return list(torch.autograd.grad(cross_entropy(model.readout(state), labels, reduction="sum"), states))


class Step(nn.Module):
    """One step of a network, as a module, whose parameters `functional_call` may replace."""

    def __init__(self, model: lk.WCRNN) -> None:
        super().__init__()
        self.model = model

    def forward(self, state: Tensor, input: Tensor) -> Tensor:
        """Return the next state."""
        return self.model.step(state, input)


def second_derivative(
    model: lk.WCRNN, direction: Tensor, state: Tensor, input: Tensor, moved: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the next state, its derivative along the direction, and the step's second one (Eq. 9)."""
    weight = model.recurrent.weight.detach()
    step = Step(model)

    def along(shift: Tensor) -> Tensor:
        return functional_call(step, {f"model.{BLOCK}": weight + shift * direction}, (state + shift * moved, input))

    zero, one = torch.zeros((), dtype=state.dtype), torch.ones((), dtype=state.dtype)
    (new, first), (_, second) = jvp(lambda shift: jvp(along, (shift,), (one,)), (zero,), (one,))
    return new.detach(), first.detach(), second.detach()


def samples_chosen(radius: float, network: int, choice: int, n_units: int, n_samples: int) -> xr.Dataset:
    """Return the largest |Hessian eigenvalue| of an untrained network on one choice of samples."""
    model = untrained(n_units, radius, network)
    given = (*samples(n_samples, choice), cross_entropy, 1)
    ds = lk.hessian_eigenvalues(model, *given, parameters=BLOCK, tolerance=TOLERANCE)
    return ds[["hessian_eigenvalue"]].assign_attrs(ds.attrs)


@dataclass(frozen=True)
class Quantity:
    """What is measured: a function, its cells, and how a quick version differs."""

    compute: Callable[..., xr.Dataset]
    title: str
    swept: dict[str, tuple]
    settings: dict[str, int | bool]
    quick: dict[str, int | bool]


QUANTITIES = {
    "parts": Quantity(
        parts,
        "The Hessian and its Gauss–Newton part while networks learn",
        {"network": (0, 1, 2, 3, 4, 5)},
        {"n_units": 100, "n_samples": 250, "n_iterations": 1872},
        {"n_units": 20, "n_samples": 50, "n_iterations": 117},
    ),
    "layers": Quantity(
        layers,
        "The curvature of unrolled layers beside the gradients that reach them, before training",
        {"radius": (0.98, 0.99, 1.005, 1.01), "network": (0, 1, 2)},
        {"n_units": 100, "n_samples": 100, "full_length": True},
        {"n_units": 20, "n_samples": 20, "full_length": False},
    ),
    "samples": Quantity(
        samples_chosen,
        "Hessian eigenvalues on three choices of samples, before training",
        {"radius": (0.98, 1.0, 1.02), "network": (0, 1, 2), "choice": (0, 1, 2)},
        {"n_units": 100, "n_samples": 1000},
        {"n_units": 20, "n_samples": 100},
    ),
}
LABELS = {"network": "weight seed", "radius": "radius r", "choice": "seed of the choice of samples"}


def cells_of(quantity: Quantity, settings: dict[str, int | bool]) -> list[dict]:
    """Return the cells of a quantity."""
    cells: list[dict] = [{}]
    for name, values in quantity.swept.items():
        cells = [cell | {name: value} for cell in cells for value in values]
    return [cell | settings for cell in cells]


def main() -> None:
    """Compute what is missing, join, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("quantity", choices=list(QUANTITIES))
    parser.add_argument("--quick", action="store_true", help="a small version")
    parser.add_argument("--output", type=Path, help="default: data/curvature_QUANTITY.nc")
    options = parser.parse_args()
    quantity = QUANTITIES[options.quantity]
    settings = quantity.quick if options.quick else quantity.settings
    name = f"curvature_{options.quantity}.nc"
    output = options.output or (ROOT / "output" / f"quick_{name}" if options.quick else ROOT / "data" / name)
    folder = output.with_suffix(".parts")
    folder.mkdir(parents=True, exist_ok=True)
    compute = functools.partial(quantity.compute, folder=folder) if quantity.compute is parts else quantity.compute
    started = time.perf_counter()
    # one cell at a time: its products use all cores
    paths = run_cells(compute, cells_of(quantity, settings), folder, n_workers=1)
    ds = join_cells(paths, list(quantity.swept))
    for dim in quantity.swept:
        ds[dim].attrs |= {"long_name": LABELS[dim]}
    made = provenance(coupling=COUPLING, loss="cross-entropy", block=BLOCK, **settings)
    about = {
        "title": quantity.title,
        "command": shlex.join(["python", "analyses/curvature.py", *sys.argv[1:]]),
        "scale": "quick",
        "references": "Dubinin & Effenberger 2024, Section 2.2, Eq. 6 to 10, and Section 4.1",
    }
    lk.save(ds.assign_attrs(made | ds.attrs | about), output)
    print(f"{output.name}: {len(paths)} cells, {time.perf_counter() - started:.0f} s in this run")


if __name__ == "__main__":
    main()
