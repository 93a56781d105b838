"""Functions of complex states as functions of twice as many real variables: real parts, then imaginary parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor


class OfParts:
    """A user's function of a complex state (…, N), as one of its real and imaginary parts (…, 2N).

    Its derivative is the real one, whether the function is holomorphic or not.

    Parameters
    ----------
    function : callable
        From complex states, and inputs if there are any, to complex states.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, state: Any, *input: Any) -> Any:
        """Return the parts (…, 2N) of the function's value."""
        value = self._function(_joined(state), *input)
        if isinstance(value, (list, tuple)) and any(isinstance(entry, Tensor) for entry in value):
            value = torch.stack([torch.as_tensor(entry) for entry in value])
        if isinstance(value, Tensor):
            value = value if value.is_complex() else torch.complex(value, torch.zeros_like(value))
            return torch.cat([value.real, value.imag], dim=-1)
        value = np.asarray(value)
        return np.concatenate([value.real, value.imag], axis=-1)


class JacobianOfParts:
    """The real Jacobian (…, 2N, 2N) that belongs to a complex derivative (…, N, N), or to a real one of all parts.

    A complex derivative c acts on real and imaginary parts as [[Re c, −Im c], [Im c, Re c]]: the function has to be
    holomorphic. Whether it is, differences show.

    Parameters
    ----------
    function : callable
        The user's Jacobian, a function of complex states.
    state_size : int
        N.
    """

    def __init__(self, function: Callable[..., Any], state_size: int) -> None:
        self._function = function
        self._state_size = state_size

    def __call__(self, state: Any, *input: Any) -> Any:
        """Return the real Jacobian (…, 2N, 2N)."""
        value = self._function(_joined(state), *input)
        if isinstance(value, Tensor):
            if value.shape[-1] != self._state_size:
                return value
            real, imaginary = (value.real, value.imag) if value.is_complex() else (value, torch.zeros_like(value))
            return torch.cat([torch.cat([real, -imaginary], dim=-1), torch.cat([imaginary, real], dim=-1)], dim=-2)
        value = np.asarray(value)
        if value.ndim < 2 or value.shape[-1] != self._state_size:
            return value
        return np.concatenate(
            [np.concatenate([value.real, -value.imag], -1), np.concatenate([value.imag, value.real], -1)], -2
        )


def _joined(parts: Any) -> Any:
    """Return complex numbers (…, N) from their parts (…, 2N)."""
    size = parts.shape[-1] // 2
    if isinstance(parts, Tensor):
        return torch.complex(parts[..., :size], parts[..., size:])
    return parts[..., :size] + 1j * parts[..., size:]
