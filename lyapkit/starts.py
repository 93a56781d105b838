"""Where trajectories start: states of all of them, agreed upon by everything that says how many there are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lyapkit.arguments import Array, as_array, available_device, is_constant
from lyapkit.systems import System


def in_real_parts(system: System, initial_state: Array | None) -> tuple[System, Array | None]:
    """Return a system and an initial state; where that is complex, both split into real and imaginary parts."""
    if initial_state is None or not np.iscomplexobj(initial_state):
        return system, initial_state
    return system.split_into_real_parts(), np.concatenate([np.real(initial_state), np.imag(initial_state)], axis=-1)


def chosen_device(device: str | torch.device | None, inputs: object, system: System) -> torch.device:
    """Return the device asked for; by default that of inputs on a GPU, else the system's."""
    if device is None:
        device = inputs.device if isinstance(inputs, Tensor) and inputs.device.type != "cpu" else system.device
    return available_device(device)


def as_tensor(values: np.ndarray, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return inputs (trajectory, time, feature) as a tensor, a constant input held in memory once."""
    if is_constant(values):
        return torch.tensor(values[0, 0], device=device, dtype=dtype).expand(values.shape)
    return torch.from_numpy(values).to(device, dtype)


def start_states(
    system: System,
    inputs: Sequence[np.ndarray] | np.ndarray | None,
    initial_state: Array | None,
    n_trajectories: int | None,
    generator: torch.Generator,
) -> Tensor:
    """Return the initial states (B, N), B agreed upon by everything that says how many trajectories there are."""
    given = (
        None
        if initial_state is None
        else torch.from_numpy(as_array(initial_state, "initial states").astype(np.float64))
    )
    offered = {
        "inputs": None if inputs is None else len(inputs),
        "initial_state": len(given) if given is not None and given.ndim == 2 else None,
        "n_trajectories": n_trajectories,
    }
    counts = {name: count for name, count in offered.items() if count is not None}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ValueError(f"the number of trajectories is not clear: {said}")
    batch = next(iter(counts.values()), 1)
    if batch < 1:
        raise ValueError(f"the number of trajectories must be at least 1, got {batch}")
    state = system.initial_state(batch, generator) if given is None else given
    if state.ndim not in (1, 2) or state.shape[-1] != system.state_size:
        raise ValueError(
            f"initial_state has shape {tuple(state.shape)}, expected ({system.state_size},) or "
            f"({batch}, {system.state_size}), the state size of {system}"
        )
    if not bool(state.isfinite().all()):
        if given is not None:
            raise ValueError("initial_state holds values that are not finite")
        raise ValueError(
            f"the initial states that {system} chooses for itself left the finite numbers on their way to an "
            "attractor: there may be none for these parameters; in Python, initial_state= starts elsewhere"
        )
    return state.expand(batch, system.state_size).clone()
