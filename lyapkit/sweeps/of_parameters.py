"""`sweep`: exponents of a system as they change with one or two of its parameters, cell by cell."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lyapkit.arguments import Array, ReliabilityWarning
from lyapkit.provenance import provenance, sha256
from lyapkit.scalars import whole, whole_numbers
from lyapkit.sweeps import join_cells, run_cells
from lyapkit.sweeps.identity import content
from lyapkit.sweeps.spectra import KEPT, compute_block
from lyapkit.systems import System, classical
from lyapkit.tangent import DivergenceWarning

CELLS_IN_A_FILE = 16
N_TRANSIENT = 1000  # of autonomous systems
OF_RESULTS = ("exponent", "trajectory", "orbit_step", "state", "interval", "step", "model", "network", "cell")
RESERVED = (*OF_RESULTS, *KEPT, "kaplan_yorke_dimension", "orbit", "remark")
OWN = ("progress", "on_divergence", "initial_state", "inputs")  # options of the spectrum that a sweep sets itself


def sweep(
    build: Callable[..., System],
    parameters: Mapping[str, Sequence[float]],
    *,
    inputs: Array | None = None,
    n_steps: int | None = None,
    n_transient: int | None = None,
    n_orbit: int = 100,
    initial_state: Array | None = None,
    continued: bool = False,
    folder: str | Path | None = None,
    n_workers: int = 1,
    executor: Executor | str | None = None,
    progress: bool | None = None,
    **options: Any,
) -> xr.Dataset:
    """Return Lyapunov exponents as a function of one or more parameters of a system.

    Parameters
    ----------
    build : callable
        ``build(a=…)`` returns the system for a value of every parameter: a member of `classical`, for instance. To be
        computed by other processes it must be importable there, a function of a module.
    parameters : mapping
        Name to values, (n,), finite numbers, each once. They become dimensions, ascending.
    inputs : array, optional
        (trajectory, time, feature), of driven systems: the same in every cell.
    n_steps, n_transient : int
        As in `lyapunov_spectrum`. Default transient: 1000 steps, none with inputs.
    n_orbit : int
        How many states after the transient to keep, of the first trajectory of autonomous maps, for a bifurcation
        diagram. Default 100; 0 for none.
    initial_state : array, optional
        Where every cell starts. Default: the system's own.
    continued : bool
        Start each cell where the one at the next smaller value of the first parameter ended, to follow an attractor;
        where that diverged, anew. Such a line of cells is computed by one process.
    folder : str or Path, optional
        Where to keep what is done: a sweep that was stopped goes on there. Default: nothing is kept.
    n_workers : int
        Processes. Default 1, this one.
    executor : concurrent.futures.Executor or str, optional
        Where to compute instead, or the address of a Dask scheduler, "tcp://host:8786"; its machines must share
        `folder`.
    progress : bool, optional
        Show a progress bar. Default: after two seconds, in terminals and notebooks.
    **options
        Of `lyapunov_spectrum`: `n_exponents`, `n_trajectories`, `seed`, `dtype` and so on.

    Returns
    -------
    xarray.Dataset
        `lyapunov_exponent`, `standard_error` and `is_bound` (parameters …, trajectory, exponent);
        `kaplan_yorke_dimension` and `divergence_step` (parameters …, trajectory); `orbit` (parameters …, orbit_step,
        state) of autonomous maps; `remark` (parameters …), what was said about a cell: why it failed, that it
        diverged, warnings. Cells that fail or diverge are NaN; the others go on.

    Raises
    ------
    ValueError
        If `build` is no function, or cannot be sent to other processes; if there are no parameters, or values that are
        not numbers; if every cell fails, with the reason of the first.

    Warns
    -----
    DivergenceWarning
        Saying how many cells diverged or failed, and the first of them.
    ReliabilityWarning
        Saying of how many cells there were other warnings, and the first of them.

    Examples
    --------
    >>> import lyapkit as lk
    >>> ds = lk.sweep(lk.classical.henon, {"a": [1.0, 1.2, 1.4]}, n_steps=500)
    >>> ds.lyapunov_exponent.dims
    ('a', 'trajectory', 'exponent')
    """
    if not callable(build) or isinstance(build, System):
        given = f"the system {build}" if isinstance(build, System) else repr(build)
        raise ValueError(
            f"a sweep builds a system for every value: give a function such as lyapkit.classical.henon, got {given}"
        )
    values = _checked_values(parameters)
    n_steps, n_transient = whole_numbers(n_steps=n_steps, n_transient=n_transient)
    n_orbit, n_workers = whole("n_orbit", n_orbit, 0), whole("n_workers", n_workers, 1)
    if own := [name for name in OWN if name in options]:
        raise ValueError(f"{', '.join(own)}: a sweep sets these itself")
    if isinstance(folder, str):
        folder = Path(folder)
    if inputs is not None and continued:
        raise ValueError("continued= follows an attractor: with inputs there is none, every cell starts with the first")
    if isinstance(executor, str) and folder is None:
        raise ValueError("a Dask scheduler's machines need a folder that they share: give folder=")
    if n_transient is None:
        n_transient = N_TRANSIENT if inputs is None else 0
    settings = options | {"n_steps": n_steps, "n_transient": n_transient, "n_orbit": n_orbit, "continued": continued}
    arrays = {"inputs": inputs, "initial_state": initial_state}
    if n_workers > 1 or executor is not None:
        _check_sendable(build)
    compute = partial(compute_block, build, arrays, settings)
    identity = json.dumps({"build": content(build), **settings, **_digests(arrays)}, sort_keys=True, default=str)
    cells = _blocks(values, continued, hashlib.sha256(identity.encode()).hexdigest()[:12])
    with contextlib.ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if isinstance(executor, str):
            executor = stack.enter_context(_dask(executor))
        paths = run_cells(compute, cells, folder, n_workers=n_workers, executor=executor, progress=progress)
        ds = join_cells(paths, [])
    is_named = hasattr(build, "__name__")
    if not isinstance(build, partial):  # of which none has a name that nobody gave it
        is_named = getattr(build, "__module__", "").startswith(f"{classical.__name__}.")
    ds = ds.transpose(*values, ...).assign_attrs(
        provenance(parameters={name: len(entries) for name, entries in values.items()}, **settings)
        | {"system": build.__name__ if is_named else _name(build).removeprefix("__main__."), "swept": list(values)}
    )
    _report(ds, list(values))
    return ds


def _checked_values(parameters: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Return ascending values of every parameter, or say what is wrong with them."""
    if not isinstance(parameters, Mapping):
        raise ValueError(f"parameters must be a mapping, {{name: values}}, got {type(parameters).__name__}")
    if not parameters:
        raise ValueError("there is nothing to sweep: give parameters={name: values}")
    checked = {}
    for name, given in parameters.items():
        values = np.asarray(given)
        if values.ndim != 1 or not values.size or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise ValueError(f"values of {name} must be finite numbers, (n,), got {given!r}")
        if len(np.unique(values)) < len(values):
            raise ValueError(f"values of {name} must differ from each other")
        if name in RESERVED:
            raise ValueError(f"a parameter cannot be called {name}, which is what results have")
        checked[str(name)] = np.sort(values).tolist()
    return checked


def _blocks(values: dict[str, list[float]], continued: bool, identity: str) -> list[Mapping[str, Any]]:
    """Return the cells of a sweep in blocks, each a stretch along the first parameter, with a number to tell them."""
    first, *others = values
    length = len(values[first]) if continued else CELLS_IN_A_FILE
    stretches = [values[first][start : start + length] for start in range(0, len(values[first]), length)]
    blocks: list[Mapping[str, Any]] = []
    for along in product(*(values[name] for name in others)):
        for stretch in stretches:
            grid = {first: stretch} | {name: [value] for name, value in zip(others, along, strict=True)}
            blocks.append({"identity": identity, "block": len(blocks), "grid": [grid]})
    return blocks


def _check_sendable(build: Callable[..., System]) -> None:
    try:
        pickle.dumps(build)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{_name(build)} cannot be sent to other processes ({error}): define it as a function of a module, or take "
            "n_workers=1"
        ) from error


def _name(build: Callable[..., System]) -> str:
    """Return what a function is called, with what its arguments are fixed to."""
    if isinstance(build, partial):
        fixed = [*map(str, build.args), *(f"{name}={value}" for name, value in build.keywords.items())]
        return f"{_name(build.func)}({', '.join(fixed)})"
    return f"{getattr(build, '__module__', '')}.{getattr(build, '__qualname__', type(build).__name__)}"


def _digests(arrays: Mapping[str, Array | None]) -> dict[str, str | None]:
    return {name: None if values is None else sha256(np.asarray(values)) for name, values in arrays.items()}


@contextlib.contextmanager
def _dask(address: str) -> Iterator[Executor]:
    """Give an executor of the Dask scheduler at an address."""
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError("a Dask scheduler needs the package distributed: pip install 'lyapkit[cluster]'") from error
    with Client(address, timeout=10) as client:
        yield client.get_executor()


def _report(ds: xr.Dataset, names: list[str]) -> None:
    """Warn of cells that diverged or failed, and of other remarks, each kind once; raise if all failed."""
    remarks = ds["remark"].stack(cell=names) if len(names) > 1 else ds["remark"].rename({names[0]: "cell"})
    said = np.array([str(text) for text in remarks.values])
    failed = ds["lyapunov_exponent"].isnull().all(["trajectory", "exponent"])
    failed = (failed.stack(cell=names) if len(names) > 1 else failed).values
    for chosen, category, what in (
        (failed, DivergenceWarning, "diverged or failed and are NaN"),
        (~failed & (said != ""), ReliabilityWarning, "came with warnings (remark)"),
    ):
        if not chosen.any():
            continue
        which = int(np.argmax(chosen))
        place = remarks["cell"].values[which]
        place = ", ".join(f"{n}={v:g}" for n, v in zip(names, np.atleast_1d(np.asarray(place, float)), strict=True))
        if category is DivergenceWarning and chosen.all():
            raise ValueError(f"all {len(said)} cells diverged or failed; at {place}: {said[which]}")
        message = f"{chosen.sum()} of {len(said)} cells {what}; first at {place}: {said[which]}"
        warnings.warn(message, category, stacklevel=3)
