"""`Bundle`: trajectories that move together, with their frames and what is known of every row."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lyapkit.tangent.pacing import Pace

if TYPE_CHECKING:
    from lyapkit.tangent.single_steps import Step

ROW_WISE = ("frame", "order", "is_alive", "log_growth", "error", "n_bounded")


@dataclass
class Bundle:
    """b trajectories at one time, with r rows (perturbations) each.

    Attributes
    ----------
    members : Tensor
        (b,): which trajectories of the run they are.
    state, frame : Tensor
        (b, N) and (b, r, N). Dead rows are zero and stand last.
    order : Tensor
        (b, r): which vector of the first frame each row continues.
    is_alive : Tensor
        (b, r): rows that were not mapped to zero.
    log_growth : Tensor
        (b, r), float64: since the interval began.
    error : Tensor
        (b, r), float64: bounds on the rounding errors of log-growths beyond what the accuracy allows, added up.
    n_bounded : Tensor
        (b, r): number of steps in which only a bound on the row's growth was found.
    condition : Tensor
        (b,), float64: the worst since the interval began.
    time : int
        Steps done since the start of the run.
    pace : Pace
        How far they go at once.
    has_dead_rows : bool
        Whether some row is dead.
    """

    members: Tensor
    state: Tensor
    frame: Tensor
    order: Tensor
    is_alive: Tensor
    log_growth: Tensor
    error: Tensor
    n_bounded: Tensor
    condition: Tensor
    time: int
    pace: Pace
    has_dead_rows: bool = False

    @classmethod
    def start(cls, state: Tensor, frame: Tensor, pace: Pace) -> Bundle:
        """Return all trajectories of a run at its start."""
        rows, device = frame.shape[:2], frame.device
        return cls(
            members=torch.arange(len(state), device=device),
            state=state,
            frame=frame,
            order=torch.arange(rows[1], device=device).expand(rows).clone(),
            is_alive=torch.ones(rows, dtype=torch.bool, device=device),
            log_growth=torch.zeros(rows, dtype=torch.float64, device=device),
            error=torch.zeros(rows, dtype=torch.float64, device=device),
            n_bounded=torch.zeros(rows, dtype=torch.int64, device=device),
            condition=torch.ones(rows[0], dtype=torch.float64, device=device),
            time=0,
            pace=pace,
        )

    def __len__(self) -> int:
        """Return the number of trajectories."""
        return len(self.members)

    @property
    def mask(self) -> Tensor | None:
        """`is_alive`, or None if all rows are."""
        return self.is_alive if self.has_dead_rows else None

    def select(self, which: Tensor) -> Bundle:
        """Return a bundle of some of the trajectories, (b,) bool, without the dead rows that all of them have."""
        tensors = {
            f.name: getattr(self, f.name)[which] for f in fields(self) if isinstance(getattr(self, f.name), Tensor)
        }
        part = replace(self, **tensors)
        if not self.has_dead_rows or not len(part):
            return part
        n_rows = max(1, int(part.is_alive.sum(1).max()))
        part.has_dead_rows = not bool(part.is_alive[:, :n_rows].all())
        for name in ROW_WISE:
            setattr(part, name, getattr(part, name)[:, :n_rows].contiguous())
        return part

    def put_back(self, part: Bundle, where: Tensor) -> None:
        """Copy what became of some of the trajectories, at `where` (b,) bool or indices, into this bundle."""
        n_rows = part.order.shape[1]
        for f in fields(self):
            own, new = getattr(self, f.name), getattr(part, f.name)
            if isinstance(own, Tensor):
                own = own.clone()  # what a system returned may be shared with it
                if f.name in ROW_WISE:
                    own[where, :n_rows] = new
                else:
                    own[where] = new
                setattr(self, f.name, own)
        self.frame[where, n_rows:] = 0.0  # rows that were dead already
        self.has_dead_rows = self.has_dead_rows or part.has_dead_rows

    def take(self, step: Step, n_steps: int) -> None:
        """Take what a careful step made of states and rows, `n_steps` later."""
        rows = step.rows
        for name in ("order", "log_growth", "error", "n_bounded"):
            setattr(self, name, getattr(self, name).gather(1, rows.order))
        self.log_growth += rows.log_growth
        self.error += rows.error
        self.n_bounded += rows.is_lost
        self.is_alive = rows.is_alive
        self.has_dead_rows = not bool(rows.is_alive.all())
        self.condition = torch.maximum(self.condition, rows.error.amax(1) / torch.finfo(step.frame.dtype).eps)
        self.state, self.frame = step.state, step.frame
        self.time += n_steps

    def forget_losses(self) -> None:
        """Put random directions in place of dead rows, and forget what was lost so far."""
        if self.has_dead_rows:
            noise = torch.randn(self.frame.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
            filled = torch.where(self.is_alive[:, :, None], self.frame, noise.to(self.frame))
            self.frame = torch.linalg.qr(filled.mT)[0].mT.contiguous()
            self.is_alive = torch.ones_like(self.is_alive)
            self.has_dead_rows = False
        self.error.zero_()
        self.n_bounded.zero_()

    def by_direction(self, values: Tensor) -> Tensor:
        """Return values (b, r) or (b, r, N) in the order of the first frame's vectors."""
        order = self.order if values.ndim == 2 else self.order[:, :, None].expand_as(values)
        return torch.empty_like(values).scatter_(1, order, values)
