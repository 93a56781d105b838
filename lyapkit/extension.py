"""`extend`: a spectrum continued by more steps, from where it ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from lyapkit.arguments import Array, checked_dtype, checked_inputs
from lyapkit.labels import variable
from lyapkit.lyapunov import exponents_of, lyapunov_spectrum
from lyapkit.models.given import as_system
from lyapkit.provenance import provenance, sha256
from lyapkit.starts import as_tensor, chosen_device
from lyapkit.systems import System

SAME_STEP = {torch.float64: 1e-8, torch.float32: 1e-3}  # how far the same step may be off, relative


def extend(
    ds: xr.Dataset,
    system: System | nn.Module | str | Path,
    inputs: Array | None = None,
    *,
    n_steps: int | None = None,
    device: str | torch.device | None = None,
    progress: bool | None = None,
    **reading: Any,
) -> xr.Dataset:
    """Return a spectrum continued by more steps: that of one run that was never stopped, up to rounding.

    Trajectories that are chaotic part from those of an uninterrupted run where its steps are rounded otherwise; their
    exponents are as good.

    Parameters
    ----------
    ds : xarray.Dataset
        What `lyapunov_spectrum` returned with ``keep_state=True``, or this function; also one that was interrupted.
    system : System, nn.Module, str or Path
        The same as then.
    inputs : array, tensor or DataArray, optional
        (trajectory, time, feature): all of them, those that the spectrum has seen first, then those to go on with.
        With `n_steps` also (feature,), or None, as then.
    n_steps : int, optional
        How many further steps count. Default: all inputs that are left; required without inputs.
    device, progress, **reading
        As of `lyapunov_spectrum`.

    Returns
    -------
    xarray.Dataset
        As `lyapunov_spectrum` returns, of all steps; it can be extended again.

    Raises
    ------
    ValueError
        If the spectrum has no state, or lost directions or trajectories, of which nothing is known any more; if the
        system makes another step from there than it did then, or the inputs that it has seen were others; and as
        `lyapunov_spectrum` raises.

    Examples
    --------
    >>> import lyapkit as lk
    >>> henon = lk.classical.henon()
    >>> ds = lk.lyapunov_spectrum(henon, n_steps=500, n_transient=100, keep_state=True)
    >>> longer = lk.extend(ds, henon, n_steps=500)
    >>> int(longer["duration"].sum())
    1000
    """
    _check_extensible(ds)
    system = as_system(system, **reading)
    if ds.attrs["state_size"] == 2 * system.state_size:
        system = system.split_into_real_parts()
    if system.time_step is None:
        raise ValueError(f"the time step was chosen in that run: build the flow with time_step={ds.attrs['time_step']}")
    given = json.loads(ds.attrs["parameters"])
    n_seen = given["n_transient"] + given["n_steps"]
    values = checked_inputs(inputs, system, None if n_steps is None else n_seen + n_steps)
    state, dtype = ds["final_state"].values, checked_dtype(given["dtype"])
    device = chosen_device(device, inputs, system)
    if values is not None:
        if values.shape[1] <= n_seen:
            raise ValueError(
                f"the inputs have {values.shape[1]} steps, and the spectrum has seen {n_seen} already: give those, "
                "followed by others"
            )
        if sha256(values[:, :n_seen]) != ds.attrs["seen_inputs_sha256"]:
            raise ValueError(
                f"the first {n_seen} steps of inputs are not those that the spectrum has seen: give all of them, in "
                "front of those to go on with"
            )
        last = as_tensor(values[:, n_seen - 1 : n_seen], device, dtype)
    start = torch.as_tensor(state).to(device, dtype)
    running = system.converted(dtype, device).prepared(start, None if values is None else last)
    with torch.no_grad():
        step = running.step(start, None if values is None else last[:, 0]).double().cpu().numpy()
    expected = ds["next_state"].values
    if not np.allclose(step, expected, rtol=SAME_STEP[dtype], atol=SAME_STEP[dtype] * np.abs(expected).max()):
        raise ValueError(
            f"{system} is not the system of this spectrum, {ds.attrs['system']}: from where that ended it goes on "
            "in another way"
        )
    frames = np.linalg.qr(np.swapaxes(ds["final_frame"].values, 1, 2))
    signs = np.sign(np.einsum("bii->bi", frames.R))[:, :, None]
    more = lyapunov_spectrum(
        system,
        None if values is None else values[:, n_seen:],
        initial_state=state,
        initial_frame=signs * np.swapaxes(frames.Q, 1, 2),
        n_steps=n_steps,
        n_exponents=ds.sizes["exponent"],
        reorthonormalize=given["reorthonormalize"],
        accuracy=given["accuracy"],
        dtype=dtype,
        device=device,
        seed=given["seed"],
        keep_state=True,
        progress=progress,
    )
    return _joined(ds, more, given, values)


def _check_extensible(ds: xr.Dataset) -> None:
    if "log_growth" not in ds:
        raise ValueError(f"expected a spectrum, got a dataset of {', '.join(map(str, ds.data_vars)) or 'nothing'}")
    if "final_state" not in ds:
        raise ValueError("the spectrum does not know where it ended: compute it with keep_state=True")
    if not np.isfinite(ds["lyapunov_exponent"].values).all() or bool(ds["is_bound"].any()):
        raise ValueError(
            "some directions or trajectories of this spectrum were lost (−∞, NaN or bounds): where they would go on is "
            "not known; compute it anew, with more steps"
        )


def _joined(ds: xr.Dataset, more: xr.Dataset, given: dict[str, Any], values: np.ndarray | None) -> xr.Dataset:
    """Return two stretches of a run as one spectrum."""
    by_direction = [
        np.take_along_axis(part["log_growth"].values, np.argsort(part["direction"].values, -1)[:, None], -1)
        for part in (ds, more)
    ]
    duration = np.concatenate([ds["duration"].values, more["duration"].values])
    condition = np.concatenate([ds["condition"].values, more["condition"].values], axis=1)
    unit = ds["duration"].attrs["units"]
    is_bound = np.take_along_axis(more["is_bound"].values, np.argsort(more["direction"].values, -1), -1)
    further = json.loads(more.attrs["parameters"])["n_steps"]
    joined = exponents_of(np.concatenate(by_direction, axis=1), is_bound, condition, duration, unit)
    first = given["n_transient"] + given["n_steps"]
    joined = joined.assign(more[["final_state", "final_frame", "next_state"]])
    joined = joined.assign(variable("divergence_step", ("trajectory",), more["divergence_step"].values + first))
    attributes = more.attrs | provenance(**given | {"n_steps": given["n_steps"] + further})
    for name in ("n_reorthonormalizations", "n_reconditionings"):
        attributes[name] = ds.attrs[name] + more.attrs[name]
    attributes["worst_condition"] = max(ds.attrs["worst_condition"], more.attrs["worst_condition"])
    if values is not None:
        attributes["inputs_sha256"] = sha256(values)
        attributes["seen_inputs_sha256"] = sha256(values[:, : first + further])
    return joined.assign_attrs(attributes)
