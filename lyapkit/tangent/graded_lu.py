"""`GradedLU`: V = L W of frames that one step has contracted far below rounding, and how well each growth is known."""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.tangent.factorizations import PivotedLU

SAFETY = 20.0  # machine epsilons that a rounding error is counted as
CLEAR = 1e-3  # relative error below which a growth is known whatever was lost in the rows before
LOST = 0.1  # relative error of a growth from which on only a bound is known
N_ATTEMPTS = 8  # to find an order in which rows that cannot be told from rounding come last


class GradedLU:
    """V = L W by elimination with columns pivoted, and an estimate of every growth's error.

    A saturated unit scales one *column* of V by tens of orders of magnitude. Elimination never mixes columns, and
    pivoting takes the large ones first; so tiny growths keep their digits, and so do tiny components of the new rows
    W, which a QR would drown in rounding. Where a small growth comes about by cancellation instead, it is lost. Which
    of both it is, is estimated to first order: with entries V_jn known to rounding times the `sizes` S_jn of what was
    added up in them, L_ii is known to

        δ_i = γ (Σ_jm (L_ii (L⁻¹)_ij S_jp(m) (W⁻¹)_mi)²)^½,   p the pivots, γ some machine epsilons,

    as rounding errors are as good as independent, and not better than numbers near underflow allow. Rows that cannot
    be told from rounding would spoil those after them; they are moved behind, and all are factored again.

    Parameters
    ----------
    frame : Tensor
        (B, k, N): V.
    is_alive : Tensor
        (B, k): rows that were not lost to zero before.
    sizes : Tensor, optional
        (B, k, N): S. Default: the norms of V's columns, more than they can be.

    Attributes
    ----------
    order : Tensor
        (B, k): which row of V each row of the results belongs to. Those lost or dead come last.
    log_diagonal, log_error : Tensor
        (B, k): log L_ii, and log δ_i.
    log_norm : Tensor
        (B, k): log ‖V_i‖, which no growth exceeds.
    is_lost : Tensor
        (B, k): rows that cannot be told from rounding: L_ii + δ_i is a bound on their growth.
    is_dead : Tensor
        (B, k): rows that are exactly zero, or in excess of the columns that are not.
    frame : Tensor
        (B, k, N): W, of which the dead rows mean nothing.
    """

    def __init__(self, frame: Tensor, is_alive: Tensor, sizes: Tensor | None = None) -> None:
        scale = frame.abs().amax((1, 2))[:, None]
        self._scale = torch.where(scale > 0, scale, 1.0)
        frame = frame / self._scale[:, :, None]
        self.order = torch.argsort((~is_alive).byte(), dim=1, stable=True)
        sizes = _norms_of_columns(frame).expand_as(frame) if sizes is None else sizes / self._scale[:, :, None]
        for attempt in range(N_ATTEMPTS):
            self._factor(*(x.gather(1, self.order[:, :, None].expand_as(frame)) for x in (frame, sizes)))
            rank = self.is_lost.int() + 2 * self.is_dead.int()
            if attempt == N_ATTEMPTS - 1 or bool((rank.diff(dim=1) >= 0).all()):
                break
            self.order = self.order.gather(1, torch.argsort(rank, dim=1, stable=True))
        self.is_lost = (self.is_lost.cumsum(1) > 0) & ~self.is_dead  # what comes after a lost row is no better known
        self.log_diagonal = self.log_diagonal + self._scale.log()
        self.log_error = self.log_error + self._scale.log()
        self.log_norm = self.log_norm + self._scale.log()

    def _factor(self, frame: Tensor, sizes: Tensor) -> None:
        k, n = frame.shape[1:]
        limits = torch.finfo(frame.dtype)
        factors = PivotedLU(frame)
        size, pivots, lower = factors.diagonal.clone(), factors.pivot_columns(), factors.lower()
        self.frame = factors.new_frame()
        is_zero = frame == 0
        is_row = ~is_zero.all(2)
        self.is_dead = ~is_row | (is_row.cumsum(1) > (~is_zero.all(1)).sum(1, keepdim=True))

        diagonal = lower.diagonal(dim1=1, dim2=2)
        lower = lower / torch.where(diagonal == 0, 1.0, diagonal)[:, None]
        lower.diagonal(dim1=1, dim2=2).fill_(1.0)
        upper, sizes = (x.gather(2, pivots[:, None].expand(-1, k, -1)) for x in (self.frame, sizes))
        unit = torch.eye(k, dtype=frame.dtype, device=frame.device).expand_as(lower)
        of_rows = torch.linalg.solve_triangular(lower, unit, upper=False).square() @ sizes.square()
        of_columns = torch.linalg.solve_triangular(upper, unit, upper=True).square()
        rounding = (of_rows * of_columns.mT).sum(2).sqrt()
        error = SAFETY * limits.eps * rounding + n * limits.tiny / limits.eps / self._scale
        self.log_diagonal, self.log_error = size.log(), error.log()
        self.log_norm = torch.linalg.vector_norm(frame, dim=2).log()
        is_hidden = ~(error < LOST * size) & ~self.is_dead
        is_after = is_hidden.cumsum(1) > 0
        self.is_lost = is_hidden | (is_after & ~(error < CLEAR * size) & ~self.is_dead)


def _norms_of_columns(frame: Tensor) -> Tensor:
    """Return the norms of columns, (B, 1, N), without underflow of squares."""
    largest = frame.abs().amax(1, keepdim=True)
    safe = torch.where(largest > 0, largest, 1.0)
    return torch.linalg.vector_norm(frame / safe, dim=1, keepdim=True) * largest
