"""Factorisations V = L Q of pushed frames, L lower triangular: what grew stands on L's diagonal, Q is the new frame.

Rows are perturbations, so V (B, k, N) is the transpose of what textbooks factor. Each class takes a batch of frames,
and says for every one of them whether its factors can be trusted, from LAPACK's own status and the signs and
finiteness of the diagonal. Rows of zeros are directions that were lost before; `is_alive` (B, k) tells them apart,
and they stay zero.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Factors:
    """What all factorisations have in common.

    Attributes
    ----------
    diagonal : Tensor
        (B, k): |diag L|; 1 for rows that are not alive.
    is_trusted : Tensor
        (B,): whether all growths are finite and positive, and LAPACK had nothing to say.
    """

    diagonal: Tensor
    is_trusted: Tensor
    _is_alive: Tensor | None

    def condition(self, frame: Tensor) -> Tensor:
        """Return the ratio (B,) of the largest growth to the smallest part that is left of a row, for the frame V.

        Entries of V are known to machine epsilon times the largest growth, so log L_ii to epsilon times this ratio.
        """
        left = self.diagonal if self._is_alive is None else self.diagonal.masked_fill(~self._is_alive, torch.inf)
        return torch.linalg.vector_norm(frame, dim=-1).amax(1) / left.amin(1)


class HouseholderQR(Factors):
    """V = L Q with orthonormal rows Q, by Householder reflections."""

    def __init__(self, frame: Tensor, is_alive: Tensor | None = None) -> None:
        self._frame = frame
        self._lower = torch.geqrf(frame.mT)[0][:, : frame.shape[1]].mT
        self.diagonal = _neutral_where_dead(self._lower.diagonal(dim1=-2, dim2=-1).abs(), is_alive)
        self.is_trusted = _all_positive(self.diagonal)
        self._is_alive = is_alive

    def new_frame(self) -> Tensor:
        """Return Q."""
        return _solved(self._lower, self._frame, self._is_alive)


class CholeskyQR(Factors):
    """V = L Q with orthonormal rows Q, by L Lᵀ = V Vᵀ: cheap, but it squares the condition. For gentle frames."""

    def __init__(self, frame: Tensor, is_alive: Tensor | None = None) -> None:
        self._frame = frame
        product = frame @ frame.mT
        if is_alive is not None:
            product.diagonal(dim1=-2, dim2=-1).add_((~is_alive).to(product))
        self._lower, info = torch.linalg.cholesky_ex(product)
        self.diagonal = self._lower.diagonal(dim1=-2, dim2=-1)
        self.is_trusted = (info == 0) & _all_positive(self.diagonal)
        self._is_alive = is_alive

    def new_frame(self) -> Tensor:
        """Return Q."""
        return _solved(self._lower, self._frame, None)


class PivotedLU(Factors):
    """V = L W with columns pivoted: rows W that are not orthonormal but well conditioned, entries at most 1.

    A third of the work of a QR. On a CPU one matrix at a time: LAPACK's LU of batches is wrong there with several
    threads (PyTorch issue 141358).
    """

    def __init__(self, frame: Tensor, is_alive: Tensor | None = None) -> None:
        columns = frame.mT
        if frame.device.type == "cpu":
            parts = [torch.linalg.lu_factor_ex(matrix)[:2] for matrix in columns.unbind()]
            self._factors, self._pivots = (torch.stack(part) for part in zip(*parts, strict=True))
        else:
            self._factors, self._pivots, _ = torch.linalg.lu_factor_ex(columns)
        self.diagonal = _neutral_where_dead(self._factors.diagonal(dim1=-2, dim2=-1).abs(), is_alive)
        self.is_trusted = _all_positive(self.diagonal)  # a zero pivot, LAPACK's info, is a zero on the diagonal
        self._is_alive = is_alive

    def lower(self) -> Tensor:
        """Return L (B, k, k)."""
        return self._factors[:, : self._factors.shape[2]].mT.tril()

    def new_frame(self) -> Tensor:
        """Return W."""
        rows = self._factors.mT.triu(1)
        rows.diagonal(dim1=-2, dim2=-1).fill_(1.0)
        rows = rows.gather(-1, self._columns().argsort(1)[:, None].expand_as(rows))
        return rows if self._is_alive is None else rows * self._is_alive[:, :, None]

    def pivot_columns(self) -> Tensor:
        """Return the column (B, k) that each row took for its pivot: there W is a unit upper triangle."""
        return self._columns()[:, : self._factors.shape[2]]

    def _columns(self) -> Tensor:
        """Return which column of V each place (B, N) was given to."""
        pivoting = torch.lu_unpack(self._factors, self._pivots, unpack_data=False)[0]
        return pivoting.argmax(1)


def _solved(lower: Tensor, frame: Tensor, is_alive: Tensor | None) -> Tensor:
    """Return L⁻¹ V, with zeros for rows that are not alive."""
    if is_alive is not None:
        lower = lower.clone()
        lower.diagonal(dim1=-2, dim2=-1).masked_fill_(~is_alive, 1.0)
    return torch.linalg.solve_triangular(lower, frame, upper=False).contiguous()


def _neutral_where_dead(diagonal: Tensor, is_alive: Tensor | None) -> Tensor:
    return diagonal if is_alive is None else diagonal.masked_fill(~is_alive, 1.0)


def _all_positive(diagonal: Tensor) -> Tensor:
    """Whether all entries (B, k) are finite and positive, (B,)."""
    return ((diagonal > 0) & (diagonal < torch.inf)).all(1)
