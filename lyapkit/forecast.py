"""What a spectrum will cost, said before it is computed: memory, which must be there, and time, if it is long."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from lyapkit.memory import available_memory, gibibytes
from lyapkit.systems import System
from lyapkit.tangent import DEFAULT_ACCURACY
from lyapkit.tangent.factorizations import Factors, cheapest

FRAMES_AT_ONCE = 6  # that the engine and a push hold: before and after, factors, and what they are made of
MOST_STEPS = 25  # that are taken between factorisations, whatever the frame would bear
LONG = 60.0  # seconds from which on a run is announced
WORTH_A_PILOT = 1e9  # multiplications from which on a run may be long
TRIALS, LONG_TRIALS = 3, 1.0  # steps that are timed at most, and seconds after which there is no further one
FEW = 10  # exponents that are suggested instead of all


class LongRunWarning(UserWarning):
    """A spectrum will take more than a minute; the message says how long, and how it would be faster."""


def require_memory(
    n_trajectories: int,
    n_steps: int,
    n_intervals: int,
    n_exponents: int,
    system: System,
    dtype: torch.dtype,
    device: torch.device,
) -> float:
    """Return the bytes that a spectrum needs, or refuse it.

    Raises
    ------
    ValueError
        If there is less memory. The message says how many exponents, or trajectories, there is room for.
    """
    size = torch.finfo(dtype).bits // 8
    fixed = n_trajectories * n_steps * (system.input_size or 0) * (size + 8)
    per_exponent = n_trajectories * (FRAMES_AT_ONCE * system.state_size * size + 3 * 8 * n_intervals)
    needed, available = fixed + per_exponent * n_exponents, available_memory(device)
    if needed <= available:
        return needed
    fits = int((available - fixed) // per_exponent)
    room = (
        f"n_exponents={min(fits, n_exponents)} would fit"
        if fits >= 1
        else f"take fewer than {n_trajectories} trajectories at a time, or shorter inputs"
    )
    raise ValueError(
        f"{n_exponents} exponents of {n_trajectories} trajectories of {system} need about {gibibytes(needed)} of "
        f"memory, {gibibytes(available)} are free on {device}: {room}"
    )


@torch.no_grad()
def announcement(
    system: System,
    state: Tensor,
    frame: Tensor,
    inputs: Tensor | None,
    n_steps: int,
    memory: float,
    what: str = "this spectrum",
) -> str:
    """Return how long a run of `n_steps` will take and what would make it faster, or nothing if it is short.

    Measured: one push and one factorisation of the frame (B, k, N) itself, and of its first rows.
    """
    if n_steps < 2 or frame.numel() * frame.shape[2] * n_steps < WORTH_A_PILOT:
        return ""
    total = _seconds(system, state, frame, inputs) * n_steps
    if total < LONG:
        return ""
    message = f"{what} will take about {_duration(total)} and {gibibytes(memory)} of memory"
    if frame.shape[1] <= FEW:
        return message
    fewer = _seconds(system, state, frame[:, :FEW].contiguous(), inputs) * n_steps
    return f"{message}; the {FEW} largest exponents alone, n_exponents={FEW}, about {_duration(fewer)}"


def _seconds(system: System, state: Tensor, frame: Tensor, inputs: Tensor | None) -> float:
    """Return the seconds that a step takes, its share of a factorisation included."""
    first = None if inputs is None else inputs[:, :1]
    taken: list[float] = []
    while len(taken) < TRIALS and sum(taken) < LONG_TRIALS:  # the first call costs more than others
        started = time.perf_counter()
        pushed = system.push_along(state, first, frame, 1)[1]
        middle = time.perf_counter()
        factors = cheapest(pushed, None)
        factors.new_frame()
        if frame.device.type == "cuda":
            torch.cuda.synchronize(frame.device)
        taken.append(middle - started + (time.perf_counter() - middle) / _steps_per_factorization(factors, pushed))
    return min(taken)


def _steps_per_factorization(factors: Factors, pushed: Tensor) -> float:
    """Return how many steps a frame bears until it is badly conditioned, if all are like the one that it was pushed."""
    room = math.log(DEFAULT_ACCURACY[pushed.dtype] / torch.finfo(pushed.dtype).eps)
    lost = float(factors.condition(pushed).log().nan_to_num(nan=room).median())
    return room / min(room, max(lost, room / MOST_STEPS))


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.0f} seconds"
