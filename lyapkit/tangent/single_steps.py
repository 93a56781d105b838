"""Steps that contract some directions far below rounding, done one at a time and with care.

The pushed frame is factored by `GradedQR`, between the factors of the Jacobian where the system names them
(`System.push_in_stages`). In float32 the step is repeated in float64 where that is not enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.systems.system import System
from lyapkit.tangent.bundle import Bundle
from lyapkit.tangent.graded_qr import GradedQR

_SMALLER = {torch.float64: 2.0**-500, torch.float32: 2.0**-60}  # frames that a Jacobian near overflow leaves finite


class Renewal:
    """Makes frames orthonormal between the factors of one step, and adds up what the rows grew.

    Attributes
    ----------
    order : Tensor
        (b, r): which row of the step's first frame each row is now.
    log_growth, error : Tensor
        (b, r), float64: growth so far, and the relative error of its exponential.
    is_lost, is_alive : Tensor
        (b, r): rows of which `log_growth` is a bound; rows that were not mapped to zero.
    """

    _tensors = ("order", "log_growth", "error", "is_lost", "is_alive")

    def __init__(self, is_alive: Tensor) -> None:
        self.is_alive = is_alive
        self.order = torch.arange(is_alive.shape[1], device=is_alive.device).expand_as(is_alive)
        self.log_growth = torch.zeros_like(is_alive, dtype=torch.float64)
        self.error = torch.zeros_like(self.log_growth)
        self.is_lost = torch.zeros_like(is_alive)

    def __call__(self, frame: Tensor) -> Tensor:
        """Return the frame (b, r, N) made orthonormal, its rows in a new `order` if some were lost."""
        factors = GradedQR(frame, self.is_alive)
        for name in self._tensors:
            setattr(self, name, getattr(self, name).gather(1, factors.order))
        grown, error = factors.log_diagonal.double(), factors.log_error.double()
        self.is_alive = self.is_alive & ~factors.is_dead
        self.is_lost = (self.is_lost | factors.is_lost) & self.is_alive
        self.log_growth += torch.where(factors.is_lost, torch.logaddexp(grown, error), grown)
        self.error += torch.where(factors.is_lost, 0.0, (error - grown).exp()).where(self.is_alive, 0.0)
        self.log_growth = self.log_growth.where(self.is_alive, 0.0)
        return factors.frame * self.is_alive[:, :, None]

    def put_back(self, part: Renewal, where: Tensor) -> None:
        """Copy what became of some of the trajectories, at `where` (b,)."""
        for name in self._tensors:
            own = getattr(self, name).clone()
            own[where] = getattr(part, name)
            setattr(self, name, own)


@dataclass
class Step:
    """What one step did to a bundle: new state and frame, whether they are finite (b,), and the rows' `Renewal`."""

    state: Tensor
    frame: Tensor
    is_finite: Tensor
    rows: Renewal


def careful_step(system: System, precise: System | None, bundle: Bundle, input: Tensor | None, accuracy: float) -> Step:
    """Return what one step does to a bundle; in float64, with the system `precise`, where `accuracy` demands it."""
    step = _step(system, bundle.state, bundle.frame, bundle.is_alive, input)
    if precise is None:
        return step
    rows = step.rows
    died = (bundle.is_alive.gather(1, rows.order) & ~rows.is_alive).any(1)
    if not bool((died | rows.is_lost.any(1) | ~(rows.error <= accuracy).all(1) | ~step.is_finite).any()):
        return step
    input = None if input is None else input.double()
    better = _step(precise, bundle.state.double(), bundle.frame.double(), bundle.is_alive, input)
    better.state, better.frame = step.state, better.frame.to(bundle.frame.dtype)
    better.is_finite &= step.state.isfinite().all(1)
    return better


def _step(system: System, state: Tensor, frame: Tensor, is_alive: Tensor, input: Tensor | None) -> Step:
    step = _scaled_step(system, state, frame, is_alive, input, 1.0)
    overflowed = ~step.is_finite & step.state.isfinite().all(1)
    if bool(overflowed.any()):  # a Jacobian near the largest number: of smaller perturbations
        inputs = None if input is None else input[overflowed]
        smaller = _SMALLER[frame.dtype]
        again = _scaled_step(system, state[overflowed], frame[overflowed], is_alive[overflowed], inputs, smaller)
        step.frame[overflowed], step.is_finite[overflowed] = again.frame, again.is_finite
        step.rows.put_back(again.rows, overflowed)
    return step


def _scaled_step(
    system: System, state: Tensor, frame: Tensor, is_alive: Tensor, input: Tensor | None, scale: float
) -> Step:
    rows = Renewal(is_alive)
    new_state, pushed = system.push_in_stages(state, input, frame * scale, rows)
    is_finite = pushed.isfinite().flatten(1).all(1) & rows.log_growth.isfinite().all(1)
    new_frame = rows(torch.where(is_finite[:, None, None], pushed, frame))
    rows.log_growth -= math.log(scale)
    return Step(new_state, new_frame, is_finite & new_state.isfinite().all(1), rows)
