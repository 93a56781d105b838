"""`covariant_vectors`: the directions behind the exponents, and the angles between them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from torch import nn

from lyapkit.arguments import (
    Array,
    ReliabilityWarning,
    check_on_divergence,
    checked_dtype,
    checked_inputs,
    checked_n_exponents,
    checked_steps,
    warn_of_doubtful_inputs,
)
from lyapkit.covariant.dataset import convergence, dataset
from lyapkit.covariant.subspace_angles import checked_subspaces
from lyapkit.forecast import LongRunWarning, announcement
from lyapkit.memory import available_memory, gibibytes
from lyapkit.models.given import as_system
from lyapkit.progress import progress_bar
from lyapkit.provenance import provenance, sha256
from lyapkit.scalars import whole_numbers
from lyapkit.starts import as_tensor, chosen_device, in_real_parts, start_states
from lyapkit.systems import System
from lyapkit.tangent import DivergenceError, DivergenceWarning
from lyapkit.tangent.covariant import covariant_directions
from lyapkit.tangent.covariant_forward import random_frame
from lyapkit.tangent.losses import about_divergence

COVARIANT = {torch.float64: 1e-8, torch.float32: 1e-3}  # largest residual that is not worth a warning
STEPS = 3  # that one costs, of a spectrum: forwards, backwards, and the check


def covariant_vectors(
    system: System | nn.Module | str | Path,
    inputs: Array | None = None,
    *,
    n_steps: int | None = None,
    n_transient: int | None = None,
    n_backward_transient: int | None = None,
    n_exponents: int | None = None,
    initial_state: Array | None = None,
    n_trajectories: int | None = None,
    subspaces: Mapping[str, Iterable[int]] | None = None,
    on_divergence: Literal["warn", "raise"] = "warn",
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    seed: int = 0,
    progress: bool | None = None,
    **reading: Any,
) -> xr.Dataset:
    """Return the covariant Lyapunov vectors of a system along one or many trajectories.

    Perturbations along the i-th covariant vector grow at the i-th exponent's rate, forwards and backwards in time; each
    step takes v_t into v_{t+1} (Ginelli et al. 2007; Kuptsov & Parlitz 2012). They need a past to turn into, as
    orthonormal frames do, and a future: the steps of the backward transient.

    Memory holds the result, three times, and the frames of as many steps as there is room for; if those are not all,
    each step is computed twice. What does not fit is refused before it starts.

    Parameters
    ----------
    system : System, nn.Module, str or Path
        As in `lyapunov_spectrum`.
    inputs : array, tensor or DataArray, optional
        (trajectory, time, feature), likewise: those of both transients included.
    n_steps : int, optional
        Steps whose vectors are returned. Default: all inputs but those of the transients; required without inputs.
    n_transient, n_backward_transient : int, optional
        Steps before them, in which frames turn into the spaces of the fastest directions, and after them, in which
        vectors turn back into their own. Default: a quarter of the inputs each; without inputs as many as `n_steps`.
    n_exponents : int, optional
        k: the vectors of the k largest exponents only. Default: all N.
    initial_state : array, optional
        (N,) or (trajectory, N).
    n_trajectories : int, optional
        How many trajectories to run where neither inputs nor initial states say. Default 1.
    subspaces : mapping, optional
        Names to ranks of exponents, counted from 1, between the spans of whose vectors to measure angles. Default:
        unstable, neutral and stable directions; where none is unstable, fast and slow ones, on both sides of the widest
        gap between neighbouring exponents.
    on_divergence : "warn" or "raise"
        Whether trajectories that leave the finite numbers, transients included, give NaN and a `DivergenceWarning`, or
        a `DivergenceError`.
    dtype : "float64" or "float32", optional
        Arithmetic of the computation. Default float64.
    device : str or torch.device, optional
        Where to compute. Default: where `inputs` are if they are a tensor on a GPU, else where the system is.
    seed : int
        Seeds random initial states, frames and coordinates.
    progress : bool, optional
        Show a progress bar. Default: after two seconds, in terminals and notebooks.
    **reading
        Of the path of a checkpoint, as for `load_system`.

    Returns
    -------
    xarray.Dataset
        `covariant_vector` (trajectory, time, exponent, state), of length 1, their signs such that each step keeps them;
        `expansion_rate` (trajectory, time, exponent) of the step from that time, in nats per step (flows: per
        unit of time), −inf where it maps a direction to zero; `is_bound`, likewise, where rounding hid the direction
        and the rate is an upper bound; `lyapunov_exponent` (trajectory, exponent), their means, in descending order;
        `angle` (trajectory, time, neighbour), in rad from 0 to π/2, between a vector and the next;
        `subspace_angle` (trajectory, time, pair), the smallest between named subspaces;
        `covariance_residual` (trajectory, exponent), the largest ‖J v_t − (J v_t · v_{t+1}) v_{t+1}‖, relative to the
        largest ‖J v_t‖ of all directions; `forward_residual` and `backward_residual` (trajectory, exponent), what
        two random starts still differ by, at the first and the last time: sines of angles, from 1, not converged, to
        rounding; `divergence_step` (trajectory).

    Raises
    ------
    ValueError
        If arguments do not fit the system or each other, or there is not the memory that it takes.
    DivergenceError
        With ``on_divergence="raise"``.

    Warns
    -----
    DivergenceWarning
        Naming trajectories that diverged.
    ReliabilityWarning
        About vectors that did not converge: transients that are too short, or exponents that cannot be told apart,
        whose vectors are not unique. About inputs that may be meant in another way, and about the system.
    LongRunWarning
        Before a run of more than a minute: how long it will take, and how much memory.

    Examples
    --------
    >>> import lyapkit as lk
    >>> henon = lk.classical.henon()
    >>> ds = lk.covariant_vectors(henon, n_steps=200, n_transient=100, n_backward_transient=100)
    >>> ds.covariant_vector.shape, bool(ds.covariance_residual.max() < 1e-8)
    ((1, 200, 2, 2), True)
    """
    n_steps, n_transient, n_backward_transient, n_exponents, n_trajectories, seed = whole_numbers(
        n_steps=n_steps,
        n_transient=n_transient,
        n_backward_transient=n_backward_transient,
        n_exponents=n_exponents,
        n_trajectories=n_trajectories,
        seed=seed,
    )
    system, initial_state = in_real_parts(as_system(system, **reading), initial_state)
    dtype = checked_dtype(dtype)
    device = chosen_device(device, inputs, system)
    check_on_divergence(on_divergence)
    k = checked_n_exponents(n_exponents, system)
    if isinstance(inputs, list | tuple):
        raise ValueError("covariant_vectors takes an array of inputs, sequences of one length: give lists one by one")
    named = None if subspaces is None else checked_subspaces(subspaces, k)
    default = n_steps if inputs is None or np.ndim(inputs) < 2 else np.shape(inputs)[1] // 4
    n_transient = (default or 0) if n_transient is None else n_transient
    n_backward_transient = (default or 0) if n_backward_transient is None else n_backward_transient
    total = None if n_steps is None else n_transient + n_steps + n_backward_transient
    values = checked_inputs(inputs, system, total)
    if values is not None and inputs is not None and np.ndim(inputs) > 1:
        warn_of_doubtful_inputs(values, inputs, system, stacklevel=2)
    n_steps = checked_steps(values, n_steps, n_transient, n_backward_transient)
    total = n_transient + n_steps + n_backward_transient

    generator = torch.Generator().manual_seed(seed)
    state = start_states(system, values, initial_state, n_trajectories, generator).to(device, dtype)
    segment, memory = _plan(len(state), n_steps, n_steps + n_backward_transient, k, system, dtype, device)
    driven = None if values is None else as_tensor(values, device, dtype)
    running = system.converted(dtype, device).prepared(state, driven)
    frame = random_frame(state, k, torch.Generator().manual_seed(seed))
    if notice := announcement(running, state, frame, driven, STEPS * total, memory, "these covariant vectors"):
        warnings.warn(f"{running}: {notice}", LongRunWarning, stacklevel=2)
    n_passes = 1 if segment >= total - n_transient else 2
    with progress_bar(progress, total=n_transient + n_passes * (total - n_transient), unit="step") as bar:
        found = covariant_directions(
            running,
            state,
            driven,
            n_steps=n_steps,
            n_transient=n_transient,
            n_backward_transient=n_backward_transient,
            n_exponents=k,
            segment=segment,
            generator=generator,
            advance=bar.update,
        )
    said = about_divergence(running, found.diverged, found.overflowed, "covariant vectors")
    if said and on_divergence == "raise":
        raise DivergenceError(said[0])
    attributes: dict[str, Any] = {**running.description} | provenance(
        n_steps=n_steps,
        n_transient=n_transient,
        n_backward_transient=n_backward_transient,
        n_exponents=k,
        dtype=str(dtype).removeprefix("torch."),
        device=device.type,
        seed=seed,
    )
    if values is not None:
        attributes["inputs_sha256"] = sha256(values)
    ds = dataset(found, running, n_transient, named, attributes | {"memory": gibibytes(memory)})
    for message in said:
        warnings.warn(message, DivergenceWarning, stacklevel=2)
    for finding in (*running.findings(), *convergence(ds, n_transient, n_backward_transient, COVARIANT[dtype])):
        warnings.warn(f"{running}: {finding}", ReliabilityWarning, stacklevel=2)
    return ds


def _plan(
    n_trajectories: int, n_steps: int, n_held: int, k: int, system: System, dtype: torch.dtype, device: torch.device
) -> tuple[int, float]:
    """Return how many steps' frames to hold at once, and the bytes that all of it takes; or refuse it."""
    size = torch.finfo(dtype).bits // 8
    result = 3 * 8 * n_trajectories * n_steps * k * (system.state_size + 3)
    inputs = n_trajectories * n_held * (system.input_size or 0) * (size + 8)
    frames = n_trajectories * k * (system.state_size + k) * size  # of one step
    fixed = result + inputs + 10 * frames
    available = available_memory(device)
    least = 2 * math.isqrt(n_held - 1) + 2
    if fixed + least * frames > available:
        raise ValueError(
            f"{k} covariant vectors of {n_trajectories} trajectories of {n_steps} steps of {system} need about "
            f"{gibibytes(fixed + least * frames)} of memory, {gibibytes(available)} are free on {device}: take fewer "
            "trajectories at a time, fewer steps, or n_exponents="
        )
    room = (available - fixed) / 2 / frames  # for frames of steps, half of what is left
    segment = n_held if n_held <= room else max(math.isqrt(n_held - 1) + 1, int(room - n_held / max(room, 1)))
    return segment, fixed + (segment + -(-n_held // segment)) * frames
