"""`AdaptiveSteps`: integration by Dormand & Prince's method of order 8(5, 3), with steps of adapted length.

A stretch of fixed duration is integrated in as many steps as the tolerance asks for, every trajectory in its own. State
and perturbations go through the same stages, so that the tangent is the exact derivative of each step. The error that
sets a step's length is the larger of two: that of the state, relative to every variable or to how far it moves in the
step; and that of the growth of a few perturbations, the probes, which begin anew with every step. Probes are the same
for every frame: the length of steps, and so the trajectory, depends on the state alone, whatever frame goes along,
however often a stretch is repeated, and in whatever company.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

RTOL = 1e-7
LOOSEST, TIGHTEST = 1e-4, 1e-13  # per step; looser, exponents would be off by half a percent
N_PROBES = 4
MOST_STEPS = 1000  # within a stretch
SHORTEST = 1e-9  # step, to the stretch, which is done whatever its error: at a jump of the field
SAFETY, LEAST_FACTOR, LARGEST_FACTOR = 0.9, 0.2, 8.0
EXPONENT = -1 / 8
SMALLEST = 1e-13  # step, to the stretch: the time stands still, as before a singularity
NO_TIME = 1e-12  # that is left of a stretch
ROUNDING = 16  # errors of variables below so many epsilons of the largest one do not count
_FLOAT32 = 50  # epsilons, the tightest tolerance that the arithmetic allows

Push = Callable[[Tensor, Tensor | None, Tensor], tuple[Tensor, Tensor]]


class Tableau(NamedTuple):
    """Coefficients: of the stages (S, S) and of the step (S,), and of its errors of order 5 and 3, (S,)."""

    a: np.ndarray
    b: np.ndarray
    e5: np.ndarray
    e3: np.ndarray


@functools.cache
def tableau() -> Tableau:
    """Return the coefficients that SciPy has."""
    from scipy.integrate import DOP853

    n = len(DOP853.B)  # the errors do not use the stage after the last
    return Tableau(DOP853.A, DOP853.B, DOP853.E5[:n], DOP853.E3[:n])


def probes(n: int, n_moving: int) -> np.ndarray:
    """Return the perturbations (m, n) whose errors are watched, orthonormal, of the first `n_moving` variables."""
    found = np.eye(n_moving)
    if n_moving > N_PROBES:
        found = np.linalg.qr(np.random.default_rng(0).normal(size=(n_moving, N_PROBES)))[0].T
    return np.concatenate([found, np.zeros((len(found), n - n_moving))], axis=1)


class AdaptiveSteps:
    """Integrates a field over stretches of fixed duration.

    Parameters
    ----------
    push : callable
        (state, input, tangent) -> (velocity, derivative of the tangent).
    n_moving : int
        State variables without the time, which comes last if it is one of them.
    rtol, atol : float
        Error of a step, relative and absolute.
    """

    def __init__(self, push: Push, n_moving: int, rtol: float, atol: float) -> None:
        self.push, self.n_moving, self.rtol, self.atol = push, n_moving, rtol, atol
        self.gave_up = False

    def advance(self, state: Tensor, input: Tensor | None, tangent: Tensor, duration: float) -> tuple[Tensor, Tensor]:
        """Return state (B, N) and tangent vectors (B, k, N) after `duration`; NaN where that takes too many steps."""
        watched = torch.as_tensor(probes(state.shape[1], self.n_moving)).to(state)
        whole = torch.cat([state[:, None], tangent], dim=1)
        rows = torch.arange(len(state), device=state.device)
        left = torch.full_like(state[:, 0], duration)
        h = torch.full_like(left, math.inf)
        is_growing = torch.ones_like(rows, dtype=torch.bool)
        for _ in range(MOST_STEPS):
            driving = None if input is None else input[rows]
            start = torch.cat([whole[rows], watched.expand(len(rows), -1, -1)], dim=1)
            slope = self._slope(start, driving)
            rate = torch.linalg.vector_norm(slope[:, -len(watched) :], dim=-1).amax(1)
            h = torch.minimum(h, 1 / rate).nan_to_num(nan=math.inf)
            h = left / torch.ceil(left / h - 1e-9).clamp(min=1)
            is_lost = ~slope.isfinite().flatten(1).all(1) | (h < SMALLEST * duration)
            end, error = self._step(start, slope, driving, h, len(watched))
            is_done = (error <= 1) | ((h < SHORTEST * duration) & error.isfinite())
            whole[rows[is_done]] = end[is_done, : -len(watched)]
            whole[rows[is_lost]] = math.nan
            factor = (SAFETY * error**EXPONENT).nan_to_num(nan=0.0).clamp(LEAST_FACTOR, LARGEST_FACTOR)
            left = torch.where(is_done, left - h, left)
            h = h * torch.where(is_growing & is_done, factor, factor.clamp(max=1))
            goes_on = (left > NO_TIME * duration) & ~is_lost
            rows, left, h, is_growing = rows[goes_on], left[goes_on], h[goes_on], is_done[goes_on]
            if not len(rows):
                break
        else:
            self.gave_up = True
            whole[rows] = math.nan
        return whole[:, 0], whole[:, 1:]

    def advice(self, duration: float) -> str:
        """Return what to do where a stretch took too many steps."""
        return (
            f"is stiff, or leaves the finite numbers: more than {MOST_STEPS} steps would be needed within {duration:g} "
            "units of time: eliminate the fast variables, give a shorter time_step=, or an implicit step as "
            "Map(step, jacobian)"
        )

    def _slope(self, point: Tensor, input: Tensor | None) -> Tensor:
        velocity, derivative = self.push(point[:, 0], input, point[:, 1:].contiguous())
        return torch.cat([velocity[:, None], derivative], dim=1)

    def _step(
        self, start: Tensor, slope: Tensor, input: Tensor | None, h: Tensor, n_probes: int
    ) -> tuple[Tensor, Tensor]:
        """Return where a step of lengths `h` (b,) ends, and its error in units of what is tolerated (b,)."""
        a, b, e5, e3 = (torch.as_tensor(values).to(start) for values in tableau())
        h = h[:, None, None]
        slopes = start.new_empty((len(b), *start.shape))
        slopes[0] = slope
        for stage in range(1, len(b)):
            slopes[stage] = self._slope(start + h * torch.tensordot(a[stage, :stage], slopes[:stage], 1), input)
        end = start + h * torch.tensordot(b, slopes, 1)
        wide, narrow = (h * torch.tensordot(e, slopes, 1) for e in (e5, e3))
        epsilon = torch.finfo(start.dtype).eps
        rtol = max(self.rtol, _FLOAT32 * epsilon)
        size = torch.maximum(start[:, 0].abs(), end[:, 0].abs())
        scale = self.atol + rtol * (size + (h * slope)[:, 0].abs())
        scale = scale + ROUNDING * epsilon * size[:, : self.n_moving].amax(1, keepdim=True)
        of_state = _estimate(wide[:, 0].abs(), narrow[:, 0].abs(), scale)
        lengths = (torch.linalg.vector_norm(part[:, -n_probes:], dim=-1) for part in (wide, narrow, end))
        wide, narrow, length = lengths
        return end, torch.cat([of_state, _estimate(wide, narrow, rtol * length)], dim=1).amax(1)


def _estimate(wide: Tensor, narrow: Tensor, scale: Tensor) -> Tensor:
    """Return the error from those of order 5 and 3, as Hairer, Nørsett & Wanner put them together; 0 of 0."""
    estimate = wide * wide / torch.hypot(wide, 0.1 * narrow) / scale
    return estimate.where(wide != 0, 0.0)
