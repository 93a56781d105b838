"""`Casualties`: which trajectories diverged, and which first lost directions, noted while a run goes on."""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.tangent.bundle import Bundle
from lyapkit.tangent.losses import Losses
from lyapkit.tangent.renewal import Renewal


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
