"""LAPACK on batches of matrices on the CPU: one matrix at a time, the matrices shared out among threads.

PyTorch's own LU of batches is wrong on several threads (its issue 141358). Here every matrix is done by one thread, by
SciPy's LAPACK, and so two in the time of one; results do not depend on the number of threads. Only where there are
fewer matrices than threads all threads do one after the other, by PyTorch's.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from scipy.linalg.lapack import get_lapack_funcs
from threadpoolctl import ThreadpoolController
from torch import Tensor

BLOCK = 64  # columns that LAPACK's QR does at once
WORTH_A_THREAD = 300_000  # operations


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

    _for_each(factor, batch, k * k * n)
    return factors, pivots, info


def swap_back(rows: Tensor, pivots: Tensor) -> None:
    """Bring the columns of matrices (B, k, n) from the order of pivoting into their own, in place."""
    (laswp,) = get_lapack_funcs(("laswp",), dtype=rows.numpy().dtype)
    places, swaps = rows.numpy(), pivots.numpy()
    batch, k, n = rows.shape
    _for_each(lambda index: laswp(places[index].T, swaps[index], inc=-1, overwrite_a=1), batch, 10 * k * n)


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

    _for_each(factor, batch, 2 * k * k * n)
    return lower


def _for_each(task: Callable[[int], object], n_tasks: int, n_operations: int) -> None:
    """Do a task of so many operations for every index, on as many threads as PyTorch may use, this one included."""
    n_threads = max(1, min(torch.get_num_threads(), n_tasks, n_tasks * n_operations // WORTH_A_THREAD))

    def share(first: int) -> None:
        for index in range(first, n_tasks, n_threads):
            task(index)

    with _ONE_THREAD_EACH():
        others = [_helpers(torch.get_num_threads()).submit(share, first) for first in range(1, n_threads)]
        share(0)
        for other in others:
            other.result()


@functools.lru_cache(maxsize=1)
def _helpers(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="lyapkit-lapack")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.cache_clear)  # threads do not survive a fork


class _OneThreadEach:
    """A context in which LAPACK uses no threads of its own; runs in several threads may be in it at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_inside = 0
        self._before: list[int] = []

    @functools.cached_property
    def _libraries(self) -> list:
        return ThreadpoolController().select(user_api="blas").lib_controllers

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._n_inside == 0:
                self._before = [library.num_threads for library in self._libraries]
                self._set([1] * len(self._before))
            self._n_inside += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_inside -= 1
                if self._n_inside == 0:
                    self._set(self._before)

    def _set(self, numbers: list[int]) -> None:
        for library, n_threads in zip(self._libraries, numbers, strict=True):
            library.set_num_threads(n_threads)


_ONE_THREAD_EACH = _OneThreadEach()
