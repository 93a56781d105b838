"""The dataset of covariant vectors, and what its residuals say about it."""

from __future__ import annotations

import json
import math
from itertools import combinations

import numpy as np
import xarray as xr

from lyapkit.covariant.subspace_angles import named_subspaces, neighbour_angles, smallest_angle
from lyapkit.labels import index, variable
from lyapkit.statistics import time_average_standard_error
from lyapkit.systems import System
from lyapkit.tangent.covariant import CovariantDirections

N_BATCHES = 32  # of expansion rates, for their standard errors
UNDECIDED = 0.3  # residual that says nothing yet about how fast it falls
RESOLVED_BY_FLOAT32 = 8.0  # nats, half its digits: by how much growths in one step may differ
CONVERGED = 1e-4  # sine of the angle between what two random starts gave, below which a vector is known


def dataset(
    found: CovariantDirections,
    system: System,
    n_transient: int,
    subspaces: dict[str, list[int]] | None,
    attributes: dict[str, object],
) -> xr.Dataset:
    """Return the dataset of covariant vectors, exponents in descending order, angles included."""
    rates = found.log_growth.double().cpu().numpy() / system.time_step
    diverged = list(found.diverged)
    rates[diverged] = np.nan
    exponents = rates.mean(1)
    order = np.argsort(-exponents, axis=1, kind="stable")
    exponents = np.take_along_axis(exponents, order, 1)
    rates = np.take_along_axis(rates, order[:, None], 2)
    is_bound = np.take_along_axis(found.is_bound.cpu().numpy(), order[:, None], 2)
    is_bound[diverged] = False
    vectors = found.vector.cpu().numpy()
    if (order != np.arange(order.shape[1])).any():
        vectors = np.take_along_axis(vectors, order[:, None, :, None], 2)
    vectors[diverged] = np.nan
    residuals = {
        name: np.take_along_axis(getattr(found, name).double().cpu().numpy(), order, 1)
        for name in ("covariance_residual", "forward_residual", "backward_residual")
    }
    for values in residuals.values():
        values[diverged] = np.nan
    n_trajectories, n_steps, k, size = vectors.shape
    divergence_step = np.full(n_trajectories, np.nan)
    divergence_step[diverged] = list(found.diverged.values())
    if subspaces is None:
        subspaces = _from_signs(rates, system.time_step) if len(diverged) < n_trajectories else {}
    pairs = list(combinations(subspaces, 2))
    between = [smallest_angle(vectors, *([rank - 1 for rank in subspaces[name]] for name in pair)) for pair in pairs]
    along, unit = ("trajectory", "time"), system.time_unit
    time = (n_transient + np.arange(n_steps)) * system.time_step
    ds = xr.Dataset(
        variable("covariant_vector", (*along, "exponent", "state"), vectors)
        | variable("expansion_rate", (*along, "exponent"), rates, unit)
        | variable("is_bound", (*along, "exponent"), is_bound)
        | variable("lyapunov_exponent", ("trajectory", "exponent"), exponents, unit)
        | variable("angle", (*along, "neighbour"), neighbour_angles(vectors))
        | {
            name: entry
            for key, values in residuals.items()
            for name, entry in variable(key, ("trajectory", "exponent"), values).items()
        }
        | variable("divergence_step", ("trajectory",), divergence_step),
        coords=index("trajectory", n_trajectories)
        | index("exponent", k, first=1)
        | index("neighbour", k - 1, first=1)
        | index("state", size)
        | {"time": ("time", time, {"units": unit, "long_name": "time since the start"})},
        attrs=attributes
        | {
            "state_size": size,
            "time_step": float(system.time_step),
            "subspaces": json.dumps(subspaces),
            "references": "Ginelli et al. 2007; Kuptsov & Parlitz 2012",
        },
    )
    if pairs:
        ds = ds.assign(variable("subspace_angle", (*along, "pair"), np.stack(between, axis=-1)))
        ds = ds.assign_coords(variable("pair", ("pair",), np.array([" and ".join(pair) for pair in pairs])))
    return ds


def open_angles(ds: xr.Dataset) -> xr.DataArray:
    """Return how far the vectors of each exponent are from convergence, the worse of both ways, over trajectories."""
    return xr.apply_ufunc(np.fmax, ds["forward_residual"], ds["backward_residual"]).max("trajectory")


def convergence(ds: xr.Dataset, n_transient: int, n_backward_transient: int, covariant: float) -> list[str]:
    """Return what residuals say against the vectors: a sentence for each kind of doubt."""
    said = []
    worst = ds["covariance_residual"].max().item()
    if worst > covariant:
        where = ds["covariance_residual"].argmax(["trajectory", "exponent"])
        said.append(
            f"vector {int(where['exponent']) + 1} of trajectory {int(where['trajectory'])} is covariant to "
            f"{worst:.1e} only, of the largest growth: rounding hid it; dtype='float64' resolves more"
        )
    is_bound = ds["is_bound"].any("trajectory").values
    if is_bound.any():
        said.append(
            f"rounding hid {is_bound.any(0).sum()} of {is_bound.shape[1]} directions in up to {is_bound.sum(0).max()} "
            "of the steps: their exponents are upper bounds"
        )
    if json.loads(ds.attrs["parameters"])["dtype"] == "float32" and (spread := _spread(ds)) >= RESOLVED_BY_FLOAT32:
        said.append(
            f"directions grow as differently as by {spread:.3g} nats in one step, which float32 cannot tell apart "
            "everywhere: exponents may be off by more than they say; take dtype='float64'"
        )
    ways = {
        "forward_residual": ("n_transient", n_transient),
        "backward_residual": ("n_backward_transient", n_backward_transient),
    }
    for name, (option, length) in ways.items():
        is_open = ds[name].values > CONVERGED
        if not is_open.any():
            continue
        trajectory, number = np.argwhere(is_open)[0]
        residual = ds[name].values[trajectory, number]
        exponents = ds["lyapunov_exponent"].values[trajectory]
        one = min(range(max(0, number - 1), min(number + 1, len(exponents) - 1)), key=lambda n: _gap(exponents, n))
        gap = _gap(exponents, one) * ds.attrs["time_step"]  # to the nearer neighbour
        message = (
            f"{is_open.sum()} of {is_open.size} vectors did not converge in {option}={length} steps; of the first, "
            f"number {number + 1} of trajectory {trajectory}, two random starts differ by {residual:.1e}"
        )
        if gap * max(length, ds.sizes["time"]) < 1:
            message += (
                f". Exponents {one + 1} and {one + 2} are equal or nearly so: of equal exponents only the space is "
                "unique that their vectors span"
            )
        else:
            decay = -math.log(residual) / length if length and residual < UNDECIDED else gap
            message += f": about {option}={max(length + 1, math.ceil(-math.log(CONVERGED) / decay))} would do"
        said.append(message)
    return said


def _spread(ds: xr.Dataset) -> float:
    """Return by how many nats growths in one step differ at most."""
    rates = ds["expansion_rate"].values * ds.attrs["time_step"]
    highest = np.where(np.isfinite(rates), rates, -np.inf).max(-1)
    lowest = np.where(np.isfinite(rates), rates, np.inf).min(-1)
    return float((highest - lowest).max(initial=0.0))  # −inf of a step without any that are known


def _gap(exponents: np.ndarray, one: int) -> float:
    """Return by how much an exponent is larger than the next; 0 if both are −inf."""
    return float(np.nan_to_num(exponents[one] - exponents[one + 1]))


def _from_signs(rates: np.ndarray, time_step: float) -> dict[str, list[int]]:
    """Return subspaces named by the signs of exponents, means over the trajectories that did not diverge."""
    known = rates[~np.isnan(rates[:, 0, 0])]
    parts = np.array_split(np.arange(known.shape[1]), min(N_BATCHES, known.shape[1]))
    growth = np.stack([known[:, part].sum(1) for part in parts], axis=1) * time_step
    duration = np.array([len(part) for part in parts]) * time_step
    errors = time_average_standard_error(growth, duration)
    return named_subspaces(known.mean((0, 1)), np.sqrt((errors**2).sum(0)) / len(errors))
