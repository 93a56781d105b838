"""What NumPy's functions do to `Value`s, and arrays of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lyapkit.systems.tracing.functions import function_of, maximum, minimum, where
from lyapkit.systems.tracing.tape import Untraceable, Value, require_float64

_OF_REDUCTIONS = {"keepdims": False, "initial": None, "where": True}
_REDUCED = ("maximum", "minimum", "logical_and", "logical_or")


class TracedArray(np.ndarray):
    """An array of values, whose universal functions are noted element by element."""

    def __array_ufunc__(self, *arguments: Any, **options: Any) -> Any:
        return universal(*arguments, **options)

    def __array_function__(self, function: Callable[..., Any], types: Any, arguments: Any, options: Any) -> Any:
        return called(function, arguments, options)

    @property
    def dtype(self) -> np.dtype:
        """What the array is in place of."""
        return np.dtype(np.float64)

    def astype(self, kind: Any, **_: Any) -> TracedArray:
        """Return a copy of floats, or refuse to round."""
        require_float64(kind)
        return as_traced(numbers(plain(self)))


def as_traced(values: Any) -> Any:
    """Return an array of values; a single one as it is."""
    if isinstance(values, np.ndarray) and values.ndim:
        return np.asarray(values, dtype=object).view(TracedArray)
    return values.item() if isinstance(values, np.ndarray) else values


def plain(argument: Any) -> Any:
    """Return an argument with arrays of values as arrays of objects."""
    if isinstance(argument, TracedArray):
        return argument.view(np.ndarray)
    if isinstance(argument, Value):
        return np.asarray(argument, dtype=object)
    if isinstance(argument, (list, tuple)) and _holds(argument, Value):
        if _holds(argument, np.ndarray):
            return [plain(entry) for entry in argument]
        return np.array(argument, dtype=object)
    return list(map(plain, argument)) if isinstance(argument, list) else argument


def _holds(entries: Any, kind: type) -> bool:
    return any(isinstance(e, kind) or (isinstance(e, (list, tuple)) and _holds(e, kind)) for e in entries)


def numbers(array: np.ndarray) -> np.ndarray:
    """Return an array with truth values as numbers."""
    return np.frompyfunc(lambda e: e.as_number() if isinstance(e, Value) else e, 1, 1)(array)


def holds_values(array: Any) -> bool:
    """Return whether some entries of an array are values."""
    return any(isinstance(entry, Value) for entry in np.ravel(array))


def elementwise(function: Callable[..., Any], *operands: Any) -> Any:
    """Return a function of every element of arrays, which are broadcast."""
    arrays = [np.asarray(plain(operand), dtype=object) for operand in operands]

    def one(*elements: Any) -> Any:
        return function(*elements) if any(isinstance(e, Value) for e in elements) else _ofnumbers(function, elements)

    return as_traced(np.asarray(np.frompyfunc(one, len(arrays), 1)(*arrays), dtype=object))


def _ofnumbers(function: Callable[..., Any], elements: tuple[Any, ...]) -> Any:
    """Return a function's value for numbers alone, which stand beside values in an array."""
    from lyapkit.systems.tracing.tape import Tape

    tape = Tape()
    result = function(*(tape.constant(float(element)) for element in elements))
    return result.known if isinstance(result, Value) else result


def universal(ufunc: np.ufunc, method: str, *operands: Any, out: tuple[Any, ...] | None = None, **options: Any) -> Any:
    """Return what a universal function makes of values."""
    if ufunc is np.matmul and method == "__call__":
        result = as_traced(np.matmul(*map(_two, map(plain, operands))))
    elif method == "__call__" and not set(options) - {"dtype", "casting", "subok"}:
        require_float64(options.get("dtype"))
        result = elementwise(function_of(ufunc.__name__), *operands)
    elif method == "reduce" and ufunc.__name__ in _REDUCED:
        axis, array = options.pop("axis", 0), np.asarray(plain(operands[0]), dtype=object)
        if any(options.get(name, default) not in (default, np._NoValue) for name, default in _OF_REDUCTIONS.items()):
            raise Untraceable(f"it calls numpy.{ufunc.__name__}.reduce with {', '.join(options)}")
        rows = array.reshape(-1) if axis is None else np.moveaxis(array, axis, 0)
        function = function_of(ufunc.__name__)
        result = functools.reduce(lambda a, b: elementwise(function, a, b), rows)
    elif method in ("reduce", "accumulate") and ufunc in (np.add, np.multiply):
        require_float64(options.pop("dtype", None))
        result = as_traced(getattr(ufunc, method)(numbers(_two(plain(operands[0]))), **options))
    elif method == "outer":
        first, second = np.asarray(plain(operands[0])), np.asarray(plain(operands[1]))
        result = elementwise(function_of(ufunc.__name__), first.reshape(first.shape + (1,) * second.ndim), second)
    else:
        raise Untraceable(f"it calls numpy.{ufunc.__name__}.{method}")
    if out is None:
        return result
    target = out[0]
    if not isinstance(target, np.ndarray) or plain(target).dtype != object:
        raise Untraceable("it writes into an array that was made elsewhere")
    target[...] = result
    return target


def _two(operand: Any) -> np.ndarray:
    return np.asarray(operand, dtype=object)


def called(function: Callable[..., Any], arguments: Sequence[Any], options: dict[str, Any]) -> Any:
    """Return what one of NumPy's other functions makes of values."""
    name = function.__name__
    if name in _OWN:
        return _OWN[name](*arguments, **options)
    require_float64(options.pop("dtype", None))
    options = {key: plain(value) for key, value in options.items()}
    if name in _JOINS:
        parts, *arguments = arguments
        result = function([np.asarray(plain(part), dtype=object) for part in parts], *arguments, **options)
    else:
        result = function(*map(plain, arguments), **options)
    return [as_traced(part) for part in result] if isinstance(result, (list, tuple)) else as_traced(result)


def _norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    if ord not in (None, 2, "fro"):
        raise Untraceable(f"it calls numpy.linalg.norm with ord={ord}")
    if ord == 2 and np.ndim(x) > 1 and axis is None:
        raise Untraceable("it takes a matrix norm")
    return np.sqrt(as_traced(np.sum(plain(as_traced(x * x)), axis=axis, keepdims=keepdims)))


def _clip(a: Any, a_min: Any = None, a_max: Any = None, **options: Any) -> Any:
    low, high = options.get("min", a_min), options.get("max", a_max)
    a = a if low is None else elementwise(maximum, a, low)
    return a if high is None else elementwise(minimum, a, high)


def _mean(a: Any, axis: Any = None, **options: Any) -> Any:
    total = np.add.reduce(numbers(_two(plain(a))), axis=axis, **options)
    return as_traced(np.asarray(total * (np.size(total) / np.size(a)), dtype=object))


_JOINS = ("concatenate", "stack", "hstack", "vstack", "dstack", "column_stack")
_OWN: dict[str, Callable[..., Any]] = {
    "where": lambda *arguments: elementwise(where, *arguments),
    "clip": _clip,
    "norm": _norm,
    "mean": _mean,
    "sum": lambda a, axis=None, dtype=None, **options: np.add.reduce(as_traced(a), axis=axis, dtype=dtype, **options),
    "any": lambda a, axis=None, **options: np.logical_or.reduce(a, axis=axis, **options),
    "all": lambda a, axis=None, **options: np.logical_and.reduce(a, axis=axis, **options),
    "real": lambda x: x,
    "round": lambda x, decimals=0: np.rint(x) if decimals == 0 else np.rint(x * 10.0**decimals) / 10.0**decimals,
    "copy": lambda x: x.copy() if isinstance(x, np.ndarray) else x,
}
