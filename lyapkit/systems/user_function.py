"""`UserFunction`: a user's function of a state, callable on a batch of torch tensors whatever it is written in."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lyapkit.systems.first_call import FirstCall, check_signature, find_manner
from lyapkit.systems.function_values import FunctionValues
from lyapkit.systems.kinks_met import KinksMet
from lyapkit.systems.manners import Manner, OneByOneInTorch, PureTogetherInTorch
from lyapkit.systems.precision import in_dtype


class UserFunction:
    """A user's function of (state,) or (state, input), for a batch of trajectories.

    How it can be called is found out at the first call: as a torch function, which can be differentiated, on all
    trajectories at once by ``torch.vmap``; on one at a time, where vmap does not allow what it does (Python's `if`,
    writing into a new tensor); or, where it is not made of torch operations, with NumPy arrays.

    Parameters
    ----------
    function : callable
        The user's.
    role : str
        What messages call it: "step", "jacobian", "vector_field".
    shape : tuple of int
        Of its value for one trajectory.
    batched : bool
        Whether it takes and returns a leading trajectory dimension.
    arguments : tuple of str
        Names of its arguments, for messages.
    advice : str
        What to try when its signature is not that.

    Attributes
    ----------
    is_pure : bool
        Whether the function is known to leave its arguments alone and to return new tensors of their dtype, as those
        of `classical` do, so that no copies are needed. Default False.

    Raises
    ------
    ValueError
        If the function does not take these arguments; and at use, if it fails, returns another shape or something
        that is not a real number, or returns different values for the same arguments.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        role: str,
        shape: tuple[int, ...],
        batched: bool,
        arguments: tuple[str, ...] = ("state",),
        advice: str = "",
    ) -> None:
        self.function = function
        self.role = role
        self.shape = shape
        self.batched = batched
        self.is_pure = False
        self.is_complex_derivative = False  # of a complex map, read as one of real parts
        check_signature(function, role, arguments, advice)
        self._forget()

    def _forget(self) -> None:
        self._values = FunctionValues(self.role, self.shape, self.batched)
        self._first_call: FirstCall | None = None
        self._manner: Manner | None = None
        if self.is_pure:
            self._manner = PureTogetherInTorch(self.function, self._values)
            self._first_call = FirstCall(self._manner)
        self._kinks = KinksMet(lambda state, input: self(state, input).flatten(1), self.pushed)

    def fresh(self) -> UserFunction:
        """Return this function with nothing found out or recorded."""
        other = copy.copy(self)
        other._forget()
        return other

    def converted(self, dtype: torch.dtype, device: torch.device) -> UserFunction:
        """Return this function, a module's parameters converted; the original is not changed."""
        other = copy.copy(self)
        if isinstance(self.function, nn.Module):
            other.function = in_dtype(self.function, dtype, device)
        other._forget()
        return other

    def wrapped(self, wrap: Callable[[Callable[..., Any]], Callable[..., Any]], shape: tuple[int, ...]) -> UserFunction:
        """Return this function inside another, whose value for one trajectory has another shape."""
        other = copy.copy(self)
        other.function, other.shape, other.is_pure = wrap(self.function), shape, False
        other._forget()
        return other

    def trust(self) -> None:
        """Take the function to be pure: torch, batched, never writing into its arguments."""
        self.is_pure = True
        self._forget()

    def call_once(self, state: Tensor, input: Tensor | None) -> None:
        """Find out how the function can be called, if that is not known."""
        self._found(_arguments(state, input))

    @property
    def is_torch(self) -> bool:
        """Whether the function is made of torch operations, as far as its first call shows; False before it."""
        return self._manner is not None and self._manner.is_torch

    @property
    def differs_in_torch(self) -> bool:
        """Whether it gives other numbers for tensors than for arrays, which then count."""
        return self._first_call is not None and self._first_call.differs_in_torch

    @property
    def leaves_torch(self) -> frozenset[str]:
        """The functions by which it leaves torch, and its derivative behind: "item", "__float__"."""
        return frozenset() if self._first_call is None else self._first_call.leaves_torch

    @property
    def loses_digits(self) -> bool:
        """Whether it returned numbers of fewer digits than the run's."""
        return bool(self._values.losses)

    def __call__(self, state: Tensor, input: Tensor | None) -> Tensor:
        """Return the function's value, (B, *shape), in the dtype of `state`."""
        arguments = _arguments(state, input)
        return self._found(arguments).value(*arguments)

    def watched(self, state: Tensor, input: Tensor | None) -> Tensor:
        """Return the function's value, noting the states at which it stands at a kink."""
        arguments = _arguments(state, input)
        manner = self._found(arguments)
        self._kinks.n_calls += 1
        if not self._may_have_kinks:
            return manner.value(*arguments)
        value, met = manner.watched(*arguments)
        if bool(met.any()):
            self._kinks.note(met, state, input)
        return value

    def pushed(self, state: Tensor, input: Tensor | None, tangent: Tensor) -> Tensor:
        """Return the tangent vectors (B, k, N) pushed by automatic differentiation."""
        manner = self._found(_arguments(state, input))
        try:
            return manner.pushed(state, input, tangent)
        except Exception:  # vmap of the derivative may allow less than the function alone
            slower = manner.slower()
            if slower is None:
                raise
        self._manner = slower
        return slower.pushed(state, input, tangent)

    @property
    def stood_at_kinks(self) -> bool:
        """Whether it stood at a kink in any of the calls."""
        return self._kinks.first is not None or self._kinks.n_states > 0

    def findings(self, smallest_share: float = 0.0) -> list[str]:
        """Return what the calls so far showed that a user must know: lost digits, kinks met exactly.

        Kinks are not named where they were met at less than `smallest_share` of the calls.
        """
        return sorted(self._values.losses) + self._kinks.findings(self.role, smallest_share)

    def _found(self, arguments: tuple[Tensor, ...]) -> Manner:
        if self._manner is None:
            self._first_call = find_manner(self.function, self._values, arguments)
            self._manner = self._first_call.manner
        return self._manner

    @property
    def _may_have_kinks(self) -> bool:
        return (self._first_call is not None and self._first_call.has_kinks) or isinstance(
            self._manner, OneByOneInTorch
        )


def _arguments(state: Tensor, input: Tensor | None) -> tuple[Tensor, ...]:
    return (state,) if input is None else (state, input)
