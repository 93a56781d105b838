"""The cells of a parameter sweep: one system each, with its exponents, its orbit, and what was said about it."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lyapkit.arguments import Array
from lyapkit.compiled import compiled_orbit
from lyapkit.labels import index, variable
from lyapkit.lyapunov import lyapunov_spectrum
from lyapkit.starts import in_real_parts, start_states
from lyapkit.statistics.exponents import dimensions_of
from lyapkit.sweeps import joined
from lyapkit.systems import System

KEPT = ("lyapunov_exponent", "standard_error", "is_bound", "divergence_step")
LONGEST_REMARK = 300


def compute_block(
    build: Callable[..., System],
    arrays: Mapping[str, Array | None],
    settings: Mapping[str, Any],
    *,
    grid: list[dict[str, list[float]]],
    identity: str,
    block: int,
) -> xr.Dataset:
    """Return the cells of a grid, parameter name to values, along its first parameter in this order.

    `identity` and `block` tell one sweep's file from another's.
    """
    (values,) = grid
    state = arrays["initial_state"]
    parts: list[tuple[Mapping[str, Any], xr.Dataset]] = []
    for cell in product(*values.values()):
        named = dict(zip(values, cell, strict=True))
        ds, end = _cell(build, named, arrays["inputs"], state, dict(settings))
        state = end if settings["continued"] and end is not None else arrays["initial_state"]
        parts.append((named, ds))
    return _filled(joined(parts, list(values)))


def _cell(
    build: Callable[..., System],
    named: Mapping[str, float],
    inputs: Array | None,
    state: Array | None,
    settings: dict[str, Any],
) -> tuple[xr.Dataset, np.ndarray | None]:
    """Return the dataset of one cell, and the states it ended in, of those it started from if they stayed finite."""
    n_orbit, continued = settings.pop("n_orbit"), settings.pop("continued")
    end = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            system = build(**_as_asked(build, named))
            if not isinstance(system, System):
                raise TypeError(f"build returned a {type(system).__name__}, expected a lyapkit System")
            is_map = system.input_size is None and system.time_unit == "step"
            needs_orbit = continued or (n_orbit and is_map)
            if needs_orbit:  # which starts where the spectrum does
                generator = torch.Generator().manual_seed(int(settings.get("seed", 0)))
                split, parts = in_real_parts(system, state)
                start = start_states(split, None, parts, settings.get("n_trajectories"), generator).double()
                state = start if split is system else state
            found = lyapunov_spectrum(system, inputs, initial_state=state, progress=False, **settings)
            variables: dict[str, Any] = {name: found[name].variable for name in KEPT}
            dimension = dimensions_of(found["lyapunov_exponent"].values, found.attrs["state_size"])[0]
            variables |= variable("kaplan_yorke_dimension", ("trajectory",), dimension)
            coords: dict[str, Any] = {name: found[name].variable for name in ("trajectory", "exponent")}
            if needs_orbit:
                n_steps = settings["n_steps"] if continued else 0
                orbit, end = _orbit(system, split, start, settings, n_orbit if is_map else 0, n_steps)
                if orbit is not None:
                    variables |= variable("orbit", ("orbit_step", "state"), orbit)
                    coords |= index("orbit_step", n_orbit) | index("state", orbit.shape[1])
            remark = "; ".join(dict.fromkeys(str(one.message) for one in caught if _is_about_it(one.category)))
        except MemoryError:
            raise
        except Exception as error:  # whatever a user's function raises
            told = str(error) if isinstance(error, ValueError | ArithmeticError) else f"{type(error).__name__}: {error}"
            variables, coords, remark = {}, {}, told
    label = {"units": "1", "long_name": "what was said about the cell"}
    return xr.Dataset(variables | {"remark": ((), remark[:LONGEST_REMARK], label)}, coords), end


def _is_about_it(category: type[Warning]) -> bool:
    """Return whether a warning may be about a cell, not about how some library is used."""
    return not issubclass(category, DeprecationWarning | PendingDeprecationWarning | FutureWarning)


def _as_asked(build: Callable[..., System], named: Mapping[str, float]) -> dict[str, float]:
    """Return values of parameters, those as whole numbers that a function annotates so."""
    try:
        asked = inspect.signature(build).parameters
    except (TypeError, ValueError):  # it does not say
        return dict(named)
    values = dict(named)
    for name, value in named.items():
        if name in asked and asked[name].annotation in (int, "int"):
            if value != int(value):
                raise ValueError(f"{name} must be a whole number, got {value:g}")
            values[name] = int(value)
    return values


@torch.no_grad()
def _orbit(
    system: System, split: System, start: Tensor, settings: Mapping[str, Any], n_orbit: int, n_further: int
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return the states of the first trajectory after the transient; and where all end, None if they diverged.

    `split` is the system with its states in real parts, as `start` is.
    """
    exact = split.converted(torch.float64, torch.device("cpu")).prepared(start, None)
    first = int(settings["n_transient"])
    n_steps = first + max(n_orbit, n_further)
    followed = compiled_orbit(exact, start, settings.get("n_exponents"), n_steps, first, n_orbit)
    orbit, end = followed or _followed(exact, start, n_steps, first, n_orbit)
    if not np.isfinite(end).all():
        end = None
    elif split is not system:  # complex, as it was given
        end = end[:, : system.state_size] + 1j * end[:, system.state_size :]
    return np.where(np.isfinite(orbit), orbit, np.nan) if n_orbit else None, end


def _followed(
    system: System, state: Tensor, n_steps: int, n_left_out: int, n_kept: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what `compiled_orbit` does, step by step."""
    kept = []
    for time in range(n_steps):
        state = system.step(state, None)
        if n_left_out <= time < n_left_out + n_kept:
            kept.append(state[0].numpy().copy())
    return np.array(kept), state.numpy()


def _filled(whole: xr.Dataset) -> xr.Dataset:
    """Return joined cells, with exponents, which are NaN, if all of them failed."""
    if "lyapunov_exponent" not in whole:  # all failed
        empty = np.full((*whole["remark"].shape, 1, 1), np.nan)
        dims = (*map(str, whole["remark"].dims), "trajectory", "exponent")
        whole = whole.assign(variable("lyapunov_exponent", dims, empty))
        whole = whole.assign_coords(index("trajectory", 1) | index("exponent", 1, first=1))
    return whole
