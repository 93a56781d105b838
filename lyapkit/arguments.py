"""Arrays, dtypes, devices and inputs: what callers give, checked once, for every feature."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lyapkit.systems import System

INPUT_DIMS = ("trajectory", "time", "feature")
Array = np.ndarray | Tensor | xr.DataArray
CHANNELS = (1, 3, 4)  # of images
FEW_TRAJECTORIES = 16  # that need not raise doubts about which axis is time
RAW = 10  # from which on the largest of whole numbers may be a pixel or a token id
FAR = 100.0  # from what networks are given: half of the inputs beyond it are not a few spikes


class ReliabilityWarning(UserWarning):
    """Something in a run that makes its numbers less reliable than they look; the message says what to do."""


def checked_dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    """Return float64, the default, or float32, or say that there is no other."""
    name = "float64" if dtype is None else str(dtype).removeprefix("torch.")
    if name not in ("float64", "float32"):
        raise ValueError(f"dtype must be 'float64' or 'float32', got {dtype!r}")
    return getattr(torch, name)


def checked_n_exponents(n_exponents: int | None, system: System) -> int:
    """Return how many exponents, all by default, or say how many there are."""
    k = system.state_size if n_exponents is None else n_exponents
    if not 1 <= k <= system.state_size:
        raise ValueError(f"n_exponents must be between 1 and the state size {system.state_size}, got {k}")
    return k


def check_on_divergence(on_divergence: str) -> None:
    """Raise if that is not what can be done about trajectories that diverge."""
    if on_divergence not in ("warn", "raise"):
        raise ValueError(f"on_divergence must be 'warn' or 'raise', got {on_divergence!r}")


def available_device(device: str | torch.device) -> torch.device:
    """Return a device, or say that it is not there."""
    try:
        found = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {str(device)!r} is not available here: {str(error).splitlines()[0]}") from error
    if found.type == "meta":
        raise ValueError("device 'meta' holds no values, so nothing can be computed on it: give cpu or cuda")
    return found


def as_array(given: object, what: str = "inputs") -> np.ndarray:
    """Return what a caller gave, of whatever kind, as an array.

    Raises
    ------
    ValueError
        If values are masked, which NumPy would forget, or a tensor is sparse or has no values.
    """
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise ValueError(
            f"{what} are a masked array, {np.ma.count_masked(given)} values of which are masked: fill in missing "
            "values; of padded sequences give the lengths"
        )
    if not isinstance(given, Tensor):
        return np.asarray(given)
    if given.is_nested or given.layout != torch.strided or given.is_meta or given.is_quantized:
        kinds = {"nested": given.is_nested, "meta": given.is_meta, "quantised": given.is_quantized, "sparse": True}
        kind = next(name for name, is_one in kinds.items() if is_one)
        raise ValueError(f"{what} are a {kind} tensor, expected dense numbers")
    tensor = given.detach().cpu().resolve_conj().resolve_neg()
    return (tensor.float() if tensor.is_floating_point() and tensor.dtype.itemsize < 4 else tensor).numpy()


@overload
def checked_inputs(inputs: Array, system: System, n_steps: int | None = None, *, trajectory: int = 0) -> np.ndarray: ...
@overload
def checked_inputs(
    inputs: Array | None, system: System, n_steps: int | None = None, *, trajectory: int = 0
) -> np.ndarray | None: ...
def checked_inputs(
    inputs: Array | None, system: System, n_steps: int | None = None, *, trajectory: int = 0
) -> np.ndarray | None:
    """Return inputs as a float64 array (trajectory, time, feature), or say what is wrong with them.

    Parameters
    ----------
    inputs : array, tensor or DataArray, optional
        (trajectory, time, feature); of a system that takes tokens also (trajectory, time). With `n_steps`, None for
        zeros, and one value per feature for a constant input.
    system : System
        What they drive.
    n_steps : int, optional
        How many steps a constant input lasts. Default: inputs have to be sequences.
    trajectory : int
        How messages number the first trajectory.

    Raises
    ------
    ValueError
        If they do not fit the system, or are not finite numbers.
    """
    if n_steps is not None and n_steps < 0:
        raise ValueError(f"n_steps must be at least 1, got {n_steps}: it is how many steps count")
    if system.input_size is None:
        if inputs is not None:
            raise ValueError(f"{system} is autonomous and takes no inputs")
        return None
    if inputs is None:
        if n_steps is None:
            raise ValueError(
                f"{system} needs inputs (trajectory, time, {system.input_size}), or n_steps= for inputs that are "
                "zero at every step"
            )
        if system.n_tokens is not None:
            raise ValueError(f"{system} reads tokens: without inputs there is none that would stand for no input")
        return np.broadcast_to(0.0, (1, n_steps, system.input_size))
    if isinstance(inputs, xr.DataArray):
        if set(inputs.dims) != set(INPUT_DIMS):
            raise ValueError(f"inputs have dimensions {inputs.dims}, expected {INPUT_DIMS}")
        inputs = inputs.transpose(*INPUT_DIMS).values
    values = as_array(inputs)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"inputs hold {values.dtype}, expected numbers")
    if values.ndim == 2 and system.n_tokens is not None:
        values = values[:, :, None]
    if values.ndim == 1 and n_steps is not None and len(values) == system.input_size and system.n_tokens is None:
        values = np.broadcast_to(values, (1, n_steps, len(values)))
    if values.ndim != 3:
        raise ValueError(f"inputs have shape {values.shape}, expected {_expected(values, system, n_steps)}")
    if 0 in values.shape:
        raise ValueError(f"inputs are empty: shape {values.shape}")
    if values.shape[2] != system.input_size:
        said = ""
        if system.input_size == 1 and values.shape[2] > 1:
            said = "; images (trajectory, row, column) are read pixel by pixel by --pixels, lyapkit.as_sequences"
        raise ValueError(f"inputs have {values.shape[2]} features, {system} takes {system.input_size}{said}")
    if is_constant(values):
        values = np.broadcast_to(values[:1, :1].astype(np.float64), values.shape)
    else:
        values = values.astype(np.float64)
    if not np.isfinite(values).all():
        which, time, feature = np.argwhere(~np.isfinite(values))[0]
        raise ValueError(
            f"inputs hold {values[which, time, feature]} at trajectory {trajectory + which}, time {time}, "
            f"feature {feature}: remove or fill in missing values; of padded sequences give the lengths"
        )
    if system.n_tokens is not None:
        wrong = (values != values.round()) | (values < 0) | (values >= system.n_tokens)
        if wrong.any():
            raise ValueError(
                f"inputs hold {values[wrong][0]:g}, expected tokens, whole numbers from 0 to {system.n_tokens - 1}"
            )
    return values


def is_constant(inputs: np.ndarray) -> bool:
    """Return whether inputs (trajectory, time, feature) are one value, held in memory once."""
    return inputs.strides[:2] == (0, 0)


def _expected(values: np.ndarray, system: System, n_steps: int | None) -> str:
    """Return what inputs should be like, and how those given may be meant."""
    if system.n_tokens is not None:
        return "tokens (trajectory, time)" + ("; for one trajectory use inputs[None]" if values.ndim == 1 else "")
    expected, size = "(trajectory, time, feature)", system.input_size
    if values.ndim == 1 and len(values) == size:
        return f"{expected}; for a constant input give n_steps="
    if values.ndim == 1:
        return f"{expected}; for one trajectory of one feature use inputs[None, :, None]"
    if values.ndim == 2 and size is not None and values.shape[1] == size > 1:
        return f"{expected}; for one trajectory use inputs[None]"
    if values.ndim == 2:
        return (
            f"{expected}; for one trajectory use inputs[None], for trajectories of one feature inputs[:, :, None], for "
            "token ids an embedding in front"
        )
    if values.ndim == 4:
        return f"{expected}; images become sequences by lyapkit.as_sequences, --rows, --pixels"
    return expected


def as_sequences(images: Array, order: Literal["rows", "pixels"]) -> np.ndarray:
    """Return images as input sequences, one row or one pixel per step, from the upper left corner on.

    Parameters
    ----------
    images : array
        (n, height, width), or with 1, 3 or 4 channels (n, channel, height, width) or (n, height, width, channel).
    order : "rows" or "pixels"
        What one step reads: (n, height, width · channels) or (n, height · width, channels).

    Raises
    ------
    ValueError
        If these are no images, or it is not clear which axis is that of the channels.

    Examples
    --------
    >>> import lyapkit as lk
    >>> import numpy as np
    >>> images = np.zeros((5, 28, 28))
    >>> lk.as_sequences(images, "rows").shape, lk.as_sequences(images, "pixels").shape
    ((5, 28, 28), (5, 784, 1))
    """
    if order not in ("rows", "pixels"):
        raise ValueError(f"order must be 'rows' or 'pixels', got {order!r}")
    values = as_array(images, "images")
    if values.ndim == 4:
        first, last = (values.shape[axis] in CHANNELS for axis in (1, 3))
        if first == last:
            raise ValueError(f"images have shape {values.shape}: which axis is that of the channels is not clear")
        values = np.moveaxis(values, 1, 3) if first else values
    elif values.ndim == 3:
        values = values[..., None]
    else:
        raise ValueError(f"images have shape {values.shape}, expected (n, height, width), or with channels")
    n, height, width, channels = values.shape
    return values.reshape((n, height, width * channels) if order == "rows" else (n, height * width, channels))


def warn_of_doubtful_inputs(values: np.ndarray, given: object, system: System, stacklevel: int) -> None:
    """Warn of inputs that may be meant in another way than they are taken, and say how they are taken.

    Parameters
    ----------
    values : ndarray
        (trajectory, time, feature).
    given : array, tensor or DataArray
        As the caller gave them: a DataArray says which dimension is which.
    system : System
        What they drive.
    stacklevel : int
        Of the warnings, seen from the caller.
    """
    n_trajectories, n_steps, _ = values.shape
    if n_trajectories > max(n_steps, FEW_TRAJECTORIES) and not isinstance(given, xr.DataArray):
        warnings.warn(
            f"inputs of shape {values.shape} are taken as {n_trajectories} trajectories of {n_steps} steps; if "
            "time comes first, transpose them; if not, say so by an xarray.DataArray (trajectory, time, feature)",
            ReliabilityWarning,
            stacklevel=stacklevel + 1,
        )
    if system.n_tokens is not None:
        return
    lowest, highest = float(values.min()), float(values.max())
    is_whole = bool((values == values.round()).all())
    if is_whole and lowest >= 0 and highest >= RAW:
        advice = "raw pixels are to be scaled as in training, by 1/255 say; token ids need an embedding in front"
    elif max(-lowest, highest) > FAR and float(np.median(np.abs(values[values != 0]))) > FAR:
        advice = "give them on the scale on which the network was trained"
    else:
        return
    warnings.warn(
        f"inputs are {'whole ' if is_whole else ''}numbers from {lowest:g} to {highest:g} and are taken as they are: "
        + advice,
        ReliabilityWarning,
        stacklevel=stacklevel + 1,
    )


def checked_lengths(
    inputs: Array | Sequence[Array] | None, lengths: Sequence[int] | Array | None, n_transient: int
) -> tuple[Any, np.ndarray | None]:
    """Return inputs, and how many steps of each trajectory count as given, (trajectory,), or None if all do.

    Parameters
    ----------
    inputs : array, or sequence of arrays
        (trajectory, time, …), padded where lengths are given; or one array (time, …) for each trajectory.
    lengths : sequence of int, optional
        (trajectory,): how many steps of each padded sequence are its own, the transient included.
    n_transient : int
        How many of them are not counted.

    Returns
    -------
    inputs : array or list of ndarray
        The array; or, with lengths, one array (time, …) for each trajectory, without its padding.
    lengths : ndarray or None
        (trajectory,).

    Raises
    ------
    ValueError
        If there is not one length for each trajectory, or some are less than 1, longer than the sequences, or not
        longer than the transient.
    """
    if isinstance(inputs, list | tuple) and not (inputs and all(np.isscalar(entry) for entry in inputs)):
        if lengths is not None:
            raise ValueError("sequences in a list have lengths of their own: give padded sequences, or no lengths=")
        rows = [as_array(entry) for entry in inputs]
        if not rows:
            raise ValueError("inputs are empty: a list of no sequences")
        given = np.array([len(row) if row.ndim else 0 for row in rows])
        if len({row.ndim for row in rows}) > 1 or len({row.shape[1:] for row in rows}) > 1:
            shapes = ", ".join(str(row.shape) for row in rows[:4])
            raise ValueError(f"the sequences in a list differ in more than their length: shapes {shapes}, …")
    elif lengths is None:
        return inputs, None
    else:
        if inputs is None:
            raise ValueError("lengths= is for padded inputs, and there are none")
        values = inputs.transpose("trajectory", "time", ...).values if isinstance(inputs, xr.DataArray) else inputs
        values = as_array(values)
        given = np.asarray(lengths)
        if given.ndim != 1 or (given.dtype.kind not in "iu" and not (given == np.round(given)).all()):
            raise ValueError(f"lengths must be whole numbers, one for each trajectory, got {lengths!r}")
        if values.ndim < 2 or len(given) != len(values):
            raise ValueError(f"there are {len(given)} lengths for inputs of shape {values.shape}, expected one each")
        given = given.astype(int)
        if (given > values.shape[1]).any():
            which = int((given > values.shape[1]).argmax())
            raise ValueError(f"trajectory {which} has length {given[which]}, its inputs have {values.shape[1]} steps")
        rows = [row[: max(length, 0)] for row, length in zip(values, given, strict=True)]
    if (given <= n_transient).any():
        which = int((given <= n_transient).argmax())
        why = f"n_transient={n_transient} leaves no step to count" if given[which] > 0 else "expected at least 1 step"
        raise ValueError(f"trajectory {which} has length {given[which]}: {why}")
    return rows, given


def checked_steps(
    inputs: np.ndarray | None, n_steps: int | None, n_transient: int, n_backward_transient: int = 0
) -> int:
    """Return the number of counted steps, between a transient and one that comes after them."""
    for name, number in (("n_transient", n_transient), ("n_backward_transient", n_backward_transient)):
        if number < 0:
            raise ValueError(f"{name} must not be negative, got {number}")
    if inputs is None:
        if n_steps is None:
            raise ValueError("n_steps is needed: an autonomous system has no inputs that would tell how long to run")
    else:
        available = inputs.shape[1] - n_transient - n_backward_transient
        left_out = f"n_transient={n_transient}"
        if n_backward_transient:
            left_out += f" and n_backward_transient={n_backward_transient}"
        if available < 1:
            verb = "leave" if n_backward_transient else "leaves"
            raise ValueError(f"{left_out} {verb} no step to count: the inputs have {inputs.shape[1]}")
        n_steps = available if n_steps is None else n_steps
        if n_steps > available:
            raise ValueError(
                f"n_steps={n_steps} after {left_out} need {n_steps + inputs.shape[1] - available} inputs, "
                f"only {inputs.shape[1]} are given"
            )
    if n_steps < 1:
        raise ValueError(f"n_steps must be at least 1, got {n_steps}")
    return n_steps
