"""LAPACK on batches of matrices on the CPU: one matrix at a time, the matrices shared out among threads.

PyTorch's own LU of batches is wrong on several threads (its issue 141358). Here every matrix is done by one thread, by
SciPy's LAPACK, and so two in the time of one; results do not depend on the number of threads. Only where there are
fewer matrices than threads all threads do one after the other, by PyTorch's.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg.lapack import get_lapack_funcs
from torch import Tensor

from lyapkit.tangent.threads import for_each

BLOCK = 64  # columns that LAPACK's QR does at once


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
    batch, k, n = frame.shape
    factors = torch.empty(frame.shape, dtype=frame.dtype)
    pivots, info = torch.empty(batch, k, dtype=torch.int32), torch.empty(batch, dtype=torch.int32)
    if batch < torch.get_num_threads():
        for columns, place in zip(frame.mT, zip(factors.mT, pivots, info, strict=True), strict=True):
            torch.linalg.lu_factor_ex(columns, out=place)
        return factors, pivots - 1, info
    (getrf,) = get_lapack_funcs(("getrf",), dtype=frame.numpy().dtype)
    given, places, swaps, status = frame.numpy(), factors.numpy(), pivots.numpy(), info.numpy()

    def factor(index: int) -> None:
        places[index] = given[index]
        _, swaps[index], status[index] = getrf(places[index].T, overwrite_a=1)

    for_each(factor, batch, k * k * n)
    return factors, pivots, info


def columns_in_order_of_pivoting(pivots: Tensor, n: int) -> Tensor:
    """Return the columns (B, n) of matrices in the order into which pivoting brought them."""
    (laswp,) = get_lapack_funcs(("laswp",), dtype=np.float64)
    in_order = np.arange(n, dtype=np.float64)[:, None]
    swapped = [laswp(in_order, swaps) for swaps in pivots.numpy()]
    return torch.from_numpy(np.stack(swapped)[:, :, 0]).long()


def lower_of_qr(frame: Tensor) -> Tensor:
    """Return L (B, k, k) of matrices V = L Q (B, k, n) with orthonormal rows Q, by Householder reflections.

    Above its diagonal stand numbers that mean nothing.
    """
    batch, k, n = frame.shape
    if batch < torch.get_num_threads():
        return torch.geqrf(frame.mT)[0][:, :k].mT
    lower = torch.empty(batch, k, k, dtype=frame.dtype)
    (geqrf,) = get_lapack_funcs(("geqrf",), dtype=frame.numpy().dtype)
    given, places = frame.numpy(), lower.numpy()

    def factor(index: int) -> None:
        places[index] = geqrf(given[index].T, lwork=BLOCK * k)[0][:k].T

    for_each(factor, batch, 2 * k * k * n)
    return lower
