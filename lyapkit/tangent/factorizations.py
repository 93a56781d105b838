"""Factorisations V = L Q of pushed frames, L lower triangular: what grew stands on L's diagonal, Q is the new frame.

Rows are perturbations, so V (B, k, N) is the transpose of what textbooks factor. Each class takes a batch of frames,
and says for every one of them whether its factors can be trusted, from LAPACK's own status and the signs and
finiteness of the diagonal. Rows of zeros are directions that were lost before; `is_alive` (B, k) tells them apart,
and they stay zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.tangent import lapack

CANCELLED = 0.1  # of the longest row, what a shorter one is taken for
SMALL = 32  # rows up to which a QR is cheaper than an LU


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

    def new_frame(self) -> Tensor:
        """Return rows (B, k, N) that span what the frame's do, well conditioned."""
        raise NotImplementedError

    def condition(self, frame: Tensor) -> Tensor:
        """Return the worst ratio (B,) of a row's length to what is left of it without the rows before, for the frame V.

        Log L_ii is known to machine epsilon times this ratio. A row may be short because the steps cancelled what was
        in it, and then it is known no better than others; so its length counts as a tenth of the longest at least.
        """
        left = self.diagonal if self._is_alive is None else self.diagonal.masked_fill(~self._is_alive, torch.inf)
        length = torch.linalg.vector_norm(frame, dim=-1)
        return (torch.maximum(length, CANCELLED * length.amax(1, keepdim=True)) / left).amax(1)


def cheapest(frame: Tensor, is_alive: Tensor | None) -> Factors:
    """Return the cheapest factorisation with a well-conditioned new frame."""
    return HouseholderQR(frame, is_alive) if frame.shape[1] <= SMALL else PivotedLU(frame, is_alive)


class HouseholderQR(Factors):
    """V = L Q with orthonormal rows Q, by Householder reflections."""

    def __init__(self, frame: Tensor, is_alive: Tensor | None = None) -> None:
        self._frame = frame
        is_large_on_cpu = frame.device.type == "cpu" and frame.shape[1] > SMALL
        self._lower = lapack.lower_of_qr(frame) if is_large_on_cpu else torch.geqrf(frame.mT)[0][:, : frame.shape[1]].mT
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

    A third of the work of a QR.
    """

    def __init__(self, frame: Tensor, is_alive: Tensor | None = None) -> None:
        if frame.device.type == "cpu":
            self._factors, self._pivots, info = lapack.lu(frame)  # the factors transposed: L and W
        else:
            factors, self._pivots, info = torch.linalg.lu_factor_ex(frame.mT)
            self._factors = factors.mT.contiguous()
        self.diagonal = _neutral_where_dead(self._factors.diagonal(dim1=1, dim2=2).abs(), is_alive)
        self.is_trusted = (info >= 0) & _all_positive(self.diagonal)  # info > 0 is a zero on the diagonal
        self._is_alive = is_alive

    def lower(self) -> Tensor:
        """Return L (B, k, k). To be asked for before `new_frame`, which takes its place."""
        return self._factors[:, :, : self._factors.shape[1]].tril()

    def new_frame(self) -> Tensor:
        """Return W."""
        rows = lapack.unit_upper(self._factors, self.columns())
        return rows if self._is_alive is None else rows.where(self._is_alive[:, :, None], 0.0)

    def columns(self) -> Tensor:
        """Return the columns (B, N) of V in the order of pivoting: W is a unit upper triangle in the first k."""
        n = self._factors.shape[2]
        if self._pivots.device.type != "cpu":
            unpacked = torch.lu_unpack(self._factors.mT, self._pivots, unpack_data=False)[0]
            return unpacked.argmax(1)
        return lapack.columns_in_order_of_pivoting(self._pivots, n)


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
