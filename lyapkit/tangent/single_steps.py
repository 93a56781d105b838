"""Steps that contract some directions far below rounding, done one at a time and with care.

The pushed frame is factored by `Renewal`, between the factors of the Jacobian where the system names them
(`System.push_in_stages`). In float32 the step is repeated in float64 where that is not enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.systems.system import System
from lyapkit.tangent.bundle import Bundle
from lyapkit.tangent.renewal import Renewal
from lyapkit.tangent.whole_batch import for_members

BALANCED = 1e-2  # ratio of the scales of a Jacobian's columns from which on they are left as they are
N_SCALINGS = 4
_SMALLER = {torch.float64: 2.0**-500, torch.float32: 2.0**-60}  # frames that a Jacobian near overflow leaves finite


@dataclass
class Step:
    """What one step did to a bundle: new state and frame, whether they are finite (b,), and the rows' `Renewal`."""

    state: Tensor
    frame: Tensor
    is_finite: Tensor
    rows: Renewal


def careful_step(
    system: System, precise: System | None, bundle: Bundle, input: Tensor | None, accuracy: float, closes: bool
) -> Step:
    """Return what one step does to a bundle; in float64, with the system `precise`, where `accuracy` demands it.

    The new frame is orthonormal if the step `closes` an interval, else well conditioned.
    """
    arguments = bundle.state, bundle.frame, bundle.is_alive, input, closes
    step = _step(system, *arguments, is_thorough=False)
    if _is_doubtful(step, bundle.is_alive, accuracy):
        if precise is None:
            return _step(system, *arguments, is_thorough=True)
        input = None if input is None else input.double()
        arguments = bundle.state.double(), bundle.frame.double(), bundle.is_alive, input, closes
        epsilon = torch.finfo(bundle.frame.dtype).eps
        better = _step(precise, *arguments, is_thorough=True, epsilon=epsilon)
        better.state, better.frame = step.state, better.frame.to(bundle.frame.dtype)
        better.is_finite &= step.state.isfinite().all(1)
        return better
    return step


def _is_doubtful(step: Step, was_alive: Tensor, accuracy: float) -> bool:
    rows = step.rows
    died = was_alive.gather(1, rows.order) & ~rows.is_alive
    return bool((died | rows.is_lost | ~(rows.error <= accuracy)).any() | ~step.is_finite.all())


def _step(
    system: System,
    state: Tensor,
    frame: Tensor,
    is_alive: Tensor,
    input: Tensor | None,
    closes: bool,
    *,
    is_thorough: bool,
    epsilon: float | None = None,
) -> Step:
    def scaled(which: Tensor, scale: float) -> Step:
        own_state, own_input = state[which], None if input is None else input[which]
        own_system = for_members(system, which, len(state))
        rows = Renewal(frame[which] * scale, is_alive[which], is_thorough, system.maps_to_zero, epsilon)
        start = _balanced(rows, own_system, own_state, own_input) if is_thorough else rows.frame
        new_state, pushed = own_system.push_in_stages(own_state, own_input, start, rows)
        is_finite = pushed.isfinite().flatten(1).all(1) & rows.log_growth.isfinite().all(1)
        new_frame = rows.end(torch.where(is_finite[:, None, None], pushed, rows.frame), closes)
        rows.log_growth -= math.log(scale)
        return Step(new_state, new_frame, is_finite & new_state.isfinite().all(1), rows)

    step = scaled(torch.arange(len(state), device=state.device), 1.0)
    overflowed = (~step.is_finite & step.state.isfinite().all(1)).nonzero().flatten()
    if len(overflowed):  # a Jacobian near the largest number: of smaller perturbations
        again = scaled(overflowed, _SMALLER[frame.dtype])
        step.frame[overflowed], step.is_finite[overflowed] = again.frame, again.is_finite
        step.rows.put_back(again.rows, overflowed)
    return step


def _balanced(rows: Renewal, system: System, state: Tensor, input: Tensor | None) -> Tensor:
    """Return the frame to push, made well conditioned where the Jacobian scales single variables before it mixes them.

    What such variables contract is counted first, in a frame that is scaled like them and factored, and left out of the
    push.
    """
    units = torch.eye(state.shape[1], dtype=state.dtype, device=state.device).expand(len(state), -1, -1)
    scales = _scales_of_columns(system.push(state, input, units.contiguous())[1].mT)
    is_graded = scales.isfinite().all(1) & (scales <= BALANCED).any(1)
    if not bool(is_graded.any()):
        return rows.frame
    least = _SMALLER[state.dtype]  # so that what is divided by it stays finite
    scales = torch.where(is_graded[:, None], torch.where(scales > 0, scales.clamp(min=least), 0.0), 1.0)
    return rows(rows.frame * scales[:, None]) / torch.where(scales > 0, scales, 1.0)[:, None]


def _scales_of_columns(jacobian: Tensor) -> Tensor:
    """Return the scales c (B, N) of a Jacobian J = D Y C (B, N, N) with entries of Y at most 1; the largest is 1.

    Rows and columns are divided by their largest entries in turn.
    """
    size, scales = jacobian.abs(), torch.ones_like(jacobian[:, 0])
    for _ in range(N_SCALINGS):
        largest = size.amax(2, keepdim=True)
        size = size / torch.where(largest > 0, largest, 1.0)
        largest = size.amax(1, keepdim=True)
        size = size / torch.where(largest > 0, largest, 1.0)
        scales = scales * largest[:, 0]
    largest = scales.amax(1, keepdim=True)
    return scales / torch.where(largest > 0, largest, 1.0)
