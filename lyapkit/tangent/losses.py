"""What a run lost, and how that is said: trajectories that diverged; directions dead, bounded, or not known."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lyapkit.tangent.casualties import Casualties

NAMED = 10  # trajectories that a message names


class DivergenceWarning(RuntimeWarning):
    """A trajectory left the finite numbers, or a direction could not be resolved; the result has NaN there."""


class LostDirectionWarning(DivergenceWarning):
    """A direction was mapped to zero (its exponent is −inf), or is known by an upper bound only (`is_bound`)."""


class DivergenceError(ArithmeticError):
    """What `DivergenceWarning` says, for callers who asked for an error."""


@dataclass
class Losses:
    """What a run lost.

    Attributes
    ----------
    casualties : Casualties
        Which trajectories diverged, and which first lost directions.
    is_dead, is_unresolved, is_bound : Tensor
        (B, k) bool, on the CPU: directions, in the order of the first frame's vectors, that were mapped to zero, are
        not known, or of which only a bound is known.
    n_bounded, error : Tensor
        (B, k): as in `Bundle`.
    """

    casualties: Casualties
    is_dead: Tensor
    is_unresolved: Tensor
    is_bound: Tensor
    n_bounded: Tensor
    error: Tensor

    def mark(self, log_growth: Tensor) -> Tensor:
        """Return log-growth (B, M, k) with −inf for dead directions, NaN for unknown ones, and bounds as bounds.

        Of directions that were lost together the volume is known not to be larger, but rounding turned them into each
        other: what the first seem to have grown more the last seem to have grown less. The m-th largest of them has
        grown at most as much as the first m on average.
        """
        log_growth = log_growth.clone()
        log_growth[:, -1] += self.error.where(self.is_bound, 0.0)
        is_lost = self.is_bound & (self.n_bounded > 0)
        total, order = log_growth.sum(1).where(is_lost, -torch.inf).sort(dim=1, descending=True)
        average = total.cumsum(1) / torch.arange(1, total.shape[1] + 1)
        excess = torch.zeros_like(total).scatter_(1, order, average - total)
        log_growth[:, -1] += excess.where(is_lost, 0.0)
        log_growth.masked_fill_(self.is_dead[:, None], -torch.inf)
        log_growth.masked_fill_(self.is_unresolved[:, None], torch.nan)
        log_growth[list(self.casualties.diverged)] = torch.nan
        return log_growth

    def report(self, system: object, remedy: str, on_divergence: str) -> None:
        """Warn about all of it, or raise `DivergenceError` about what is not known; `remedy` is that of bounds."""
        unknown = [*self._about_divergence(system), *self._about_unresolved()]
        if unknown and on_divergence == "raise":
            raise DivergenceError("; ".join(unknown))
        if unknown:
            warnings.warn("; ".join(unknown), DivergenceWarning, stacklevel=5)
        for message in (*self._about_dead(system), *self._about_bounds(system, remedy)):
            warnings.warn(message, LostDirectionWarning, stacklevel=5)

    def _about_divergence(self, system: object) -> list[str]:
        return about_divergence(system, self.casualties.diverged, self.casualties.overflowed, "exponents")

    def _about_unresolved(self) -> list[str]:
        if not bool(self.is_unresolved.any()):
            return []
        return [
            f"{_counted(self.is_unresolved)} fell below rounding between re-orthonormalisations; their exponents are "
            "NaN: use a shorter interval or 'adaptive'"
        ]

    def _about_dead(self, system: object) -> list[str]:
        if not bool(self.is_dead.any()):
            return []
        first = min(self.casualties.first_death, key=self.casualties.first_death.__getitem__)
        return [
            f"{system}: {_counted(self.is_dead)} were mapped to zero exactly, first in trajectory {first} at step "
            f"{self.casualties.first_death[first]}; their exponents are −inf"
        ]

    def _about_bounds(self, system: object, remedy: str) -> list[str]:
        if not bool(self.is_bound.any()):
            return []
        most = int(self.n_bounded[self.is_bound].max())
        how = (
            f"fell below rounding in up to {most} step{'s' * (most > 1)} each"
            if most
            else "are uncertain by rounding errors"
        )
        return [
            f"{system}: {_counted(self.is_bound)} {how}; their exponents are upper bounds (is_bound). "
            f"The remedy: {remedy}"
        ]


def about_divergence(system: object, diverged: dict[int, int], overflowed: set[int], what: str) -> list[str]:
    """Return which trajectories diverged at which steps, so that their `what` are NaN; nothing if none did."""
    if not diverged:
        return []
    named = [f"trajectory {b} at step {t}" for b, t in sorted(diverged.items())]
    message = f"{system} gave non-finite values: {_some(named)}; their {what} are NaN"
    if overflowed:
        message += f". In {len(overflowed)} of them the state stayed finite: a Jacobian overflowed or is not a number"
    hint = getattr(system, "divergence_hint", "")
    return [f"{message}. {hint}" if hint else message]


def _counted(lost: Tensor) -> str:
    """Return how many directions (B, k) were lost, and which first."""
    trajectory, direction = lost.nonzero()[0].tolist()
    directions, trajectories = int(lost.sum()), int(lost.any(1).sum())
    return (
        f"{directions} direction{'s' * (directions > 1)} of {trajectories} "
        f"{'trajectories' if trajectories > 1 else 'trajectory'}, the first number {direction} of trajectory "
        f"{trajectory},"
    )


def _some(named: Sequence[str]) -> str:
    return ", ".join(named[:NAMED]) + (f" and {len(named) - NAMED} more" if len(named) > NAMED else "")
