"""`Renewal`: makes frames well conditioned between the factors of one step, and keeps account of what rows grew."""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.tangent.factorizations import HouseholderQR
from lyapkit.tangent.graded_lu import SAFETY, GradedLU


class Renewal:
    """Makes frames well conditioned between the factors of one step, and adds up what the rows grew.

    Parameters
    ----------
    frame : Tensor
        (b, r, N), before the step.
    is_alive : Tensor
        (b, r): its rows that were not mapped to zero.
    epsilon : float, optional
        Of the arithmetic that the frame comes from. Default: that of its dtype.
    maps_to_zero : bool
        Whether the system can map a perturbation to zero exactly; if not, what is zero is so by underflow.
    is_thorough : bool
        Carry the unit vectors along, to know the size of every product that is added up in a pushed row. Rounding is
        then estimated entry by entry, which costs as much again.

    Attributes
    ----------
    frame : Tensor
        What to push through the step: the frame, and the unit vectors if there are any.
    order : Tensor
        (b, r): which row of the step's first frame each row is now.
    log_growth, error : Tensor
        (b, r), float64: growth so far, and the relative error of its exponential.
    is_lost, is_alive : Tensor
        (b, r): rows of which `log_growth` is a bound; rows that were not mapped to zero.
    """

    _tensors = ("order", "log_growth", "error", "is_lost", "is_alive")

    def __init__(
        self,
        frame: Tensor,
        is_alive: Tensor,
        is_thorough: bool = False,
        maps_to_zero: bool = True,
        epsilon: float | None = None,
    ) -> None:
        self.is_thorough, self.maps_to_zero = is_thorough, maps_to_zero
        self.epsilon = epsilon or torch.finfo(frame.dtype).eps
        self.is_alive = is_alive
        self.order = torch.arange(is_alive.shape[1], device=is_alive.device).expand_as(is_alive)
        self.log_growth = torch.zeros_like(is_alive, dtype=torch.float64)
        self.error = torch.zeros_like(self.log_growth)
        self.is_lost = torch.zeros_like(is_alive)
        self.frame = self._with_units(frame)

    def __call__(self, pushed: Tensor) -> Tensor:
        """Return a well-conditioned frame in place of a pushed one, in a new `order` if rows died."""
        n_rows = self.is_alive.shape[1]
        rows, units = pushed[:, :n_rows], pushed[:, n_rows:]
        sizes = self.frame[:, :n_rows].abs() @ units.abs() if self.is_thorough else None
        is_exact = (self.frame[:, :n_rows] != 0).sum(2) <= 1  # a unit vector
        impurity = torch.full_like(rows[:, :, 0], SAFETY * self.epsilon).masked_fill(is_exact, 0.0)
        self.epsilon = torch.finfo(rows.dtype).eps
        factors = GradedLU(rows, self.is_alive, sizes, impurity)
        for name in self._tensors:
            setattr(self, name, getattr(self, name).gather(1, factors.order))
        grown, error = factors.log_diagonal.double(), factors.log_error.double()
        is_dead = factors.is_dead & self.maps_to_zero
        is_lost = factors.is_lost | (factors.is_dead & self.is_alive & ~is_dead)  # zero by underflow
        self.is_alive = self.is_alive & ~is_dead
        self.is_lost = (self.is_lost | is_lost) & self.is_alive
        self.log_growth += torch.where(is_lost, factors.log_bound.double(), grown)
        self.error += torch.where(is_lost, 0.0, (error - grown).exp()).where(self.is_alive, 0.0)
        self.log_growth = self.log_growth.where(self.is_alive, 0.0)
        self.frame = self._with_units(factors.frame.where(self.is_alive[:, :, None], 0.0))
        return self.frame

    def end(self, pushed: Tensor, closes: bool) -> Tensor:
        """Return the frame (b, r, N) after the step, orthonormal if it `closes` an interval."""
        frame = self(pushed)[:, : self.is_alive.shape[1]]
        if not closes:
            return frame
        factors = HouseholderQR(frame, self.is_alive)
        self.log_growth += factors.diagonal.log().double()
        return factors.new_frame()

    def _with_units(self, frame: Tensor) -> Tensor:
        if not self.is_thorough:
            return frame
        units = torch.eye(frame.shape[2], dtype=frame.dtype, device=frame.device)
        return torch.cat([frame, units.expand(len(frame), -1, -1)], dim=1)

    def put_back(self, part: Renewal, where: Tensor) -> None:
        """Copy what became of some of the trajectories, at `where` (b,)."""
        for name in self._tensors:
            own = getattr(self, name).clone()
            own[where] = getattr(part, name)
            setattr(self, name, own)
