"""Tasks shared out among threads, in each of which LAPACK is alone."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from threadpoolctl import ThreadpoolController

WORTH_A_THREAD = 300_000  # operations
SOFT_PAUSE = 1  # omp_pause_soft
_N_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def for_each(task: Callable[[int], object], n_tasks: int, n_operations: int) -> None:
    """Do a task of so many operations for every index, on as many threads as PyTorch may use, this one included."""
    n_threads = max(1, min(torch.get_num_threads(), n_tasks, n_tasks * n_operations // WORTH_A_THREAD))

    def share(first: int) -> None:
        for index in range(first, n_tasks, n_threads):
            task(index)

    if n_threads > 1 and n_threads + torch.get_num_threads() - 1 > _N_CORES:
        _free_cores()
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
    def _libraries(self) -> list[Any]:
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


def _free_cores() -> None:
    """Let PyTorch's threads sleep, which wait for work by spinning, for milliseconds, on cores that are needed here."""
    for pause in _pauses():
        pause(SOFT_PAUSE)


@functools.cache
def _pauses() -> list[Callable[[int], int]]:
    libraries = ThreadpoolController().select(user_api="openmp").lib_controllers
    loaded = [ctypes.CDLL(library.filepath) for library in libraries]
    return [library.omp_pause_resource_all for library in loaded if hasattr(library, "omp_pause_resource_all")]
