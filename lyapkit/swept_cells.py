"""The cells of a parameter sweep: one system each, with its exponents, its orbit, and what was said about it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from itertools import product

import numpy as np
import torch
import xarray as xr

from lyapkit.arguments import Array
from lyapkit.labels import index, variable
from lyapkit.lyapunov import lyapunov_spectrum
from lyapkit.starts import in_real_parts, start_states
from lyapkit.statistics import kaplan_yorke_dimension
from lyapkit.systems import System

KEPT = ("lyapunov_exponent", "standard_error", "is_bound", "divergence_step")
LONGEST_REMARK = 300


def compute_block(
    build: Callable[..., System],
    arrays: Mapping[str, Array | None],
    settings: Mapping[str, object],
    *,
    grid: list[dict[str, list[float]]],
    identity: str,
    block: int,
) -> xr.Dataset:
    """Return the cells of a grid, parameter name to values, along its first parameter in this order.

    `identity` and `block` tell one sweep's file from another's.
    """
    (values,) = grid
    state, parts = arrays["initial_state"], []
    for cell in product(*values.values()):
        named = dict(zip(values, cell, strict=True))
        ds, end = _cell(build, named, arrays["inputs"], state, dict(settings))
        state = end if settings["continued"] and end is not None else arrays["initial_state"]
        parts.append(ds.expand_dims({name: [value] for name, value in named.items()}))
    return _filled(parts)


def _cell(
    build: Callable[..., System],
    named: Mapping[str, float],
    inputs: Array | None,
    state: Array | None,
    settings: dict[str, object],
) -> tuple[xr.Dataset, np.ndarray | None]:
    """Return the dataset of one cell, and the states it ended in, of those it started from if they stayed finite."""
    n_orbit, continued = settings.pop("n_orbit"), settings.pop("continued")
    end = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            system = build(**named)
            if not isinstance(system, System):
                raise TypeError(f"build returned a {type(system).__name__}, expected a lyapkit System")
            found = lyapunov_spectrum(system, inputs, initial_state=state, **settings)
            ds = found[[*KEPT]]
            ds = ds.drop_vars([name for name in ds.coords if name not in ("trajectory", "exponent")])
            ds["kaplan_yorke_dimension"] = kaplan_yorke_dimension(found).variable
            is_map = system.input_size is None and system.time_unit == "step"
            if continued or (n_orbit and is_map):
                n_steps = settings["n_steps"] if continued else 0
                orbit, end = _orbit(system, state, settings, n_orbit if is_map else 0, n_steps)
                ds = ds.merge(orbit)
            remark = "; ".join(dict.fromkeys(str(warning.message) for warning in caught))
        except (ValueError, ArithmeticError, TypeError) as error:
            ds, remark = xr.Dataset(), str(error)
    ds["remark"] = ((), remark[:LONGEST_REMARK], {"units": "1", "long_name": "what was said about the cell"})
    return ds, end


@torch.no_grad()
def _orbit(
    system: System, state: Array | None, settings: Mapping[str, object], n_orbit: int, n_further: int
) -> tuple[xr.Dataset, np.ndarray | None]:
    """Return the states of the first trajectory after the transient; and where all end, None if they diverged."""
    split, state = in_real_parts(system, state)
    generator = torch.Generator().manual_seed(int(settings.get("seed", 0)))
    start = start_states(split, None, state, settings.get("n_trajectories"), generator).double()
    exact = split.converted(torch.float64, torch.device("cpu")).prepared(start, None)
    kept, point, first = [], start, int(settings["n_transient"])
    for time in range(first + max(n_orbit, n_further)):
        point = exact.step(point, None)
        if first <= time < first + n_orbit:
            kept.append(point[0].numpy().copy())
    end = point.numpy() if bool(point.isfinite().all()) else None
    if end is not None and split is not system:  # complex, as it was given
        end = end[:, : system.state_size] + 1j * end[:, system.state_size :]
    if not kept:
        return xr.Dataset(), end
    orbit = np.where(np.isfinite(kept), kept, np.nan)
    coords = index("orbit_step", n_orbit) | index("state", orbit.shape[1])
    return xr.Dataset(variable("orbit", ("orbit_step", "state"), orbit), coords), end


def _filled(parts: list[xr.Dataset]) -> xr.Dataset:
    """Return cells as one dataset: NaN, and False, where a cell failed and has nothing."""
    whole = parts[0]
    if len(parts) > 1:
        whole = xr.combine_by_coords(parts, compat="no_conflicts", join="outer", combine_attrs="override")
    if "lyapunov_exponent" not in whole:  # all failed
        empty = np.full((*whole["remark"].shape, 1, 1), np.nan)
        dims = (*whole["remark"].dims, "trajectory", "exponent")
        whole = whole.assign(variable("lyapunov_exponent", dims, empty))
        whole = whole.assign_coords(index("trajectory", 1) | index("exponent", 1, first=1))
    if "is_bound" in whole:
        labels = whole["is_bound"].attrs
        whole["is_bound"] = whole["is_bound"].fillna(False).astype(bool).assign_attrs(labels)
    return whole
