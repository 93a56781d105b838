"""What runs in a compiled loop: steps, and factorisations as rare as the accuracy allows, of single trajectories.

Written for `translation`. A frame is stored variable by variable, (N, k), so that loops over its perturbations, which
stand side by side, go through vector registers. All arrays are flat.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir

from lyapkit.compiled import adaptive_kernel, fixed_steps
from lyapkit.compiled.fixed_steps import step
from lyapkit.compiled.frames import condition_of, orthonormalize, strain_of
from lyapkit.compiled.processor import address_of
from lyapkit.compiled.translation import Doubles, Longs, Push, translated

ARRIVED, NEEDS_CARE, OVERLONG = 0, 1, 2
RESERVE = 0.95  # as in tangent.pacing
WIDE = 100  # entries of a frame from which it is worth while to compile for vector registers, which takes a second
WATCHED = 4  # of so many steps one is looked at for the error that its length makes


def workspace(n: int, k: int, room: int = 0) -> np.ndarray:
    """Return the workspace that `advance` needs for states (n,), frames (n, k) and a step that takes some `room`."""
    return np.zeros(3 * n + 3 * n * k + 2 * k + max(room, 4 * n + 4 * n * k))


def copy(target: Doubles, source: Doubles, count: int) -> None:
    """Copy an array."""
    for i in range(count):
        target[i] = source[i]


def uniform(seeds: Longs, b: int) -> float:
    """Return a number between 0 and 1 of a trajectory's own generator, splitmix64."""
    seeds[b] += 0x9E3779B97F4A7C15
    z = seeds[b]
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    return float((z ^ (z >> 31)) >> 11) / 9007199254740992.0


def watch(
    h: float,
    time: int,
    n: int,
    k: int,
    state: Doubles,
    frame: Doubles,
    slopes: Doubles,
    seen: Doubles,
    seeds: Longs,
    b: int,
    samples: Doubles,
    n_samples: int,
) -> None:
    """Keep one step of every period, drawn with a probability in proportion to the error that its length may make.

    `seen` (4,): steps seen in this period, their total weight, samples kept so far, the period's length.
    """
    place = int(seen[2])
    if place >= n_samples:
        return
    size = n * k
    relative = 0.0
    for c in range(k):
        change = 0.0
        length = 0.0
        for i in range(c, size, k):
            change += (slopes[2 * size + i] - slopes[size + i]) ** 2
            length += frame[i] ** 2
        if length > 0.0:
            relative = max(relative, change / length)
    own = (h * h * relative) ** (5 / 6)
    if not own < math.inf:
        own = 0.0
    n_seen = seen[0] + 1.0
    total = seen[1]
    own += 0.1 * total / n_seen + 1e-30
    total += own
    at = place * (2 + n + size)
    if uniform(seeds, b) * total < own:
        samples[at] = own
        samples[at + 1] = time
        copy(samples[at + 2 :], state, n)
        copy(samples[at + 2 + n :], frame, size)
    if n_seen >= seen[3]:
        samples[at] = total / samples[at]
        seen[2] += 1.0
        n_seen = 0.0
        total = 0.0
    seen[0], seen[1] = n_seen, total


def advance(
    push: Push,
    kind: int,
    h: float,
    parameters: Doubles,
    inputs: Doubles,
    input_of_trajectory: int,
    input_of_step: int,
    first: int,
    last: int,
    end: int,
    is_fixed: int,
    worst: float,
    span: float,
    n: int,
    k: int,
    work: Doubles,
    states: Doubles,
    frames: Doubles,
    log_growth: Doubles,
    conditions: Doubles,
    n_alive: Longs,
    times: Longs,
    reach: Longs,
    status: Longs,
    counts: Longs,
    seen: Doubles,
    seeds: Longs,
    samples: Doubles,
    n_samples: int,
    method: Doubles,
) -> None:
    """Move trajectories `first` to `last` on to `end`, or to a step that needs care.

    Parameters
    ----------
    push, kind, h, parameters
        The machine code; which of the kinds in `fixed_steps` it is, with the time that a step takes; constants.
    inputs, input_of_trajectory, input_of_step
        Inputs, and how far it is from those of one trajectory, and one step, to the next.
    is_fixed
        Whether frames are factored at `end` alone.
    worst, span
        What logs of conditions and of lengths may be.
    n, k
        State variables and perturbations.
    work
        The workspace.
    states, frames, log_growth, conditions
        (B, N), (B, N·k), (B, k), (B,), flat. The condition is the worst of the interval.
    n_alive, times, reach, status, counts
        (B,): rows that are not dead, steps done, steps that one factorisation may follow, `ARRIVED` and so on,
        factorisations.
    seen, seeds, samples, n_samples
        As `watch` says; `n_samples` of a trajectory is 0 where steps are not watched.
    method
        As `adaptive_kernel` says, of steps of adapted length.
    """
    size = n * k
    before = 2 * n
    frame_before = 3 * n + 2 * size
    diagonal = 3 * n + 3 * size
    lengths = diagonal + k
    room = lengths + k
    here, there, frame, new_frame = 0, n, 3 * n, 3 * n + size
    for b in range(first, last):
        status[b] = ARRIVED
        copy(work[here:], states[b * n :], n)
        copy(work[frame:], frames[b * size :], size)
        alive = n_alive[b]
        while times[b] < end:
            left = end - times[b]
            length = left
            if is_fixed == 0 and left > reach[b]:
                parts = (left + reach[b] - 1) // reach[b]
                length = (left + parts - 1) // parts
            copy(work[before:], work[here:], n)
            copy(work[frame_before:], work[frame:], size)
            for time in range(times[b], times[b] + length):
                input = inputs[b * input_of_trajectory + time * input_of_step :]
                step(
                    push,
                    kind,
                    h,
                    n,
                    k,
                    work[here:],
                    work[frame:],
                    input,
                    parameters,
                    work[there:],
                    work[new_frame:],
                    work[room:],
                    method,
                )
                if n_samples > 0 and time % WATCHED == 0:
                    watch(
                        h,
                        time,
                        n,
                        k,
                        work[here:],
                        work[frame:],
                        work[room + 4 * n :],
                        seen[4 * b :],
                        seeds,
                        b,
                        samples[b * n_samples * (2 + n + size) :],
                        n_samples,
                    )
                here, there = there, here
                frame, new_frame = new_frame, frame
            condition = condition_of(work[frame:], n, k, alive, work[diagonal:], work[lengths:])
            strain = strain_of(work[frame:], work[here:], n, alive, work[diagonal:], condition, worst, span)
            counts[b] += 1
            if strain > 1.0:
                copy(work[here:], work[before:], n)
                copy(work[frame:], work[frame_before:], size)
                if length == 1 or is_fixed != 0:
                    status[b] = NEEDS_CARE if length == 1 else OVERLONG
                    break
                shorter = int(RESERVE * length / strain) if strain < math.inf else 0
                reach[b] = max(length // 2, min(length - 1, shorter))
                continue
            times[b] += length
            conditions[b] = max(conditions[b], condition)
            for c in range(alive):
                log_growth[b * k + c] += work[diagonal + c]
            reach[b] = min(2 * length, max(1, int(RESERVE * length / max(strain, 1e-9))))
            if times[b] == end:  # once more, as the first time leaves what rounding was magnified to
                orthonormalize(work[frame:], n, k, alive, work[diagonal:])
                for c in range(alive):
                    log_growth[b * k + c] += math.log(work[diagonal + c])
        copy(states[b * n :], work[here:], n)
        copy(frames[b * size :], work[frame:], size)


def follow(
    push: Push,
    kind: int,
    h: float,
    parameters: Doubles,
    n: int,
    k: int,
    work: Doubles,
    state: Doubles,
    n_steps: int,
    n_left_out: int,
    orbit: Doubles,
    n_kept: int,
    method: Doubles,
) -> None:
    """Move a state (n,) on by `n_steps`; keep `n_kept` states, (n_kept, n), from the one after `n_left_out` steps on.

    Perturbations (n, k), in the workspace, go with it and are of no concern.
    """
    size = n * k
    for time in range(n_steps):
        step(
            push,
            kind,
            h,
            n,
            k,
            state,
            work[n:],
            state,
            parameters,
            work,
            work[n + size :],
            work[n + 2 * size :],
            method,
        )
        copy(state, work, n)
        if time >= n_left_out and time < n_left_out + n_kept:
            copy(orbit[(time - n_left_out) * n :], state, n)


_KERNELS = {
    advance: (copy, orthonormalize, condition_of, uniform, watch, strain_of),
    follow: (copy,),
}


@functools.cache
def compiled(kernel: Callable[..., None], vectorizes: bool = False, is_adaptive: bool = False) -> Callable[..., None]:
    """Return `advance` or `follow` as machine code, made at the first call; it lets other threads run."""
    module = ir.Module(name="kernels")
    steps = adaptive_kernel.STEPS if is_adaptive else fixed_steps.STEPS
    kinds = translated(module, [*steps, *_KERNELS[kernel], kernel])
    of_ctypes: dict[str, type[ctypes._SimpleCData[Any]]] = {
        "int": ctypes.c_int64,
        "Push": ctypes.c_int64,
        "float": ctypes.c_double,
    }
    signature = ctypes.CFUNCTYPE(None, *(of_ctypes.get(kind, ctypes.c_void_p) for kind in kinds))
    return signature(address_of(kernel.__name__, module, vectorizes))
