"""Dormand & Prince's method of order 8(5, 3) in a compiled loop, as `systems.adaptive_steps` says.

Written for `translation`. State and frame stand one behind the other, and the probes in the frame's last columns.
"""

from __future__ import annotations

import math

import numpy as np

from lyapkit.compiled.translation import Doubles, Push
from lyapkit.systems.adaptive_steps import (
    EXPONENT,
    LARGEST_FACTOR,
    LEAST_FACTOR,
    MOST_STEPS,
    NO_TIME,
    ROUNDING,
    SAFETY,
    SHORTEST,
    SMALLEST,
    AdaptiveSteps,
    probes,
    tableau,
)

STAGES = 12
NEGLIGIBLE = ROUNDING * 2.0**-52
FIRST_PROBE = 4  # in `method`, behind: probes, variables without the time, tolerances


def method_of(steps: AdaptiveSteps, n: int) -> np.ndarray:
    """Return the numbers that make the method: probes, tolerances and coefficients, flat."""
    watched = probes(n, steps.n_moving)
    head = [len(watched), steps.n_moving, steps.rtol, steps.atol]
    return np.concatenate([head, watched.T.ravel(), *(np.ravel(part) for part in tableau())])


def room(n: int, k: int, n_probes: int) -> int:
    """Return the size of the workspace that `step` needs."""
    return (STAGES + 4) * (n + n * (k + n_probes))


def combine(target: Doubles, weights: Doubles, slopes: Doubles, n_stages: int, size: int) -> None:
    """Add slopes, (stages, size), with weights."""
    for i in range(size):
        target[i] = 0.0
    for stage in range(n_stages):
        weight = weights[stage]
        if weight != 0.0:
            for i in range(size):
                target[i] += weight * slopes[stage * size + i]


def advanced(target: Doubles, start: Doubles, h: float, size: int) -> None:
    """Make a mean slope the place that it leads to."""
    for i in range(size):
        target[i] = start[i] + h * target[i]


def estimate(wide: float, narrow: float, scale: float) -> float:
    """Return the error from those of order 5 and 3."""
    if wide == 0.0:
        return 0.0
    return wide * wide / math.sqrt(wide * wide + 0.01 * narrow * narrow) / scale


def error_of(
    start: Doubles,
    slope: Doubles,
    end: Doubles,
    wide: Doubles,
    narrow: Doubles,
    h: float,
    n: int,
    k: int,
    method: Doubles,
) -> float:
    """Return the error of a step in units of what is tolerated; infinite where it is not finite."""
    rtol = method[2]
    total = 0.0
    largest = 0.0
    width = k + int(method[0])
    for i in range(int(method[1])):
        largest = max(largest, abs(start[i]), abs(end[i]))
    for i in range(n + n * width):
        total += abs(end[i]) + abs(wide[i]) + abs(narrow[i])
    if not total < math.inf:
        return math.inf
    worst = 0.0
    for i in range(n):
        scale = method[3] + rtol * (max(abs(start[i]), abs(end[i])) + h * abs(slope[i])) + NEGLIGIBLE * largest
        worst = max(worst, estimate(h * wide[i], h * narrow[i], scale))
    for c in range(k, width):
        wider = 0.0
        narrower = 0.0
        length = 0.0
        for i in range(n):
            at = n + i * width + c
            wider += wide[at] * wide[at]
            narrower += narrow[at] * narrow[at]
            length += end[at] * end[at]
        worst = max(worst, estimate(h * math.sqrt(wider), h * math.sqrt(narrower), rtol * math.sqrt(length)))
    return worst


def rate_of(slope: Doubles, n: int, k: int, n_probes: int) -> float:
    """Return how fast the fastest of the probes changes; infinite if that, or the state, is not finite."""
    total = 0.0
    largest = 0.0
    width = k + n_probes
    for i in range(n + n * width):
        total += abs(slope[i])
    if not total < math.inf:
        return math.inf
    for c in range(k, width):
        square = 0.0
        for i in range(n):
            square += slope[n + i * width + c] ** 2
        largest = max(largest, square)
    return math.sqrt(largest)


def gather(whole: Doubles, state: Doubles, frame: Doubles, n: int, k: int, width: int) -> None:
    """Put a state (n,) and a frame (n, k) into a whole, whose frame is wider."""
    for i in range(n):
        whole[i] = state[i]
        for c in range(k):
            whole[n + i * width + c] = frame[i * k + c]


def scatter(state: Doubles, frame: Doubles, whole: Doubles, n: int, k: int, width: int) -> None:
    """Take a state (n,) and a frame (n, k) out of a whole."""
    for i in range(n):
        state[i] = whole[i]
        for c in range(k):
            frame[i * k + c] = whole[n + i * width + c]


def set_probes(whole: Doubles, method: Doubles, n: int, k: int, n_probes: int) -> None:
    """Begin anew with the perturbations whose errors are watched."""
    width = k + n_probes
    for i in range(n):
        for c in range(n_probes):
            whole[n + i * width + k + c] = method[FIRST_PROBE + i * n_probes + c]


def step(
    push: Push,
    kind: int,
    duration: float,
    n: int,
    k: int,
    state: Doubles,
    frame: Doubles,
    input: Doubles,
    parameters: Doubles,
    new_state: Doubles,
    new_frame: Doubles,
    work: Doubles,
    method: Doubles,
) -> None:
    """Integrate over `duration`, to NaN where that takes too many steps or leaves the finite numbers."""
    n_probes = int(method[0])
    size = n + n * (k + n_probes)
    end, wide, narrow, slopes = size, 2 * size, 3 * size, 4 * size
    coefficients = FIRST_PROBE + n * n_probes
    of_step = coefficients + STAGES * STAGES
    gather(work, state, frame, n, k, k + n_probes)
    left = duration
    h = math.inf
    may_grow = 1
    for _ in range(MOST_STEPS):
        set_probes(work, method, n, k, n_probes)
        push(work, input, parameters, work[n:], work[slopes:], work[slopes + n :])
        rate = rate_of(work[slopes:], n, k, n_probes)
        if not rate < math.inf:
            break
        if rate > 0.0:
            h = min(h, 1.0 / rate)
        if h < SMALLEST * duration:
            break
        h = left / (1 + int(left / h - 1e-9))
        for stage in range(1, STAGES):
            combine(work[end:], method[coefficients + stage * STAGES :], work[slopes:], stage, size)
            advanced(work[end:], work, h, size)
            to = slopes + stage * size
            push(work[end:], input, parameters, work[end + n :], work[to:], work[to + n :])
        combine(work[end:], method[of_step:], work[slopes:], STAGES, size)
        advanced(work[end:], work, h, size)
        combine(work[wide:], method[of_step + STAGES :], work[slopes:], STAGES, size)
        combine(work[narrow:], method[of_step + 2 * STAGES :], work[slopes:], STAGES, size)
        error = error_of(work, work[slopes:], work[end:], work[wide:], work[narrow:], h, n, k, method)
        is_done = error <= 1.0 or (h < SHORTEST * duration and error < math.inf)
        factor = min(LARGEST_FACTOR, max(LEAST_FACTOR, SAFETY * error**EXPONENT))
        if is_done:
            for i in range(size):
                work[i] = work[end + i]
            left -= h
        if not (is_done and may_grow == 1):
            factor = min(1.0, factor)
        may_grow = 1 if is_done else 0
        h = h * factor
        if not left > NO_TIME * duration:
            break
    scatter(new_state, new_frame, work, n, k, k + n_probes)
    if left > NO_TIME * duration:
        new_state[0] = math.nan


STEPS = (combine, advanced, estimate, error_of, rate_of, gather, scatter, set_probes, step)
