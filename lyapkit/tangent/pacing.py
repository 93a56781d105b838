"""How far to push a frame before the next factorisation, and what to do where that was too far.

What limits a stretch is measured at its end: the *condition* (B,), the ratio of the largest growth to the smallest,
by which rounding errors are magnified; and the logs of lengths, which must stay within the range of floating-point
numbers. The *strain* (B,) is the used fraction of what is allowed; above 1, or NaN, the stretch was too long for that
trajectory.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

N_INTERVALS = 32  # that the adaptive pace divides a run into, for error bars and convergence plots
FIRST_REACH = 8
GENTLE_CONDITION = 10.0  # may be squared without loss
RESERVE = 0.95  # of the estimated reach


class Pace(ABC):
    """How far to go. One object serves the trajectories that move together."""

    interval: int
    _worst: float  # that the log of a condition may be
    is_gentle = False  # the last closing frame was close to orthogonal, so that the next may be factored by Cholesky
    _slower: Pace | None = None

    @abstractmethod
    def stretch(self, left: int) -> tuple[int, bool]:
        """Return how many of the `left` steps of an interval to do next, and whether to end it there, with a QR."""

    @abstractmethod
    def strain(self, log_diagonal: Tensor, condition: Tensor) -> Tensor:
        """Return the strain (B,) of a stretch that ends with these log-growths (B, k) and conditions (B,)."""

    @abstractmethod
    def shorten(self, length: int, closes: bool, strain: float) -> bool:
        """Go less far next time, `length` steps were too many, at this strain; whether that is possible."""

    def went(self, length: int, closes: bool, strain: float, condition: Tensor) -> None:  # noqa: B027 nothing to note
        """Take note how a stretch went, at this strain and with these conditions (B,)."""

    def add_rounding(self, error: Tensor, grown: Tensor, condition: Tensor) -> None:  # noqa: B027 nothing to add
        """Add what rounding of log-growths (B, k) may be to the rows' errors (B, k), where no accuracy bounds it."""

    def remedy(self, dtype: torch.dtype) -> str:
        """Return what may turn bounds into numbers."""
        return "inputs of a smaller scale" if dtype == torch.float64 else "dtype='float64'"

    def for_stragglers(self) -> Pace:
        """Return the pace of those for which this one is too fast; it remembers how far they came."""
        if self._slower is None:
            self._slower = copy.copy(self)
        return self._slower


class FixedPace(Pace):
    """A QR every `interval` steps, and nothing in between; single steps as accurate as asked for, others to a digit."""

    def __init__(self, interval: int, accuracy: float, dtype: torch.dtype) -> None:
        self.interval = interval
        self._epsilon = torch.finfo(dtype).eps
        self._worst = math.log((accuracy if interval == 1 else 1e-3) / self._epsilon)

    def stretch(self, left: int) -> tuple[int, bool]:
        """Return all of it."""
        return left, True

    def strain(self, log_diagonal: Tensor, condition: Tensor) -> Tensor:
        """Return the used fraction of the condition's log."""
        return condition.log() / self._worst

    def shorten(self, length: int, closes: bool, strain: float) -> bool:
        """Return that it is not possible."""
        return False

    def add_rounding(self, error: Tensor, grown: Tensor, condition: Tensor) -> None:
        """Add machine epsilon times the condition, which is that of the smallest growth."""
        error += self._epsilon * condition[:, None] * (grown.amin(1, keepdim=True) - grown).exp()

    def remedy(self, dtype: torch.dtype) -> str:
        """Return what may turn bounds into numbers: shorter intervals, if they can be."""
        if self.interval > 1:
            return "a shorter interval, or reorthonormalize='adaptive'"
        return super().remedy(dtype)


class AdaptivePace(Pace):
    """About 32 intervals a run; inside, factorisations as rare as an accuracy allows."""

    def __init__(self, n_steps: int, accuracy: float, dtype: torch.dtype) -> None:
        limits = torch.finfo(dtype)
        self.interval = max(1, n_steps // N_INTERVALS)
        self._worst = math.log(accuracy / limits.eps)
        self._range = 0.4 * math.log(limits.max)  # squares included
        self._inside, self._closing = FIRST_REACH, FIRST_REACH  # how far LU and QR may go

    def stretch(self, left: int) -> tuple[int, bool]:
        """Return the rest if a QR may close it, else one of the equal parts that lead to where the QR can take it."""
        if left <= self._closing:
            return left, True
        before = left - self._closing
        return math.ceil(before / math.ceil(before / self._inside)), False

    def strain(self, log_diagonal: Tensor, condition: Tensor) -> Tensor:
        """Return the larger of the used fractions of the condition's log and of the range of lengths."""
        return torch.maximum(condition.log() / self._worst, log_diagonal.abs().amax(1) / self._range)

    def shorten(self, length: int, closes: bool, strain: float) -> bool:
        """Reduce the reach in proportion to the strain, if that is known; by half at most."""
        reach = max(length // 2, min(length - 1, self._reach(length, strain)))
        if closes:
            self._closing = reach
        else:
            self._inside = reach
        return True

    def went(self, length: int, closes: bool, strain: float, condition: Tensor) -> None:
        """Estimate the reach from the strain, which grows in proportion to the length; at most double it."""
        reach = min(2 * length, max(1, self._reach(length, strain)))
        if closes:
            self._closing = reach
            self.is_gentle = bool(condition.max() < GENTLE_CONDITION)
        else:
            self._inside = reach

    @staticmethod
    def _reach(length: int, strain: float) -> int:
        return int(RESERVE * length / max(strain, 1e-9)) if math.isfinite(strain) else 0
