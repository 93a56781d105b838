"""Tasks shared out among threads, each of which does its own without PyTorch's threads."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch
from threadpoolctl import ThreadpoolController

WORTH_A_THREAD = 300_000  # operations
SOFT_PAUSE = 1  # omp_pause_soft
_N_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def for_each(task: Callable[[int], object], n_tasks: int, n_operations: int) -> None:
    """Do a task of so many operations for every index, on as many threads as PyTorch may use, this one included.

    Fewer tasks than threads are done one after the other, and each may use all of them.
    """
    n_allowed = torch.get_num_threads()
    if n_tasks < n_allowed:
        one_after_the_other(task, n_tasks, n_operations)
        return
    n_threads = max(1, min(n_allowed, n_tasks * n_operations // WORTH_A_THREAD))

    def share(first: int) -> None:
        for index in range(first, n_tasks, n_threads):
            task(index)

    if n_threads > 1 and n_threads + n_allowed - 1 > _N_CORES:
        _free_cores()
    others = [_helpers(n_allowed).submit(share, first) for first in range(1, n_threads)]
    torch.set_num_threads(1)  # of this thread: PyTorch counts them for each
    try:
        share(0)
    finally:
        for other in others:
            other.result()
        torch.set_num_threads(n_allowed)


def one_after_the_other(task: Callable[[int], object], n_tasks: int, n_operations: int) -> None:
    """Do what `for_each` does, in this thread; each task may use all of PyTorch's."""
    for index in range(n_tasks):
        task(index)


@functools.lru_cache(maxsize=1)
def _helpers(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="lyapkit", initializer=torch.set_num_threads, initargs=(1,))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.cache_clear)  # threads do not survive a fork


def _free_cores() -> None:
    """Let PyTorch's threads sleep, which wait for work by spinning, for milliseconds, on cores that are needed here."""
    for pause in _pauses():
        pause(SOFT_PAUSE)


@functools.cache
def _pauses() -> list[Callable[[int], int]]:
    libraries = ThreadpoolController().select(user_api="openmp").lib_controllers
    loaded = [ctypes.CDLL(library.filepath) for library in libraries]
    return [library.omp_pause_resource_all for library in loaded if hasattr(library, "omp_pause_resource_all")]
