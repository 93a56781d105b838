"""`arithmetic_of_run`: lets a user's torch function compute in the run's dtype, whatever constants it captured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


@contextmanager
def arithmetic_of_run(dtype: torch.dtype, helped: bool) -> Iterator[None]:
    """Inside this context new tensors have the run's dtype; `helped` by `OneArithmetic`, mixed ones, too."""
    before = torch.get_default_dtype()
    if before != dtype:
        torch.set_default_dtype(dtype)
    try:
        with OneArithmetic(dtype) if helped else nullcontext():
            yield
    finally:
        if before != dtype:
            torch.set_default_dtype(before)


class OneArithmetic(TorchFunctionMode):
    """Inside this context torch functions that meet real tensors of different precision compute in `dtype`.

    torch refuses to multiply a float32 matrix by a float64 state. Here the matrix's values are taken as they are and
    the product is computed in float64.

    Parameters
    ----------
    dtype : torch.dtype
        The run's.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        writes_in_place = name == "__setitem__" or (name.endswith("_") and not name.endswith("__"))
        if not writes_in_place and self._is_mixed((*args, *kwargs.values())):
            args = tuple(self._promoted(argument) for argument in args)
            kwargs = {key: self._promoted(argument) for key, argument in kwargs.items()}
        return func(*args, **kwargs)

    def _is_mixed(self, arguments: tuple[Any, ...]) -> bool:
        dtypes = {tensor.dtype for tensor in _tensors(arguments) if tensor.is_floating_point()}
        return len(dtypes) > 1 and self.dtype in dtypes

    def _promoted(self, argument: Any) -> Any:
        if isinstance(argument, Tensor):
            return argument.to(self.dtype) if argument.is_floating_point() else argument
        if type(argument) in (list, tuple):
            return type(argument)(self._promoted(entry) for entry in argument)
        return argument


def _tensors(arguments: tuple[Any, ...] | list[Any]) -> list[Tensor]:
    found = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            found.append(argument)
        elif type(argument) in (list, tuple):
            found.extend(_tensors(argument))
    return found
