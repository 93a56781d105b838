"""Sweeps over many independent cells: each computed once, kept in a file of its own, and all joined in the end."""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from lyapkit.files.datasets import load, save
from lyapkit.files.writing import make_folder
from lyapkit.progress import progress_bar
from lyapkit.provenance import provenance

THREADS_OF_LIBRARIES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
Cell = Mapping[str, Any]  # what distinguishes a cell: dimension to value


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


def join_cells(paths: list[Path], dims: list[str]) -> xr.Dataset:
    """Return the cells' datasets as one, with `dims` in front; NaN where there is no cell, or a cell has no value.

    Parameters
    ----------
    paths : list of Path
        What `run_cells` returned.
    dims : list of str
        Which of the cells' parameters become dimensions, in this order. Along them numbers ascend, and names come as
        they first appear; along the cells' own dimensions values are placed by coordinate.
    """
    parts = [(json.loads(part.attrs["cell"]), part) for part in map(load, paths)]
    commits = sorted({commit for _, part in parts for commit in part.attrs["git_commit"].split(", ")})
    return joined(parts, dims).assign_attrs(git_commit=", ".join(commits), n_cells=len(parts))


def joined(parts: list[tuple[Cell, xr.Dataset]], dims: list[str]) -> xr.Dataset:
    """Return datasets as one, as `join_cells` does, each with what distinguishes it."""
    values = {dim: list(dict.fromkeys(cell[dim] for cell, _ in parts)) for dim in dims}
    values = {dim: found if isinstance(found[0], str) else sorted(found) for dim, found in values.items()}
    inner = {
        dim: sorted({value for _, part in parts if dim in part.dims for value in part[dim].values.tolist()})
        for dim in dict.fromkeys(dim for _, part in parts for dim in part.dims)
    }
    attributes = {dim: part[dim].attrs for _, part in parts for dim in part.dims}
    variables: dict[Hashable, tuple[list[Hashable], np.ndarray, dict[Any, Any]]] = {}
    for cell, part in parts:
        place = [[values[dim].index(cell[dim])] for dim in dims]
        for name, variable in part.data_vars.items():
            if name not in variables:
                shape = [len(values[dim]) for dim in dims] + [len(inner[dim]) for dim in variable.dims]
                variables[name] = ([*dims, *variable.dims], _blank(shape, variable.dtype), variable.attrs)
            within = [np.searchsorted(inner[dim], part[dim].values) for dim in variable.dims]
            variables[name][1][np.ix_(*place, *within)] = variable.values
    coords = {dim: (dim, values[dim], {"long_name": dim.replace("_", " "), "units": "1"}) for dim in dims}
    within = {dim: (dim, inner[dim], attributes[dim]) for dim in inner}
    return xr.Dataset(variables, coords | within)


def parted(ds: xr.Dataset, dims: list[str]) -> list[tuple[dict[str, Any], xr.Dataset]]:
    """Return the datasets that were joined along `dims`, each with its values of them, in order of `dims`.

    Left out are cells and variables without any number, and variables without all of `dims`, which were no cell's.
    """
    ds = ds[[name for name, variable in ds.data_vars.items() if set(dims) <= set(variable.dims)]]
    parts = []
    for values in itertools.product(*(ds[dim].values.tolist() for dim in dims)):
        place = dict(zip(dims, values, strict=True))
        part = ds.sel(place, drop=True)
        part = part.drop_vars([name for name, variable in part.data_vars.items() if bool(variable.isnull().all())])
        if any(variable.dtype.kind == "f" for variable in part.data_vars.values()):
            unused = [dim for dim in part.dims if not any(dim in variable.dims for variable in part.data_vars.values())]
            parts.append((place, part.drop_vars(unused)))
    return parts


def _blank(shape: list[int], dtype: np.dtype) -> np.ndarray:
    """Return an array of what stands where there is nothing: NaN, False, or no text."""
    if dtype.kind in "UO":  # texts differ in length
        return np.full(shape, "", object)
    return np.zeros(shape, bool) if dtype.kind == "b" else np.full(shape, np.nan, dtype)


def save_cell(cell: Cell, ds: xr.Dataset, path: Path) -> None:
    """Write a cell's dataset to its file, with where it comes from and which cell it is."""
    save(ds.assign_attrs(provenance() | ds.attrs | {"cell": json.dumps(dict(cell))}), path)


def cell_path(folder: Path, cell: Cell) -> Path:
    """Return where a cell is kept."""
    name = "_".join(str(value).replace(" ", "-") for value in cell.values() if not isinstance(value, list))
    return folder / f"{name.replace('/', '-')}.nc"


def is_done(cell: Cell, path: Path) -> bool:
    """Return whether a file is that of a cell."""
    return path.is_file() and load(path).attrs.get("cell") == json.dumps(dict(cell))


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
    worker = ProcessPoolExecutor(1, context, torch.set_num_threads, (threads,))
    with _deaf_to_interruption(), _threads_of_libraries(threads):
        worker.submit(int)
    return worker


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
