"""`FunctionValues`: what a user's function may return, and how that becomes numbers of the run."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


class NotNumbersError(TypeError):
    """A function returned what is not a real number with digits after the point."""


class FunctionValues:
    """The values of one function: converted where that is exact, named where digits are lost, else refused.

    Parameters
    ----------
    role : str
        What messages call the function: "step", "jacobian", "vector_field".
    shape : tuple of int
        Of its value for one trajectory.
    batched : bool
        Whether it takes and returns a leading trajectory dimension.

    Attributes
    ----------
    losses : set of str
        Where digits were lost, one sentence each.
    """

    def __init__(self, role: str, shape: tuple[int, ...], batched: bool) -> None:
        self.role = role
        self.shape = shape
        self.batched = batched
        self.losses: set[str] = set()

    def of_tensor(self, value: Any, dtype: torch.dtype) -> Tensor:
        """Return a copy of a tensor in `dtype`.

        Raises
        ------
        TypeError
            If it is no tensor; `NotNumbersError` if it holds complex or whole numbers.
        """
        if not isinstance(value, Tensor):
            raise TypeError(f"it returned a {type(value).__name__}, not a tensor, for tensors")
        if value.dtype == dtype:
            return value.clone()
        self._check_kind(value.dtype.is_complex, value.dtype.is_floating_point, value.dtype)
        if value.dtype.is_floating_point and torch.finfo(value.dtype).eps > torch.finfo(dtype).eps:
            self._lose_digits(value.dtype, dtype)
        return value.to(dtype, copy=True)

    def of_array(self, value: Any, dtype: np.dtype) -> np.ndarray:
        """Return a copy of an array, or of what NumPy makes one, in `dtype`. Raises as `of_tensor` does."""
        if value is None:
            raise TypeError("it returned None: is there a return statement?")
        array = np.asarray(value)
        if array.dtype.kind == "O":
            array = array.astype(dtype)
        self._check_kind(array.dtype.kind == "c", array.dtype.kind == "f", array.dtype)
        if array.dtype.kind == "f" and array.dtype.itemsize < dtype.itemsize:
            self._lose_digits(array.dtype, dtype)
        return np.array(array, dtype=dtype)

    def require_shape(self, value: Tensor, batch: int) -> None:
        """Raise a `ValueError` if a value for `batch` trajectories is of another shape."""
        if value.shape != (batch, *self.shape):
            got, expected = (s if self.batched else s[1:] for s in (tuple(value.shape), (batch, *self.shape)))
            raise ValueError(
                f"{self.role} returned shape {got}, expected {expected} "
                f"(state_size={self.shape[0]}, batched={self.batched})"
            )

    def failure(self, arguments: tuple[Tensor, ...], error: Exception) -> ValueError:
        """Return the error that says that the function failed, on what, and why."""
        shapes = " and ".join(str(tuple(a.shape if self.batched else a.shape[1:])) for a in arguments)
        reason = str(error)
        if not isinstance(error, (TypeError, ValueError, RuntimeError, IndexError, AttributeError)) or not reason:
            reason = f"{type(error).__name__} {reason}".strip()
        if "expected Tensor as element" in reason:
            reason += "; numbers beside tensors may stand in a list, which need not be stacked: return [a, 1.0]"
        if self.batched:
            reason += " (a batched function has to take any number of trajectories)"
        return ValueError(f"{self.role} failed on arguments of shape {shapes}: {reason}")

    def _check_kind(self, is_complex: bool, is_floating: bool, dtype: Any) -> None:
        if is_complex:
            raise NotNumbersError(
                f"{self.role} returned complex numbers for a real state: for a system of complex states give a complex "
                "initial_state, for a real one return the real part"
            )
        if not is_floating and (len(self.shape) == 1 or str(dtype).endswith("bool")):  # whole-number matrices are exact
            raise NotNumbersError(
                f"{self.role} returned {str(dtype).removeprefix('torch.')} values, expected floating-point numbers: "
                "an array of whole numbers cuts off what comes after the point (write 1.0 for 1, or dtype=float)"
            )

    def _lose_digits(self, given: Any, expected: Any) -> None:
        given, expected = (str(dtype).removeprefix("torch.") for dtype in (given, expected))
        self.losses.add(
            f"{self.role} returned {given} numbers in a run in {expected}: the digits that {given} lacks are lost in "
            "every step, and the exponents are those of the rounded system"
        )


def same_numbers(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are bitwise the same, up to what a GPU's order of summation may change; NaN equals NaN."""
    if first.device.type == "cpu":
        return torch.equal(first.nan_to_num(nan=1.25e300), second.nan_to_num(nan=1.25e300))
    return torch.allclose(first, second, rtol=64 * torch.finfo(first.dtype).eps, equal_nan=True)


def not_a_function(role: str, first: Tensor, second: Tensor) -> str:
    """Return what is wrong with a function that gave two values for the same arguments."""
    difference = (first - second).abs().nan_to_num(nan=torch.inf).flatten()
    worst = int(difference.argmax())
    return (
        f"{role} is not a function of its arguments: called twice with the same, it returned "
        f"{float(first.flatten()[worst]):.10g} and {float(second.flatten()[worst]):.10g}. Random numbers, dropout "
        "(call module.eval()), counters and other memory of its own do that: make them inputs (input_size=), state "
        "variables, or constants"
    )


def stacked(value: Any, like: Tensor) -> Any:
    """Return lists of tensors and numbers, nested or not, as one tensor; anything else as it is."""
    if not isinstance(value, (list, tuple)) or not _has_tensor(value):
        return value
    return torch.stack(
        [
            entry if isinstance(entry, Tensor) else torch.as_tensor(entry, dtype=like.dtype, device=like.device)
            for entry in (stacked(entry, like) for entry in value)
        ]
    )


def _has_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, (list, tuple)) and any(_has_tensor(v) for v in value))
