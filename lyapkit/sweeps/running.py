"""`run_cells`: each cell of a sweep computed once, here, by processes or on a cluster, and written as it gets done."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from lyapkit.files.writing import make_folder
from lyapkit.progress import progress_bar
from lyapkit.sweeps.cells import Cell, cell_path, is_done, save_cell

THREADS_OF_LIBRARIES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def run_cells(
    compute: Callable[..., xr.Dataset | None],
    cells: list[Cell],
    folder: Path,
    *,
    n_workers: int | None = None,
    executor: Executor | None = None,
    progress: bool | None = None,
) -> list[Path]:
    """Compute the cells that are not done yet, each into a file in `folder`, and return the files in order.

    A run that was stopped goes on where it was. A file counts as done if it says that it is of the same cell.

    Parameters
    ----------
    compute : callable
        ``compute(**cell)``, importable by other processes, returns the cell's dataset; or None, if it ran out of time
        and the cell is to be gone on with in another run. It then has no file yet.
    cells : list of mapping
        Keyword arguments, that JSON can hold; those that are not lists name the cell's file.
    folder : Path
        Made if it does not exist.
    n_workers : int, optional
        Processes, each with its share of the cores. Default: as many as there are cores; 1 computes in this process.
    executor : concurrent.futures.Executor, optional
        Where to compute instead, a Dask client's `get_executor()` for instance; its machines must share the folder.
    progress : bool, optional
        Show a progress bar. Default: after two seconds, in terminals and notebooks.

    Raises
    ------
    RuntimeError
        Naming the cells that failed, after all others are done; a worker process that is killed costs the cell it was
        computing.
    """
    make_folder(folder)
    paths = [cell_path(folder, cell) for cell in cells]
    waiting = [(cell, path) for cell, path in zip(cells, paths, strict=True) if not is_done(cell, path)]
    n_workers = min(n_workers or os.cpu_count() or 1, max(1, len(waiting)))
    failed: dict[str, BaseException] = {}
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(
            progress_bar(progress, total=len(cells), initial=len(cells) - len(waiting), unit="cell")
        )
        if executor is not None:
            results = _elsewhere(compute, waiting, executor)
        elif n_workers > 1:
            results = stack.enter_context(contextlib.closing(_by_processes(compute, waiting, n_workers)))
        else:
            results = _here(compute, waiting)
        for path, error in results:
            if error is not None:
                failed[path.stem] = error
            bar.update()
    if failed:
        name, error = next(iter(failed.items()))
        raise RuntimeError(
            f"{len(failed)} of {len(cells)} cells failed: {', '.join(failed)}; {name}: {error}"
        ) from error
    return [path for path in paths if path.is_file()]


def _here(compute: Callable[..., Any], waiting: list[tuple[Cell, Path]]) -> Iterator[tuple[Path, BaseException | None]]:
    """Compute cells one after the other; yield each one's file, and what went wrong."""
    for cell, path in waiting:
        try:
            _compute_cell(compute, cell, path)
        except Exception as error:
            yield path, error
        else:
            yield path, None


def _elsewhere(
    compute: Callable[..., Any], waiting: list[tuple[Cell, Path]], executor: Executor
) -> Iterator[tuple[Path, BaseException | None]]:
    """As `_here`, by an executor, in the order in which cells come back."""
    running = {executor.submit(_compute_cell, compute, cell, path): path for cell, path in waiting}
    for future in as_completed(running):
        yield running[future], future.exception()


def _by_processes(
    compute: Callable[..., Any], waiting: list[tuple[Cell, Path]], n_workers: int
) -> Generator[tuple[Path, BaseException | None]]:
    """As `_here`, by processes, one for each worker: one that is killed takes no other with it, and is replaced."""
    threads = max(1, (os.cpu_count() or 1) // n_workers)
    idle = [_process(threads) for _ in range(n_workers)]
    running: dict[Future[Any], tuple[ProcessPoolExecutor, Path]] = {}
    queue = deque(waiting)
    try:
        while queue or running:
            while queue and idle:
                worker, (cell, path) = idle.pop(), queue.popleft()
                running[worker.submit(_compute_cell, compute, cell, path)] = worker, path
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                worker, path = running.pop(future)
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    worker.shutdown()
                    worker = _process(threads)
                    error = RuntimeError("its process was killed, by the system for want of memory for instance")
                idle.append(worker)
                yield path, error
    finally:
        for worker in (*idle, *(worker for worker, _ in running.values())):
            for process in list((worker._processes or {}).values()) if running else ():
                process.terminate()  # it does not hear Ctrl-C, and files are written as a whole
            worker.shutdown(wait=not running, cancel_futures=True)


def _process(threads: int) -> ProcessPoolExecutor:
    """Return a worker process with its share of the cores."""
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of torch's threads
    worker = ProcessPoolExecutor(1, context, _start, (threads,))
    with _deaf_to_interruption(), _threads_of_libraries(threads):
        worker.submit(int)
    return worker


def _start(threads: int) -> None:
    """Make a process ready: with so many threads, and not to outlive the one that started it, killed or not."""
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)  # files are written as a whole


@contextlib.contextmanager
def _threads_of_libraries(threads: int) -> Iterator[None]:
    """Let NumPy and SciPy in processes that are started meanwhile have so many threads, where nothing else is set."""
    added = [name for name in THREADS_OF_LIBRARIES if name not in os.environ]
    os.environ.update(dict.fromkeys(added, str(threads)))
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _deaf_to_interruption() -> Iterator[None]:
    """Ignore Ctrl-C, as processes that are started meanwhile then do: what it means to them, this one tells them.

    In the main thread only, which is the one that gets it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _compute_cell(compute: Callable[..., xr.Dataset | None], cell: Cell, path: Path) -> None:
    ds = compute(**cell)
    if ds is not None:
        save_cell(cell, ds, path)
