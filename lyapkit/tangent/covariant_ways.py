"""The two ways of `covariant_directions`: `Forward` with frames, `Backward` with coordinates in them."""

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


class Backward:
    """Coordinates of covariant vectors on their way back through the factors L of steps, from two random starts.

    Parameters
    ----------
    state, frame : Tensor
        (B, N) and (B, k, N): at the end of the run.
    n_exponents, n_steps : int
        k, and for how many steps vectors are kept.
    generator : torch.Generator
        Of the starts.

    Attributes
    ----------
    difference : Tensor
        (B, k): sines of the angles between vectors from the two starts, where they `arrive`.
    vector, log_growth, is_bound, covariance_residual : Tensor
        As in `CovariantDirections`.
    """

    def __init__(
        self, state: Tensor, frame: Tensor, n_exponents: int, n_steps: int, generator: torch.Generator
    ) -> None:
        batch, size = state.shape
        starts = torch.randn(2, n_exponents, n_exponents, dtype=torch.float64, generator=generator).tril()
        starts = starts.flatten(0, 1).to(state).expand(batch, -1, -1)
        self._coordinates = _of_length_one(starts)
        self._n_exponents = n_exponents
        self._number = torch.arange(n_exponents, device=state.device).repeat(batch, 1)  # of the rows, at the end
        self.vector = state.new_empty(batch, n_steps, n_exponents, size)
        self.log_growth = state.new_empty(batch, n_steps, n_exponents)
        self.is_bound = torch.empty(batch, n_steps, n_exponents, dtype=torch.bool, device=state.device)
        self.covariance_residual = state.new_zeros(batch, n_exponents)

    def go(self, step: Step) -> None:
        """Go back one step. A row that it maps to zero, or below rounding, begins anew with what its factor loses.

        Rows are multiplied by their growth L_ii, so that they keep their size. Nothing comes from a lost direction, so
        that what other rows hold of it is not theirs.
        """
        factors = step.factors
        size, is_new = factors.lower.diagonal(dim1=1, dim2=2), factors.is_dead | factors.is_lost
        repeats = self._coordinates.shape[1] // self._n_exponents
        unit = torch.eye(self._n_exponents, dtype=size.dtype, device=size.device)
        lower, scaled = factors.lower, self._coordinates * size.repeat(1, repeats)[:, :, None]
        if bool(is_new.any()):
            lower = torch.where(is_new[:, None], unit, lower)
            of_rows = is_new.repeat(1, repeats)[:, :, None]
            scaled = torch.where(of_rows, unit.repeat(repeats, 1), scaled.masked_fill(is_new[:, None], 0.0))
        self._after = self._coordinates
        coordinates = torch.linalg.solve_triangular(lower, scaled, upper=False, left=False)
        if factors.order is not None:
            parts = (self._in_order_before(part, factors.order) for part in coordinates.chunk(repeats, dim=1))
            coordinates = torch.cat([*parts], dim=1)
            self._number = torch.empty_like(self._number).scatter_(1, factors.order, self._number)
        self._coordinates = _of_length_one(coordinates)

    @staticmethod
    def _in_order_before(coordinates: Tensor, order: Tensor) -> Tensor:
        """Return coordinates (B, k, k) with rows and columns where they were before a step put those lost last."""
        by_column = torch.empty_like(coordinates).scatter_(2, order[:, None].expand_as(coordinates), coordinates)
        return torch.empty_like(coordinates).scatter_(1, order[:, :, None].expand_as(coordinates), by_column).tril()

    def arrive(self, frame: Tensor) -> None:
        """Compare the two starts where the vectors begin to be kept, in the frame (B, k, N) there; go on with one."""
        one, two = self._coordinates.chunk(2, dim=1)
        difference = torch.linalg.vector_norm(one - (one * two).sum(2, keepdim=True) * two, dim=2)
        self.difference = torch.empty_like(difference).scatter_(1, self._number, difference)
        self._coordinates = one.contiguous()
        self._next = self.vectors(frame)

    def vectors(self, frame: Tensor) -> Tensor:
        """Return the vectors (B, k, N) whose coordinates these are, in the order of the frame."""
        return _of_length_one(self._coordinates @ frame)

    def store(self, index: int, step: Step, vectors: Tensor, pushed: Tensor) -> None:
        """Keep the vectors (B, k, N) before a step; pushed through it, they must be those after it."""
        order, factors = step.factors.order, step.factors
        own = self._coordinates.diagonal(dim1=1, dim2=2)
        if order is not None:
            own, pushed = own.gather(1, order), pushed.gather(1, order[:, :, None].expand_as(pushed))
        later = self._after.diagonal(dim1=1, dim2=2)
        length = torch.linalg.vector_norm(pushed, dim=2).amax(1, keepdim=True)
        left = torch.linalg.vector_norm(pushed - (pushed * self._next).sum(2, keepdim=True) * self._next, dim=2)
        residual = left / torch.where(length > 0, length, 1.0)
        after = self._number if order is None else self._number.gather(1, order)
        self.vector[:, index].scatter_(1, self._number[:, :, None].expand_as(vectors), vectors)
        self.log_growth[:, index].scatter_(1, after, factors.log_growth + own.abs().log() - later.abs().log())
        self.is_bound[:, index].scatter_(1, after, factors.is_lost)
        so_far = self.covariance_residual.gather(1, after)
        self.covariance_residual.scatter_(1, after, torch.maximum(so_far, residual))
        self._next = vectors


def _of_length_one(rows: Tensor) -> Tensor:
    return rows / torch.linalg.vector_norm(rows, dim=2, keepdim=True)
