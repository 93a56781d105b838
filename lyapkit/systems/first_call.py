"""`find_manner`: how a user's function can be called is found out at its first call."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lyapkit.systems.function_values import FunctionValues, NotNumbersError, not_a_function, same_numbers
from lyapkit.systems.kinks import KinkWatch
from lyapkit.systems.manners import InNumpy, Manner, OneByOneInTorch, TogetherInTorch

_BY_NUMPY = "__array__"  # NumPy's functions, of tensors; `numpy` is called by those who know that it is a tensor
_INTO_NUMPY = {_BY_NUMPY, "numpy"}
_OUT_OF_TORCH = {*_INTO_NUMPY, "__float__", "__int__", "item", "tolist"}


class FirstCall(NamedTuple):
    """What the first call of a function showed.

    Attributes
    ----------
    manner : Manner
        How it can be called.
    has_kinks : bool
        Whether it may have kinks, at which automatic differentiation is to be watched.
    leaves_torch : set of str
        The functions by which it leaves torch: "item", "__float__".
    differs_in_torch : bool
        Whether it gives other numbers for tensors than for arrays.
    """

    manner: Manner
    has_kinks: bool = False
    leaves_torch: frozenset[str] = frozenset()
    differs_in_torch: bool = False


def find_manner(function: Callable[..., Any], values: FunctionValues, arguments: tuple[Tensor, ...]) -> FirstCall:
    """Return how a function can be called: as a torch function on all trajectories at once, one by one, or in NumPy.

    Raises
    ------
    ValueError
        If the function fails in every manner, returns something that is not a real number, or returns different
        values for the same arguments.
    """
    error: Exception = ValueError("it was not called")
    watch = KinkWatch()
    for kind, helped in _torch_manners(values.batched):
        watch = KinkWatch()
        manner = kind(function, values, helped)
        try:
            with warnings.catch_warnings(), watch:
                warnings.simplefilter("ignore")
                value = manner.call(*arguments)
        except NotNumbersError as refusal:
            if not watch.called & _INTO_NUMPY:
                raise ValueError(str(refusal)) from None
            error = refusal
        except Exception as raised:  # whatever the user's function raised: the last one is shown in the end
            error = raised
        else:
            in_numpy, _ = _in_numpy(function, values, arguments) if watch.called & _INTO_NUMPY else (None, None)
            if in_numpy is not None:
                return FirstCall(in_numpy)
            if not _is_of_a_module(function) and _means_numpy(function, values, arguments, value):
                if not _writes(function, values, arguments):
                    raise ValueError(
                        f"{values.role} gives other numbers for NumPy arrays than for tensors, as s.std() does, which "
                        "divides by N or by N − 1: call NumPy's or torch's own functions, np.std(s) or torch.std(s), "
                        "so that it is clear which are meant"
                    )
                return FirstCall(InNumpy(function, values), differs_in_torch=True)
            leaves_torch = frozenset(watch.called & _OUT_OF_TORCH)
            has_kinks = watch.met is not None or kind is OneByOneInTorch or bool(leaves_torch)
            return FirstCall(_repeatable(manner, arguments, value), has_kinks, leaves_torch)
        if _BY_NUMPY in watch.called:
            break
    in_numpy, numpy_error = _in_numpy(function, values, arguments)
    if in_numpy is not None:
        return FirstCall(in_numpy)
    assert numpy_error is not None
    if _BY_NUMPY in watch.called:
        raise values.failure(arguments, numpy_error) from numpy_error
    if str(numpy_error) != str(error):
        error = TypeError(f"{error} (with NumPy arrays: {numpy_error})")
    raise values.failure(arguments, error) from error


def check_signature(function: Callable[..., Any], role: str, arguments: tuple[str, ...], advice: str) -> None:
    """Raise a `ValueError` if a function cannot be called with these arguments."""
    called = function.forward if isinstance(function, nn.Module) else function
    if not callable(called):
        raise ValueError(f"{role} is a {type(called).__name__}, expected a function of ({', '.join(arguments)})")
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):  # built-in functions have none
        return
    try:
        signature.bind(*arguments)
    except TypeError:
        raise ValueError(
            f"{role} takes {signature}, but it is called as {role}({', '.join(arguments)})"
            + (f": {advice}" if advice else "")
        ) from None


def _torch_manners(batched: bool) -> list[tuple[Callable[..., Manner], bool]]:
    kinds: list[Callable[..., Manner]] = [TogetherInTorch] if batched else [TogetherInTorch, OneByOneInTorch]
    return [(kind, helped) for kind in kinds for helped in (False, True)]


def _is_of_a_module(function: Callable[..., Any]) -> bool:
    return isinstance(function, nn.Module) or isinstance(getattr(function, "__self__", None), nn.Module)


def _means_numpy(
    function: Callable[..., Any], values: FunctionValues, arguments: tuple[Tensor, ...], value: Tensor
) -> bool:
    """Whether a function that takes tensors and arrays alike gives other numbers for arrays, which then count.

    A function that writes into its argument does: ``x = s[0]`` is a number for an array, for a tensor a view.
    """
    apart = FunctionValues(values.role, values.shape, values.batched)  # digits lost here are not lost in the run
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other = InNumpy(function, apart).call(*arguments)
    except Exception:
        return False
    if other.shape != value.shape or torch.allclose(
        other, value, rtol=1e5 * torch.finfo(value.dtype).eps, equal_nan=True
    ):
        return False
    try:
        again = (TogetherInTorch if values.batched else OneByOneInTorch)(function, apart).call(*arguments)
    except Exception:
        return False
    return same_numbers(again, value)  # else it is not a function at all, which is said elsewhere


def _writes(function: Callable[..., Any], values: FunctionValues, arguments: tuple[Tensor, ...]) -> bool:
    """Whether a function writes into the arrays that it is given."""
    given = [(value if values.batched else value[0]).detach().cpu().numpy().copy() for value in arguments]
    before = [value.copy() for value in given]
    function(*given)
    return not all(map(np.array_equal, given, before))


def _in_numpy(
    function: Callable[..., Any], values: FunctionValues, arguments: tuple[Tensor, ...]
) -> tuple[Manner | None, Exception | None]:
    """Return the manner if the function takes NumPy arrays, or why it does not."""
    manner = InNumpy(function, values)
    try:
        value = manner.call(*arguments)
    except NotNumbersError as error:
        raise ValueError(str(error)) from None
    except Exception as error:
        return None, error
    return _repeatable(manner, arguments, value), None


def _repeatable(manner: Manner, arguments: tuple[Tensor, ...], value: Tensor) -> Manner:
    again = manner.value(*arguments)
    if not same_numbers(again, value):
        raise ValueError(not_a_function(manner.values.role, value, again))
    return manner
