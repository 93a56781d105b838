"""`traced`: a user's function, in NumPy or torch, as a `Program`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lyapkit.systems.tracing.numpy_functions import as_traced
from lyapkit.systems.tracing.program import Program
from lyapkit.systems.tracing.rebinding import rebound
from lyapkit.systems.tracing.tape import Tape, Untraceable, Value
from lyapkit.systems.tracing.torch_functions import Leaving, TorchTrace


def traced(
    function: Callable[..., Any],
    state_size: int,
    input_size: int | None = None,
    *,
    jacobian: Callable[..., Any] | None = None,
    batched: bool = False,
    in_torch: tuple[bool, bool] = (False, False),
) -> Program:
    """Return what a function of a state, and an input, computes.

    Parameters
    ----------
    function : callable
        (N,) -> (N,), or (1, N) -> (1, N) if it is `batched`; NumPy or torch.
    state_size, input_size : int
        N and I; no input if that is None.
    jacobian : callable, optional
        (N,) -> (N, N), likewise.
    batched : bool
        Whether functions take a leading dimension.
    in_torch : (bool, bool)
        Whether function and Jacobian are made of torch operations; else of NumPy's.

    Raises
    ------
    Untraceable
        If a function does something that is not arithmetic with its arguments, or is too long.
    """
    tape = Tape()
    arguments = [tape.variables("state", state_size)]
    if input_size is not None:
        arguments.append(tape.variables("input", input_size))
    outputs = _values(function, tape, arguments, batched, (state_size,), in_torch[0])
    given = None
    if jacobian is not None:
        given = _values(jacobian, tape, arguments, batched, (state_size, state_size), in_torch[1])
    return Program(tape, outputs, state_size, input_size or 0, given)


def _values(
    function: Callable[..., Any],
    tape: Tape,
    arguments: list[list[Value]],
    batched: bool,
    shape: tuple[int, ...],
    in_torch: bool,
) -> list[Value]:
    """Return the values of a function's outputs."""
    shape = (1, *shape) if batched else shape
    call = _torch_call if in_torch else _numpy_call
    try:
        return tape.outcomes(lambda: call(function, tape, arguments, batched, shape))
    except Untraceable:
        raise
    except Exception as error:  # whatever a user's function raises
        raise Untraceable(f"it does what is not known here ({type(error).__name__}: {error})") from error


def _numpy_call(
    function: Callable[..., Any], tape: Tape, arguments: list[list[Value]], batched: bool, shape: tuple[int, ...]
) -> list[Value]:
    arrays = []
    for values in arguments:
        array = np.empty(len(values), dtype=object)
        array[:] = values
        arrays.append(as_traced(array[None] if batched else array))
    result = rebound(function)(*arrays)
    return _listed(result, tape, shape)


def _torch_call(
    function: Callable[..., Any], tape: Tape, arguments: list[list[Value]], batched: bool, shape: tuple[int, ...]
) -> list[Value]:
    before = torch.get_default_dtype()
    trace = TorchTrace(tape)
    tensors = []
    for values in arguments:
        array = np.empty(len(values), dtype=object)
        array[:] = values
        tensor = torch.full((1, len(values)) if batched else (len(values),), 0.5, dtype=torch.float64)
        trace.go_with(tensor, array.reshape(tensor.shape))
        tensors.append(tensor)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad(), trace, Leaving(trace):
            result = function(*tensors)
            if not isinstance(result, Tensor):
                result = _stacked(result)
    finally:
        torch.set_default_dtype(before)
    return _listed(trace.values_of(result), tape, shape)


def _stacked(result: Any) -> Tensor:
    if isinstance(result, (list, tuple)):
        return torch.stack([_stacked(entry) for entry in result])
    return result if isinstance(result, Tensor) else torch.tensor(result, dtype=torch.float64)


def _listed(result: Any, tape: Tape, shape: tuple[int, ...]) -> list[Value]:
    array = np.asarray(result, dtype=object) if not isinstance(result, np.ndarray) else result.view(np.ndarray)
    if array.shape != shape:
        raise Untraceable(f"it returns shape {array.shape}, expected {shape}")
    return [entry if isinstance(entry, Value) else tape.constant(float(entry)) for entry in array.reshape(-1)]
