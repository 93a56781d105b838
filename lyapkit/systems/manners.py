"""The manners in which a user's function can be called on a batch of trajectories, and differentiated.

Nothing that a function does may reach the run by a back door: it gets private copies of its arguments, and what it
returns is copied. Only functions that are known to be pure are spared that.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lyapkit.systems.arithmetic import arithmetic_of_run
from lyapkit.systems.function_values import FunctionValues, NotNumbersError, same_numbers, stacked
from lyapkit.systems.kinks import KinkWatch


class Manner(ABC):
    """One way to call a function of (state,) or (state, input).

    Parameters
    ----------
    function : callable
        The user's.
    values : FunctionValues
        What it may return.
    helped : bool
        Whether its torch operations may mix precisions (`arithmetic_of_run`).
    """

    is_torch = True

    def __init__(self, function: Callable[..., Any], values: FunctionValues, helped: bool = False) -> None:
        self.function = function
        self.values = values
        self.helped = helped

    def value(self, *arguments: Tensor) -> Tensor:
        """Return the function's value as `call` does; raise a `ValueError` that says what is wrong with it."""
        return self._explained(self.call, arguments)

    def watched(self, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        """Return the value, and whether a kink was met, (B,)."""
        return self._explained(self.call_watching, arguments)

    @abstractmethod
    def call(self, *arguments: Tensor) -> Tensor:
        """Return the function's value, (B, …), a copy in the arguments' dtype."""

    @abstractmethod
    def call_watching(self, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        """Return the value, and whether a kink was met, (B,)."""

    @abstractmethod
    def pushed(self, state: Tensor, input: Tensor | None, tangent: Tensor) -> Tensor:
        """Return the tangent vectors (B, k, N) pushed by automatic differentiation."""

    def slower(self) -> Manner | None:
        """Return a manner that may still do where this one cannot differentiate the function."""
        return None

    def _explained(self, call: Callable[..., Any], arguments: tuple[Tensor, ...]) -> Any:
        try:
            result = call(*arguments)
        except NotNumbersError as error:
            raise ValueError(str(error)) from None
        except Exception as error:
            raise self.values.failure(arguments, error) from error
        self.values.require_shape(result[0] if isinstance(result, tuple) else result, len(arguments[0]))
        return result

    def _of_one(self, *arguments: Tensor) -> Any:
        """Return the function's value for one trajectory; a list of tensors and numbers as a tensor."""
        return stacked(self.function(*arguments), arguments[0])

    def _watched_one(self, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        with arithmetic_of_run(arguments[0].dtype, self.helped), KinkWatch() as watch:
            value = self._of_one(*arguments)
        return value, torch.zeros((), dtype=torch.bool) if watch.met is None else watch.met


class TogetherInTorch(Manner):
    """A torch function of all trajectories at once: one that takes batches, or by ``torch.vmap``."""

    writes: bool | None = None  # into its arguments; found out by the first call
    pushes_together = True  # all tangent vectors by one vmap

    def call(self, *arguments: Tensor) -> Tensor:
        """Return the function's value, (B, …), a copy in the arguments' dtype."""
        private = _copies(arguments)
        with arithmetic_of_run(arguments[0].dtype, self.helped):
            value = self.function(*private) if self.values.batched else torch.vmap(self._of_one)(*private)
        if self.writes is None:
            self.writes = not all(map(same_numbers, private, arguments))
        return self.values.of_tensor(value, arguments[0].dtype)

    def pushed(self, state: Tensor, input: Tensor | None, tangent: Tensor) -> Tensor:
        """Return the tangent vectors (B, k, N) pushed by automatic differentiation."""
        state = state.clone()  # once is enough, unless the function writes into it

        def value(point: Tensor) -> Tensor:
            return self._differentiable(*(point,) if input is None else (point, input))

        def derivative(direction: Tensor) -> Tensor:
            return torch.func.jvp(value, (state,), (direction,))[1]

        if self.pushes_together:
            return torch.vmap(derivative, in_dims=1, out_dims=1)(tangent)
        return torch.stack([derivative(direction) for direction in tangent.unbind(1)], dim=1)

    def _differentiable(self, *arguments: Tensor) -> Tensor:
        if self.values.batched or self.writes:
            return self.call(*arguments)
        dtype = arguments[0].dtype
        with arithmetic_of_run(dtype, self.helped):
            value = torch.vmap(self._of_one)(*arguments)
        return value if value.dtype == dtype else value.to(dtype)

    def call_watching(self, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        """Return the value, and whether a kink was met, (B,)."""
        batch, dtype = len(arguments[0]), arguments[0].dtype
        if self.values.batched:
            with arithmetic_of_run(dtype, self.helped), KinkWatch(batch) as watch:
                value = self.function(*_copies(arguments))
            met = torch.zeros(batch, dtype=torch.bool) if watch.met is None else watch.met
        else:
            value, met = torch.vmap(self._watched_one)(*_copies(arguments))
        return self.values.of_tensor(value, dtype), met

    def slower(self) -> Manner | None:
        """Return a manner that may do where vmap of the derivative allows less than the function alone."""
        if not self.values.batched:
            return OneByOneInTorch(self.function, self.values, self.helped)
        if not self.pushes_together:
            return None
        other = type(self)(self.function, self.values, self.helped)
        other.writes, other.pushes_together = self.writes, False
        return other


class PureTogetherInTorch(TogetherInTorch):
    """A torch function of batches that is known to leave its arguments alone and to return new tensors."""

    def call(self, *arguments: Tensor) -> Tensor:
        """Return the function's value, (B, …)."""
        return self.function(*arguments)

    def _differentiable(self, *arguments: Tensor) -> Tensor:
        return self.function(*arguments)


class OneByOneInTorch(Manner):
    """A torch function of one trajectory that vmap does not allow: Python's `if`, writing into a new tensor."""

    def call(self, *arguments: Tensor) -> Tensor:
        """Return the function's value, (B, …), a copy in the arguments' dtype."""
        return torch.stack([self._call_one(*rows) for rows in zip(*arguments, strict=True)])

    def _call_one(self, *arguments: Tensor) -> Tensor:
        dtype = arguments[0].dtype
        with arithmetic_of_run(dtype, self.helped):
            value = self._of_one(*_copies(arguments))
        return self.values.of_tensor(value, dtype)

    def pushed(self, state: Tensor, input: Tensor | None, tangent: Tensor) -> Tensor:
        """Return the tangent vectors (B, k, N) pushed by automatic differentiation."""
        arguments = (state,) if input is None else (state, input)
        jacobians = [self._jacobian_of_one(*rows) for rows in zip(*arguments, strict=True)]
        return tangent @ torch.stack(jacobians).mT

    def _jacobian_of_one(self, state: Tensor, *input: Tensor) -> Tensor:
        with torch.enable_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, about float(tensor): what is lost there is checked
            leaf = state.detach().clone().requires_grad_()
            value = self._call_one(leaf.clone(), *input).reshape(-1)
            if not value.requires_grad:
                return state.new_zeros(len(value), len(state))
            rows = [
                torch.autograd.grad(entry, leaf, retain_graph=True, allow_unused=True, materialize_grads=True)[0]
                for entry in value.unbind()
            ]
        return torch.stack(rows)

    def call_watching(self, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        """Return the value, and whether a kink was met, (B,)."""
        pairs = [self._watched_one(*_copies(rows)) for rows in zip(*arguments, strict=True)]
        values = [self.values.of_tensor(value, arguments[0].dtype) for value, _ in pairs]
        return torch.stack(values), torch.stack([met for _, met in pairs])


class InNumpy(Manner):
    """A function of NumPy arrays, which has no automatic derivative."""

    is_torch = False

    def call(self, *arguments: Tensor) -> Tensor:
        """Return the function's value, (B, …), a copy in the arguments' dtype."""
        arrays = [argument.detach().cpu().numpy().copy() for argument in arguments]
        with np.errstate(all="ignore"):  # a state that diverges is found, and named, by its values
            if self.values.batched:
                value = self.values.of_array(self.function(*arrays), arrays[0].dtype)
            else:
                rows = zip(*arrays, strict=True)
                value = np.stack([self.values.of_array(self.function(*row), arrays[0].dtype) for row in rows])
        return torch.as_tensor(value, device=arguments[0].device)

    def pushed(self, state: Tensor, input: Tensor | None, tangent: Tensor) -> Tensor:
        """Raise a `TypeError`: there is no derivative."""
        raise TypeError(f"{self.values.role} is not made of torch operations")

    def call_watching(self, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        """Return the value, and that no kink was met: none can be seen."""
        return self.call(*arguments), torch.zeros(len(arguments[0]), dtype=torch.bool)


def _copies(arguments: tuple[Tensor, ...]) -> list[Tensor]:
    return [argument.clone() for argument in arguments]
