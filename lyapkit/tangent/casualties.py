"""What a run lost, and how that is said: trajectories that diverged; directions dead, bounded, or not known."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.tangent.bundle import Bundle
from lyapkit.tangent.single_steps import Renewal

NAMED = 10  # trajectories that a message names


class DivergenceWarning(RuntimeWarning):
    """A trajectory left the finite numbers, or a direction could not be resolved; the result has NaN there."""


class LostDirectionWarning(DivergenceWarning):
    """A direction was mapped to zero (its exponent is −inf), or is known by an upper bound only (`is_bound`)."""


class DivergenceError(ArithmeticError):
    """What `DivergenceWarning` says, for callers who asked for an error."""


class Casualties:
    """What becomes of the trajectories and directions of a run, numbered as the vectors of the first frame.

    Attributes
    ----------
    is_moving : Tensor
        (B,): trajectories that did not diverge.
    diverged : dict
        Trajectory to the step, counted from the start of the run, that first produced a non-finite value.
    overflowed : set
        Those of them whose state stayed finite, while perturbations did not.
    first_death : dict
        Trajectory to the step at which it first lost a direction to zero.
    """

    def __init__(self, everyone: Bundle) -> None:
        self.is_moving = torch.ones(len(everyone), dtype=torch.bool, device=everyone.state.device)
        self.diverged: dict[int, int] = {}
        self.overflowed: set[int] = set()
        self.first_death: dict[int, int] = {}

    def diverge(self, bundle: Bundle, which: Tensor, time: int, state: Tensor) -> None:
        """Note that trajectories of a bundle, `which` (b,), became non-finite at a step that led to `state` (b, N)."""
        for index in which.nonzero().flatten().tolist():
            trajectory = int(bundle.members[index])
            self.is_moving[trajectory] = False
            self.diverged[trajectory] = time
            if bool(state[index].isfinite().all()):
                self.overflowed.add(trajectory)

    def note_deaths(self, bundle: Bundle, rows: Renewal) -> None:
        """Note which trajectories of a bundle lose rows to zero in its next step."""
        died = (rows.is_alive.sum(1) < bundle.is_alive.sum(1)).nonzero().flatten()
        for trajectory in bundle.members[died].tolist():
            self.first_death.setdefault(trajectory, bundle.time)

    def conclude(self, everyone: Bundle, tolerance: float) -> Losses:
        """Return what was lost at the end of a run.

        `tolerance` is the error of a log-growth that makes it a bound; where the error is infinite, it is not known.
        """
        error = everyone.by_direction(everyone.error).cpu()
        n_bounded = everyone.by_direction(everyone.n_bounded).cpu()
        is_moving = self.is_moving[:, None].cpu()
        is_dead = is_moving & ~everyone.by_direction(everyone.is_alive).cpu()
        is_unresolved = is_moving & error.isinf()
        is_bound = is_moving & ((n_bounded > 0) | (error > tolerance)) & ~is_dead & ~is_unresolved
        return Losses(self, is_dead & ~is_unresolved, is_unresolved, is_bound, n_bounded, error)


@dataclass
class Losses:
    """What a run lost, directions (B, k) in the order of the first frame's vectors, on the CPU."""

    trajectories: Casualties
    is_dead: Tensor
    is_unresolved: Tensor
    is_bound: Tensor
    n_bounded: Tensor
    error: Tensor

    def mark(self, log_growth: Tensor) -> Tensor:
        """Return log-growth (B, M, k) with −inf for dead directions, NaN for unknown ones, and bounds as bounds."""
        log_growth = log_growth.clone()
        log_growth[:, -1] += self.error.where(self.is_bound, 0.0)
        log_growth.masked_fill_(self.is_dead[:, None], -torch.inf)
        log_growth.masked_fill_(self.is_unresolved[:, None], torch.nan)
        log_growth[list(self.trajectories.diverged)] = torch.nan
        return log_growth

    def report(self, system: object, dtype: torch.dtype, on_divergence: str) -> None:
        """Warn about all of it, or raise `DivergenceError` about what is not known."""
        unknown = [*self._about_divergence(system), *self._about_unresolved()]
        if unknown and on_divergence == "raise":
            raise DivergenceError("; ".join(unknown))
        if unknown:
            warnings.warn("; ".join(unknown), DivergenceWarning, stacklevel=5)
        for message in (*self._about_dead(system), *self._about_bounds(system, dtype)):
            warnings.warn(message, LostDirectionWarning, stacklevel=5)

    def _about_divergence(self, system: object) -> list[str]:
        if not self.trajectories.diverged:
            return []
        named = [f"trajectory {b} at step {t}" for b, t in sorted(self.trajectories.diverged.items())]
        message = f"{system} gave non-finite values: {_some(named)}; their exponents are NaN"
        if self.trajectories.overflowed:
            n_overflowed = len(self.trajectories.overflowed)
            message += f". In {n_overflowed} of them the state stayed finite: a Jacobian overflowed or is not a number"
        hint = getattr(system, "divergence_hint", "")
        return [f"{message}. {hint}" if hint else message]

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
        first = min(self.trajectories.first_death, key=self.trajectories.first_death.get)
        return [
            f"{system}: {_counted(self.is_dead)} were mapped to zero exactly, first in trajectory {first} at step "
            f"{self.trajectories.first_death[first]}; their exponents are −inf"
        ]

    def _about_bounds(self, system: object, dtype: torch.dtype) -> list[str]:
        if not bool(self.is_bound.any()):
            return []
        remedy = "inputs of a smaller scale" if dtype == torch.float64 else "dtype='float64'"
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
