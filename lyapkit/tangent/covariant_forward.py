"""The way forward of `covariant_directions`, with frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.systems.system import System
from lyapkit.tangent.graded_qr import GradedQR


@dataclass
class Step:
    """One step: state (B, N) and frame (B, k, N) before it and after it, and how the frame was factored."""

    state: Tensor
    frame: Tensor
    next_state: Tensor
    next_frame: Tensor
    factors: GradedQR


def random_frame(state: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Return k orthonormal rows (B, k, N), the same for all trajectories."""
    rows = torch.randn(state.shape[1], k, dtype=torch.float64, generator=generator)
    return torch.linalg.qr(rows)[0].mT.to(state).expand(len(state), -1, -1).contiguous()


class Forward:
    """Steps of frames. Trajectories that leave the finite numbers stay where they last were finite, and are noted.

    Parameters
    ----------
    system : System
        What is run.
    inputs : Tensor, optional
        (B, T, I).
    advance : callable
        Called after every step.

    Attributes
    ----------
    state, frame : Tensor
        (B, N) and (B, k, N): where the last of them led.
    diverged, overflowed : dict and set
        As in `CovariantDirections`.
    """

    def __init__(self, system: System, inputs: Tensor | None, advance: Callable[[], object]) -> None:
        self.system, self.inputs, self.advance = system, inputs, advance
        self.diverged: dict[int, int] = {}
        self.overflowed: set[int] = set()

    def input(self, time: int) -> Tensor | None:
        """Return the inputs (B, I) of a step."""
        return None if self.inputs is None else self.inputs[:, time]

    def transient(self, state: Tensor, frame: Tensor, other: Tensor, n_steps: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return state and two frames after steps that are not kept."""
        for time in range(n_steps):
            next_state, pushed = self.system.push(state, self.input(time), torch.cat([frame, other], dim=1))
            parts = (GradedQR(part, self.system.maps_to_zero).frame for part in pushed.chunk(2, dim=1))
            frames = torch.cat([*parts], dim=1)
            state, frames = self._checked(state, torch.cat([frame, other], dim=1), next_state, frames, time)
            frame, other = frames.chunk(2, dim=1)
            self.advance()
        return state, frame.contiguous(), other.contiguous()

    def steps(self, state: Tensor, frame: Tensor, start: int, end: int) -> list[Step]:
        """Return the steps from `start` to `end`."""
        steps = []
        for time in range(start, end):
            next_state, pushed = self.system.push(state, self.input(time), frame)
            factors = GradedQR(pushed, self.system.maps_to_zero)
            step = Step(state, frame, *self._checked(state, frame, next_state, factors.frame, time), factors)
            state, frame = step.next_state, step.next_frame
            steps.append(step)
            self.advance()
        self.state, self.frame = state, frame
        return steps

    def _checked(
        self, state: Tensor, frame: Tensor, next_state: Tensor, next_frame: Tensor, time: int
    ) -> tuple[Tensor, Tensor]:
        """Return the next state and frame, where they are finite; note where they are not."""
        is_moving = next_state.isfinite().all(1) & next_frame.isfinite().flatten(1).all(1)
        if bool(is_moving.all()):
            return next_state, next_frame
        for trajectory in (~is_moving).nonzero().flatten().tolist():
            if trajectory not in self.diverged:
                self.diverged[trajectory] = time
                if bool(next_state[trajectory].isfinite().all()):
                    self.overflowed.add(trajectory)
        state = torch.where(is_moving[:, None], next_state, state)
        return state, torch.where(is_moving[:, None, None], next_frame, frame)
