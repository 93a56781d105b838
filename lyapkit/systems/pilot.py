"""`chosen_step`: a fixed time step for a flow, from a pilot integration with steps of adapted length.

The pilot measures, at every step, how fast the exponents would go off at a step of length h, which is C h⁴; the mean of
C along the pilot gives the h at which the run as a whole is off by a fifth of what is tolerated.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lyapkit.systems.step_errors import (
    RATE_FLOOR,
    STATE_TOLERANCE,
    TOLERANCE,
    Stepper,
    measured_step,
    rounded_down,
)

_N_STEPS = 200
_MOST_ATTEMPTS = 600
_MOST_TRAJECTORIES = 4
_MOST_TANGENTS = 64
_SHARE = 0.2  # of the tolerated error that the chosen step may make
_LARGEST_PRODUCT = 1.0  # of step and growth rate: about a third of where the method becomes unstable
_MOST_REJECTIONS = 4  # in a row; more is a kink or a jump, which no step resolves with the order of smooth ones
_MOST_STEPS = 1e6  # in the time in which a trajectory changes its velocity, or covers its distance from the origin


def chosen_step(stepper: Stepper, state: Tensor, name: str) -> float:
    """Return a time step, a round number, for a run from `state` (B, N).

    Parameters
    ----------
    stepper : callable
        (state, input, tangent, h) -> `Stages`.
    state : Tensor
        (B, N).
    name : str
        Of the flow, for messages.

    Raises
    ------
    ValueError
        If no step gives finite numbers, or the field is too stiff for an explicit method.
    """
    state = state[:_MOST_TRAJECTORIES]
    size = state.shape[1]
    frame = torch.eye(size, dtype=state.dtype, device=state.device)[:_MOST_TANGENTS]
    frame = frame.expand(len(state), -1, -1).contiguous()
    h = _first_length(stepper, state, frame)
    duration, smooth_duration, grown, fastest = 0.0, 0.0, 0.0, 0.0
    slowness: list[float] = []
    spent = torch.zeros(3, dtype=torch.float64)  # ∫ of growth error, state error and rate
    largest_rate = 0.0
    low, high = state.amin(0), state.amax(0)
    accepted = 0
    rejected, tried_first = 0, h
    for _ in range(_MOST_ATTEMPTS):
        measurement = measured_step(stepper, None, state, None, frame, h)
        rate = float(measurement.rate.amax())
        error = float(measurement.error.abs().amax()) / h
        if not math.isfinite(error) or not math.isfinite(rate):
            h *= 0.2
            if h < 1e-12 * duration or h < 1e-200:
                break
            continue
        strain = error / (2 * TOLERANCE * rate) if rate > 0 else 0.0
        if strain > 1 and rejected < _MOST_REJECTIONS:
            tried_first = tried_first if rejected else h
            rejected += 1
            h *= max(0.2, 0.9 * strain**-0.25)
            continue
        is_smooth = strain <= 1
        h, rejected = (h if is_smooth else tried_first), 0
        new = measurement.end if is_smooth else stepper(state, None, frame, h)
        if accepted >= _N_STEPS // 2:
            slowness.append(_slowness(stepper, state))
        state = new.state
        frame = torch.stack([torch.linalg.qr(matrix.mT)[0].mT for matrix in new.tangent]).contiguous()
        low, high = torch.minimum(low, state.amin(0)), torch.maximum(high, state.amax(0))
        if is_smooth:
            grown = grown + measurement.growth.double().mean(0)
            smooth_duration += h
            per_step = [measurement.error.abs().amax(-1), measurement.state_error, measurement.rate]
            spent += torch.stack([value.double().mean().cpu() for value in per_step]) * torch.tensor(
                [h**-4, h**-4, h], dtype=torch.float64
            )
            fastest = max(fastest, float(measurement.growth.abs().amax()) / h)
            largest_rate = max(largest_rate, rate)
        duration += h
        accepted += 1
        if accepted == _N_STEPS:
            break
        if is_smooth:
            h = min(h * min(2.0, 0.9 * max(strain, 1e-3) ** -0.25), 1.0 / rate if rate > 0 else 1.0)
    if not smooth_duration:
        raise ValueError(f"{name}: no time step gives finite numbers at the start: give time_step= or another start")
    extent = float(torch.linalg.vector_norm((high - low).double())) / 2
    mean_rate = float(spent[2]) / smooth_duration
    scale = max(float(torch.as_tensor(grown).abs().amax()) / smooth_duration, RATE_FLOOR * mean_rate)
    candidates = [1.0 / mean_rate if mean_rate > 0 else 1.0]
    if scale > 0 and float(spent[0]) > 0:
        candidates.append((_SHARE * TOLERANCE * scale * smooth_duration / float(spent[0])) ** 0.25)
    if scale > 0 and extent > 0 and float(spent[1]) > 0:
        candidates.append((_SHARE * STATE_TOLERANCE * scale * extent * smooth_duration / float(spent[1])) ** 0.25)
    if fastest > 0:
        candidates.append(_LARGEST_PRODUCT / fastest)
    if not min(candidates) > 1e-9 * duration:
        raise ValueError(
            f"{name}: no reasonable time step can be chosen: within {duration:.3g} units of time the trajectory "
            "becomes so fast that it seems to leave the finite numbers: give time_step= or another start"
        )
    chosen = rounded_down(min(candidates))
    pace = sorted(slowness)[len(slowness) // 2] if slowness else 0.0
    if pace > _MOST_STEPS * chosen:
        raise ValueError(
            f"{name} is stiff: perturbations change at rates up to {largest_rate:.2g} per unit of time, which needs a "
            f"time step of {chosen:g}, while the trajectory takes about {pace:.2g} units of time to change: give "
            "time_step= if you mean it, eliminate the fast variables, or give an implicit step as Map(step, jacobian)"
        )
    return chosen


def _first_length(stepper: Stepper, state: Tensor, frame: Tensor) -> float:
    """Return a length that is short in comparison with the rates at the start."""
    d1 = stepper(state, None, frame, 0.0).d1
    rate = float(torch.linalg.vector_norm(d1.double(), dim=-1).amax())
    return 0.1 / rate if rate > 0 and math.isfinite(rate) else 1e-3


def _slowness(stepper: Stepper, state: Tensor) -> float:
    """Return in what time a trajectory changes its velocity, or covers its distance from the origin; 0 at rest."""
    velocity = stepper(state, None, state[:, None], 0.0).velocity
    change = stepper(state, None, velocity[:, None], 0.0).d1[:, 0]
    size, speed, bend = (torch.linalg.vector_norm(v.double(), dim=-1) for v in (state, velocity, change))
    times = torch.minimum(size / speed, speed / bend).nan_to_num(nan=0.0, posinf=0.0)
    return float(times.min())
