"""`GradedQR`: V = L Q of frames that one step has contracted far below rounding, and how well each growth is known."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOST = 0.1  # relative error of a growth from which on only a bound is known
N_ATTEMPTS = 8  # to find an order in which rows that cannot be told from rounding come last


class GradedQR:
    """V = L Q of frames that one step has contracted far below rounding, with an estimate of every growth's error.

    A saturated unit scales one *column* of V by tens of orders of magnitude. Householder reflections keep such tiny
    growths to full relative accuracy if columns are sorted by norm, largest first (Cox & Higham 1998, row-wise stability).
    Where a small growth comes about by cancellation instead, it is lost. Which of both it is, is estimated to first order:
    entries of column n are known to rounding times its norm c_n, so that L_ii is known to

        δ_i = γ Σ_n |Q_in| c_n Σ_j |(L⁻¹)_ij| L_ii,   γ of the order of machine epsilon.

    Rows that cannot be told from rounding would spoil those after them; they are moved behind, and factored again.

    Attributes
    ----------
    order : Tensor
        (B, k): which row of V each row of the results belongs to. Those lost or dead come last.
    log_diagonal, log_error : Tensor
        (B, k): log L_ii, and log δ_i.
    is_lost : Tensor
        (B, k): rows that cannot be told from rounding: L_ii + δ_i is a bound on their growth.
    is_dead : Tensor
        (B, k): rows that are exactly zero, or in excess of the columns that are not.
    frame : Tensor
        (B, k, N): Q.
    """

    def __init__(self, frame: Tensor, is_alive: Tensor) -> None:
        scale = frame.abs().amax((1, 2), keepdim=True)
        scale = torch.where(scale > 0, scale, 1.0)
        frame = frame / scale
        self.order = torch.argsort((~is_alive).byte(), dim=1, stable=True)
        for attempt in range(N_ATTEMPTS):
            self._factor(frame.gather(1, self.order[:, :, None].expand_as(frame)))
            rank = self.is_lost.byte() + 2 * self.is_dead.byte()
            if attempt == N_ATTEMPTS - 1 or bool((rank.diff(dim=1) >= 0).all()):
                break
            self.order = self.order.gather(1, torch.argsort(rank, dim=1, stable=True))
        self.is_lost = (self.is_lost.cumsum(1) > 0) & ~self.is_dead  # what comes after a lost row is no better known
        self.log_diagonal = self.log_diagonal + scale[:, 0].log()
        self.log_error = self.log_error + scale[:, 0].log()

    def _factor(self, frame: Tensor) -> None:
        k, n = frame.shape[1:]
        limits = torch.finfo(frame.dtype)
        norms = _safe_norm(frame)
        columns = torch.argsort(-norms, dim=1, stable=True)
        norms = norms.gather(1, columns)
        sorted_frame = frame.gather(2, columns[:, None].expand_as(frame))
        factors, tau = torch.geqrf(sorted_frame.mT)
        rows = torch.linalg.householder_product(factors, tau).mT
        upper = factors[:, :k].triu()
        diagonal = upper.diagonal(dim1=-2, dim2=-1)
        n_columns = (norms > 0).sum(1, keepdim=True)
        is_zero = (frame == 0).all(2)
        self.is_dead = is_zero | (torch.arange(k, device=frame.device) >= n_columns)
        size = diagonal.abs()
        # δ_i / L_ii is a column of the inverse, scaled so that its diagonal is 1 and nothing overflows
        regular = upper + torch.diag_embed((size == 0).to(upper))
        inverse = torch.linalg.solve_triangular(
            regular, torch.diag_embed(regular.diagonal(dim1=-2, dim2=-1)), upper=True
        )
        known = (rows.abs() @ norms[:, :, None])[:, :, 0] * inverse.abs().sum(1)
        error = 2 * math.sqrt(n) * limits.eps * known + n * limits.tiny / limits.eps
        self.log_diagonal, self.log_error = size.log(), error.log()
        self.is_lost = ~(error < LOST * size) & ~self.is_dead
        self.frame = rows.gather(2, columns.argsort(dim=1)[:, None].expand_as(rows))


def _safe_norm(frame: Tensor) -> Tensor:
    """Return the norms of columns, (B, N), without underflow of squares."""
    largest = frame.abs().amax(1, keepdim=True)
    safe = torch.where(largest > 0, largest, 1.0)
    return (torch.linalg.vector_norm(frame / safe, dim=1) * safe[:, 0]) * (largest[:, 0] > 0)
