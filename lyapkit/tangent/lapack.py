"""LAPACK on batches of matrices on the CPU: one matrix at a time, the matrices shared out among threads.

PyTorch's own LU of batches is wrong on several threads (its issue 141358): MKL's cannot be called side by side where
each call has threads of its own. Here every matrix is done by one thread, and so two in the time of one; results do not
depend on the number of threads. Whether that is right on a machine is tried before it is relied on. Only where there
are fewer matrices than threads all threads do one after the other.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import torch
from scipy.linalg.lapack import get_lapack_funcs
from torch import Tensor

from lyapkit.tangent.threads import for_each, one_after_the_other

TRIED, TRIED_ROWS = 4, 256  # matrices per thread, and how large, that are factored to see whether that is right
TRIED_ERROR = 1e-10  # MKL's errors, where there are any, are of the matrices' own size
MOVED = 8  # operations in the time that a number takes from one place in memory to another


def lu(frame: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the LU factorisations of matrices V, their columns pivoted: V = L W.

    Parameters
    ----------
    frame : Tensor
        (B, k, n): V, n at least k.

    Returns
    -------
    factors : Tensor
        (B, k, n): L in the lower triangle; above it W, in the order of pivoting, without its unit diagonal.
    pivots : Tensor
        (B, k), int32: with which column, counted from 0, each one was swapped.
    info : Tensor
        (B,), int32: LAPACK's status; above 0 where there is a zero on L's diagonal.
    """
    n_threads = torch.get_num_threads()
    share_out = for_each if n_threads == 1 or _is_right_side_by_side(n_threads) else one_after_the_other
    return _lu(frame, share_out)


def _lu(frame: Tensor, share_out: Callable[..., None]) -> tuple[Tensor, Tensor, Tensor]:
    batch, k, n = frame.shape
    factors = torch.empty(frame.shape, dtype=frame.dtype)
    pivots, info = torch.empty(batch, k, dtype=torch.int32), torch.empty(batch, dtype=torch.int32)

    def factor(index: int) -> None:
        torch.linalg.lu_factor_ex(frame[index].mT, out=(factors[index].mT, pivots[index], info[index]))

    share_out(factor, batch, k * k * n)
    return factors, pivots - 1, info


@functools.cache
def _is_right_side_by_side(n_threads: int) -> bool:
    """Whether threads that factor matrices at the same time get them right; tried once for each number of threads."""
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(TRIED * n_threads, TRIED_ROWS, TRIED_ROWS, dtype=torch.float64, generator=generator)
    factors, pivots, info = _lu(matrices, for_each)
    if bool(info.any()) or not bool(((pivots >= 0) & (pivots < TRIED_ROWS)).all()):
        return False
    lower, order = factors.tril(), columns_in_order_of_pivoting(pivots, TRIED_ROWS)
    error = (lower @ unit_upper(factors, order) - matrices).abs().max()
    return bool(error < TRIED_ERROR)


def columns_in_order_of_pivoting(pivots: Tensor, n: int) -> Tensor:
    """Return the columns (B, n) of matrices in the order into which pivoting brought them."""
    (laswp,) = get_lapack_funcs(("laswp",), dtype=np.float64)
    in_order = np.arange(n, dtype=np.float64)[:, None]
    swapped = [laswp(in_order, swaps) for swaps in pivots.numpy()]
    return torch.from_numpy(np.stack(swapped)[:, :, 0]).long()


def unit_upper(factors: Tensor, order: Tensor) -> Tensor:
    """Return W (B, k, n) from `lu`'s factors, its columns where V's are; the factors are used up.

    Parameters
    ----------
    factors : Tensor
        (B, k, n), as from `lu`.
    order : Tensor
        (B, n), as from `columns_in_order_of_pivoting`.
    """
    batch, k, n = factors.shape
    rows, where = torch.empty_like(factors), order.argsort(1)

    def put_back(index: int) -> None:
        upper = factors[index].triu_(1)
        upper.diagonal().fill_(1.0)
        torch.gather(upper, 1, where[index].expand_as(upper), out=rows[index])

    for_each(put_back, batch, MOVED * k * n)
    return rows


def lower_of_qr(frame: Tensor) -> Tensor:
    """Return L (B, k, k) of matrices V = L Q (B, k, n) with orthonormal rows Q, by Householder reflections.

    Above its diagonal stand numbers that mean nothing.
    """
    batch, k, n = frame.shape
    lower = torch.empty(batch, k, k, dtype=frame.dtype)

    def factor(index: int) -> None:
        lower[index] = torch.geqrf(frame[index].mT)[0][:k].mT

    for_each(factor, batch, 2 * k * k * n)
    return lower
