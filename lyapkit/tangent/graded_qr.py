"""`GradedQR`: V = L Q of the frame that one step leaves, however strongly it contracts, directions lost put last."""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.tangent.graded_lu import SAFETY, GradedLU


class GradedQR:
    """V = L Q with orthonormal rows Q and L lower triangular, its diagonal not negative.

    Rows that were mapped to zero, or that rounding hides, come last: the others do not depend on them. Q is complete:
    the rows of those lost are orthonormal to the others, and mean nothing else.

    Parameters
    ----------
    pushed : Tensor
        (B, k, N): V.
    maps_to_zero : bool
        Whether a system can map a perturbation to zero exactly; if not, what is zero is so by underflow.

    Attributes
    ----------
    order : Tensor or None
        (B, k): which row of V each row of the results belongs to; None for the order of V.
    lower, frame : Tensor
        (B, k, k) and (B, k, N): L and Q.
    log_growth : Tensor
        (B, k): log L_ii; −inf for those mapped to zero; a bound of those hidden.
    is_dead, is_lost : Tensor
        (B, k) bool: directions that were mapped to zero exactly, and directions that rounding hides.
    """

    def __init__(self, pushed: Tensor, maps_to_zero: bool = True) -> None:
        is_entry = pushed != 0
        is_zero, n_columns = ~is_entry.any(2), is_entry.any(1).sum(1, keepdim=True)
        order, settled = is_zero.byte().argsort(dim=1, stable=True), is_zero.sort(dim=1, stable=True).values
        least = SAFETY * torch.finfo(pushed.dtype).eps * torch.linalg.vector_norm(pushed, dim=2).amax(1, keepdim=True)
        while True:
            rows = pushed.gather(1, order[:, :, None].expand_as(pushed))
            self.lower, self.frame = sorted_qr(rows)
            size = self.lower.diagonal(dim1=1, dim2=2)
            is_beyond = ((~settled).cumsum(1) > n_columns) & ~settled  # no more rows than columns are independent
            is_hidden = (size <= least) & ~is_beyond & ~settled
            doubtful = is_hidden.any(1).nonzero().flatten()
            if not len(doubtful):
                break
            is_hidden[doubtful] = _is_hidden(rows[doubtful]) & ~(is_beyond | settled)[doubtful]
            if not bool(is_hidden.any()):
                break
            settled = settled | (is_hidden & (is_hidden.cumsum(1) == 1))  # those after it may be hidden by it alone
            moved = (settled.byte() + (settled | is_hidden | is_beyond).byte()).argsort(dim=1, stable=True)
            order, settled = order.gather(1, moved), settled.gather(1, moved)
        is_gone = settled | is_beyond
        is_exact = is_zero.gather(1, order) | ((~is_gone).sum(1, keepdim=True) == n_columns)
        self.is_dead = is_gone & is_exact & maps_to_zero
        self.is_lost = is_gone & ~self.is_dead
        growth = torch.where(self.is_lost, torch.maximum(size, least), size).log()
        self.log_growth = growth.masked_fill(self.is_dead, -torch.inf)
        self.order = None if bool((order[:, 1:] > order[:, :-1]).all()) else order


def _is_hidden(rows: Tensor) -> Tensor:
    """Return which rows (B, k) cannot be told from those before them because of rounding."""
    factors = GradedLU(rows, torch.ones_like(rows[:, :, 0], dtype=torch.bool))
    return (factors.is_lost | factors.is_dead).gather(1, factors.order.argsort(1))


def sorted_qr(pushed: Tensor) -> tuple[Tensor, Tensor]:
    """Return L (B, k, k) and Q (B, k, N) of V = L Q, by Householder reflections that meet the large columns first.

    Saturated units scale columns of V by tens of orders of magnitude; in this order small growths keep their digits.
    """
    k = pushed.shape[1]
    order = pushed.abs().amax(1).argsort(dim=1, descending=True)[:, None].expand_as(pushed)
    factored, reflections = torch.geqrf(pushed.gather(2, order).mT)
    upper = factored[:, :k].triu()
    signs = torch.where(upper.diagonal(dim1=1, dim2=2) < 0, -1.0, 1.0).to(pushed.dtype)
    frame = torch.linalg.householder_product(factored, reflections).mT * signs[:, :, None]
    return upper.mT * signs[:, None], torch.empty_like(frame).scatter_(2, order, frame)
