"""Arrays, dtypes, devices and inputs: what callers give, checked once, for every feature."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lyapkit.systems import System

INPUT_DIMS = ("trajectory", "time", "feature")
Array = np.ndarray | Tensor | xr.DataArray


def checked_dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    """Return float64, the default, or float32, or say that there is no other."""
    name = "float64" if dtype is None else str(dtype).removeprefix("torch.")
    if name not in ("float64", "float32"):
        raise ValueError(f"dtype must be 'float64' or 'float32', got {dtype!r}")
    return getattr(torch, name)


def available_device(device: str | torch.device) -> torch.device:
    """Return a device, or say that it is not there."""
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {str(device)!r} is not available here: {str(error).splitlines()[0]}") from error


def checked_inputs(inputs: Array | None, system: System) -> np.ndarray | None:
    """Return inputs as a float64 array (trajectory, time, feature), or say what is wrong with them."""
    if system.input_size is None:
        if inputs is not None:
            raise ValueError(f"{system} is autonomous and takes no inputs")
        return None
    if inputs is None:
        raise ValueError(f"{system} needs inputs (trajectory, time, {system.input_size})")
    if isinstance(inputs, xr.DataArray):
        if set(inputs.dims) != set(INPUT_DIMS):
            raise ValueError(f"inputs have dimensions {inputs.dims}, expected {INPUT_DIMS}")
        inputs = inputs.transpose(*INPUT_DIMS).values
    values = inputs.detach().cpu().numpy() if isinstance(inputs, Tensor) else np.asarray(inputs)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"inputs hold {values.dtype}, expected numbers")
    if values.ndim != 3:
        raise ValueError(
            f"inputs have shape {values.shape}, expected (trajectory, time, feature)"
            + ("; for one trajectory use inputs[None]" if values.ndim == 2 else "")
        )
    if values.shape[2] != system.input_size:
        raise ValueError(f"inputs have {values.shape[2]} features, {system} takes {system.input_size}")
    if 0 in values.shape:
        raise ValueError(f"inputs are empty: shape {values.shape}")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        trajectory, time, feature = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"inputs hold {values[trajectory, time, feature]} at trajectory {trajectory}, time {time}, "
            f"feature {feature}: remove or fill in missing values"
        )
    return values


def checked_steps(inputs: np.ndarray | None, n_steps: int | None, n_transient: int) -> int:
    """Return the number of counted steps."""
    if n_transient < 0:
        raise ValueError(f"n_transient must not be negative, got {n_transient}")
    if inputs is None:
        if n_steps is None:
            raise ValueError("n_steps is needed: an autonomous system has no inputs that would tell how long to run")
    else:
        available = inputs.shape[1] - n_transient
        if available < 1:
            raise ValueError(f"n_transient={n_transient} leaves no step to count: the inputs have {inputs.shape[1]}")
        n_steps = available if n_steps is None else n_steps
        if n_steps > available:
            raise ValueError(
                f"n_steps={n_steps} after n_transient={n_transient} need {n_steps + n_transient} inputs, "
                f"only {inputs.shape[1]} are given"
            )
    if n_steps < 1:
        raise ValueError(f"n_steps must be at least 1, got {n_steps}")
    return n_steps
