"""Fields that depend on time, as fields of one more variable, the time, which grows at rate 1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

_DIFFERENCE = 1e-6  # of time, relative to 1 + |time|


class WithTime:
    """A user's field of (time, state) as one of the state with the time as its last variable, (…, N + 1).

    Parameters
    ----------
    function : callable
        vector_field(time, state) or vector_field(time, state, input).
    state_size : int
        N, without the time.
    """

    def __init__(self, function: Callable[..., Any], state_size: int) -> None:
        self._function = function
        self._state_size = state_size

    def __call__(self, state: Any, *input: Any) -> Any:
        """Return the field (…, N + 1), whose last entry is 1."""
        value = self._function(state[..., -1], state[..., :-1], *input)
        if isinstance(value, (list, tuple)) and any(isinstance(entry, Tensor) for entry in value):
            value = torch.stack([torch.as_tensor(entry, dtype=state.dtype) for entry in value])
        value = value if isinstance(value, Tensor) else np.asarray(value)
        expected = (*state.shape[:-1], self._state_size)
        if tuple(value.shape) != tuple(expected):
            raise ValueError(f"vector_field returned shape {tuple(value.shape)}, expected {tuple(expected)}")
        if isinstance(value, Tensor):
            return torch.cat([value, torch.ones_like(value[..., :1])], dim=-1)
        return np.concatenate([value, np.ones_like(value[..., :1])], axis=-1)


class JacobianWithTime:
    """The derivative (…, N + 1, N + 1) of a field `WithTime`, from the user's (…, N, N) by the state.

    The derivative by time is had from differences. Exponents do not depend on it: a perturbation of the state alone
    never becomes one of time.

    Parameters
    ----------
    function : callable
        jacobian(time, state) or jacobian(time, state, input).
    field : WithTime
        The field.
    state_size : int
        N, without the time.
    """

    def __init__(self, function: Callable[..., Any], field: WithTime, state_size: int) -> None:
        self._function = function
        self._field = field
        self._state_size = state_size

    def __call__(self, state: Any, *input: Any) -> Any:
        """Return the matrix; its last row is zero."""
        size = self._state_size
        value = self._function(state[..., -1], state[..., :-1], *input)
        value = value if isinstance(value, Tensor) else np.asarray(value)
        if tuple(value.shape) != (*state.shape[:-1], size, size):
            raise ValueError(f"it returned shape {tuple(value.shape)}, expected {(*state.shape[:-1], size, size)}")
        shift = state * 0
        shift[..., -1] = _DIFFERENCE * (1 + abs(state[..., -1]))
        by_time = (self._field(state + shift, *input) - self._field(state - shift, *input)) / (2 * shift[..., -1:])
        if isinstance(value, Tensor):
            matrix = state.new_zeros((*state.shape[:-1], size + 1, size + 1))
            matrix[..., :size, -1] = torch.as_tensor(by_time)[..., :-1]
        else:
            matrix = np.zeros((*state.shape[:-1], size + 1, size + 1), dtype=state.dtype)
            matrix[..., :size, -1] = by_time[..., :-1]
        matrix[..., :size, :size] = value
        return matrix
