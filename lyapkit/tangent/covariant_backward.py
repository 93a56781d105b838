"""The way back of `covariant_directions`, with coordinates in the frames of the way forward."""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.tangent.covariant_forward import Step


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
