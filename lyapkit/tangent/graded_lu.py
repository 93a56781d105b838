"""`GradedLU`: V = L W of frames that one step has contracted far below rounding, and how well each growth is known."""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.tangent.factorizations import PivotedLU

SAFETY = 20.0  # machine epsilons that a rounding error is counted as
CLEAR = 1e-3  # relative error below which a growth is known whatever was lost in the rows before
LOST = 0.1  # relative error of a growth from which on only a bound is known


class GradedLU:
    """V = L W by elimination with columns pivoted, and an estimate of every growth's error.

    A saturated unit scales one *column* of V by tens of orders of magnitude. Elimination never mixes columns, and
    pivoting takes the large ones first; so tiny growths keep their digits, and so do tiny components of the new rows
    W, which a QR would drown in rounding. Where a small growth comes about by cancellation instead, it is lost. Which
    of both it is, is estimated to first order: with entries V_jn known to rounding times the `sizes` S_jn of what was
    added up in them, L_ii is known to

        δ_i = γ (Σ_jm (L_ii (L⁻¹)_ij S_jp(m) (W⁻¹)_mi)²)^½,   p the pivots, γ some machine epsilons,

    as rounding errors are as good as independent, not less than in any column that is not yet a pivot, and not better
    than numbers near underflow allow. Rows that are mapped to zero are moved behind the others, which do not depend on
    them.

    Parameters
    ----------
    frame : Tensor
        (B, k, N): V.
    is_alive : Tensor
        (B, k): rows that were not lost to zero before.
    sizes : Tensor, optional
        (B, k, N): S. Default: the norms of V's columns, more than they can be.
    impurity : Tensor, optional
        (B, k): what a row may have held, before the step, of the directions of rows after it, by rounding. Where those
        grow so much more that it is seen, the row and those between are lost, too. Default: none.

    Attributes
    ----------
    order : Tensor
        (B, k): which row of V each row of the results belongs to. Those dead come last.
    log_diagonal, log_error : Tensor
        (B, k): log L_ii, and log δ_i.
    is_lost : Tensor
        (B, k): rows that cannot be told from rounding, or come after such rows and depend on them.
    log_bound : Tensor
        (B, k): log of a bound on the growth of rows that are lost.
    is_dead : Tensor
        (B, k): rows that are exactly zero, or in excess of the columns that are not.
    frame : Tensor
        (B, k, N): W, of which the dead rows mean nothing.
    """

    log_diagonal: Tensor
    log_error: Tensor
    log_bound: Tensor

    def __init__(
        self, frame: Tensor, is_alive: Tensor, sizes: Tensor | None = None, impurity: Tensor | None = None
    ) -> None:
        scale = frame.abs().amax((1, 2))[:, None]
        self._scale = torch.where(scale > 0, scale, 1.0)
        frame = frame / self._scale[:, :, None]
        self.order = torch.argsort((~is_alive).byte(), dim=1, stable=True)
        sizes = _norms_of_columns(frame).expand_as(frame) if sizes is None else sizes / self._scale[:, :, None]
        for _ in range(frame.shape[1]):
            rows = self.order[:, :, None].expand_as(frame)
            self._factor(
                frame.gather(1, rows),
                sizes.gather(1, rows),
                None if impurity is None else impurity.gather(1, self.order),
            )
            if not bool((self.is_dead[:, :-1] & ~self.is_dead[:, 1:]).any()):
                break
            self.order = self.order.gather(1, torch.argsort(self.is_dead.byte(), dim=1, stable=True))
        self.log_diagonal = self.log_diagonal + self._scale.log()
        self.log_error = self.log_error + self._scale.log()
        self.log_bound = self.log_bound + self._scale.log()

    def _factor(self, frame: Tensor, sizes: Tensor, impurity: Tensor | None) -> None:
        k, n = frame.shape[1:]
        limits = torch.finfo(frame.dtype)
        factors = PivotedLU(frame)
        size, columns, lower = factors.diagonal.clone(), factors.columns(), factors.lower()
        self.frame = factors.new_frame()
        is_zero = frame == 0
        is_row = ~is_zero.all(2)
        self.is_dead = ~is_row | (is_row.cumsum(1) > (~is_zero.all(1)).sum(1, keepdim=True))

        diagonal = lower.diagonal(dim1=1, dim2=2)
        unscaled, lower = lower, lower / torch.where(diagonal == 0, 1.0, diagonal)[:, None]
        lower.diagonal(dim1=1, dim2=2).fill_(1.0)
        upper = self.frame.gather(2, columns[:, None, :k].expand(-1, k, -1))
        sizes = sizes.gather(2, columns[:, None].expand(-1, k, -1))
        unit = torch.eye(k, dtype=frame.dtype, device=frame.device).expand_as(lower)
        of_rows = torch.linalg.solve_triangular(lower, unit, upper=False).square() @ sizes.square()
        of_columns = torch.linalg.solve_triangular(upper, unit, upper=True).square()
        at_pivots, elsewhere = of_rows[:, :, :k], of_rows[:, :, k:]
        rounding = (at_pivots * of_columns.mT).sum(2)
        rounding = torch.maximum(rounding, at_pivots.triu().amax(2))
        if n > k:
            rounding = torch.maximum(rounding, elsewhere.amax(2))
        rounding = rounding.sqrt()
        least = n * limits.tiny / limits.eps / self._scale  # what underflow may hide
        error = SAFETY * limits.eps * rounding + least
        self.log_diagonal, self.log_error = size.log(), error.log()
        is_hidden = ~(error < LOST * size) & ~self.is_dead
        if impurity is not None:  # rows hold a little of those after them, which may have grown so much more
            drowned = (impurity[:, :, None] * size[:, None] > CLEAR * size[:, :, None]).triu(1)
            last = torch.where(drowned, torch.arange(k, device=size.device), -1).amax(2)
            is_hidden |= (last.cummax(1).values >= torch.arange(k, device=size.device)) & ~self.is_dead
        is_after = is_hidden.cumsum(1) > 0
        self.is_lost = is_hidden | (is_after & ~(error < CLEAR * size) & ~self.is_dead)
        # of a lost row: what is left of it without the known rows before the first lost one
        left = frame - (unscaled * ~is_after[:, None]).tril(-1) @ self.frame
        largest_after = size.flip(1).cummax(1).values.flip(1)
        bound = torch.maximum(torch.linalg.vector_norm(left, dim=2), largest_after) + error
        longest = torch.linalg.vector_norm(frame, dim=2) + SAFETY * limits.eps * torch.linalg.vector_norm(sizes, dim=2)
        self.log_bound = torch.maximum(torch.minimum(bound, longest), least).log()


def _norms_of_columns(frame: Tensor) -> Tensor:
    """Return the norms of columns, (B, 1, N), without underflow of squares."""
    largest = frame.abs().amax(1, keepdim=True)
    safe = torch.where(largest > 0, largest, 1.0)
    return torch.linalg.vector_norm(frame / safe, dim=1, keepdim=True) * largest
