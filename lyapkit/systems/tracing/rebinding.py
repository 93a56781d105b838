"""`rebound`: a user's function with `math` and NumPy's constructors replaced by ones that take `Value`s."""

from __future__ import annotations

import copy
import dis
import functools
import math
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from lyapkit.systems.tracing.functions import FUNCTIONS, hypot
from lyapkit.systems.tracing.numpy_functions import TracedArray, plain
from lyapkit.systems.tracing.tape import Untraceable, Value, require_float64


class _Stand:
    """Stands in for a module: some of its functions are replaced."""

    def __init__(self, module: Any, replaced: dict[str, Callable[..., Any]]) -> None:
        self._module, self._replaced = module, replaced

    def __getattr__(self, name: str) -> Any:
        return self._replaced[name] if name in self._replaced else getattr(self._module, name)


def _of_math(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    original = getattr(math, name)

    def either(*arguments: Any) -> Any:
        return function(*arguments) if any(isinstance(a, Value) for a in arguments) else original(*arguments)

    return either


def _made(name: str) -> Callable[..., Any]:
    original = getattr(np, name)

    def make(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        return result.astype(object).view(TracedArray) if result.dtype == np.float64 else result

    return make


def _array(values: Any, dtype: Any = None, **options: Any) -> Any:
    """Do what numpy.array does."""
    if not _has_values(values):
        return np.array(values, dtype=dtype, **options)
    require_float64(dtype)
    if set(options) - {"copy", "order"}:
        raise Untraceable(f"it calls numpy.array with {', '.join(options)}")
    array = np.array(plain(values), dtype=object)
    return array.view(TracedArray) if array.ndim else array.item()


def _as_array(values: Any, dtype: Any = None, **options: Any) -> Any:
    """Do what numpy.asarray does, which copies no array."""
    if isinstance(values, TracedArray):
        require_float64(dtype)
        return values
    return _array(values, dtype, **options)


def _has_values(entry: Any) -> bool:
    if isinstance(entry, np.ndarray):
        return plain(entry).dtype == object
    return any(map(_has_values, entry)) if isinstance(entry, (list, tuple)) else isinstance(entry, Value)


class _IsFloat(type):
    def __instancecheck__(cls, thing: Any) -> bool:
        return isinstance(thing, (float, Value))


class _Float(float, metaclass=_IsFloat):
    """Stands in for float and numpy.float64."""

    dtype = np.dtype(np.float64)

    def __new__(cls, thing: Any = 0.0) -> Any:
        return thing.as_number() if isinstance(thing, Value) else float(thing)


_MATH = {
    name: _of_math(name, FUNCTIONS[numpy_name])
    for name, numpy_name in {
        **{name: name for name in ("sqrt", "exp", "expm1", "log1p", "sin", "cos", "tan", "sinh", "cosh", "tanh")},
        **{
            name: name
            for name in ("erf", "floor", "ceil", "trunc", "fabs", "fmod", "degrees", "radians", "log2", "log10")
        },
        **{f"a{name}": f"arc{name}" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "tan2")},
        "pow": "power",
    }.items()
}
_MATH["log"] = _of_math("log", lambda x, base=math.e: x.do("log") if base == math.e else x.do("log") / math.log(base))
_MATH["hypot"] = _of_math("hypot", hypot)
_NUMPY = {name: _made(name) for name in ("zeros", "ones", "empty", "full", "eye", "identity")}
_NUMPY |= {"array": _array, "float64": _Float}
_NUMPY |= dict.fromkeys(("asarray", "asanyarray", "ascontiguousarray"), _as_array)
_BY_IDENTITY = {id(getattr(math, name)): function for name, function in _MATH.items()} | {
    id(getattr(np, name)): function for name, function in _NUMPY.items() if hasattr(np, name)
}
_STANDS = {id(math): _Stand(math, _MATH), id(np): _Stand(np, _NUMPY), id(float): _Float, id(np.float64): _Float}


def rebound(function: Callable[..., Any], _memo: dict[int, Any] | None = None) -> Callable[..., Any]:
    """Return a copy of a function, and of functions of the user's that it calls, that can be called with `Value`s."""
    memo = {} if _memo is None else _memo
    function = getattr(function, "py_func", function)  # one that numba compiled
    if isinstance(function, functools.partial):
        return functools.partial(rebound(function.func, memo), *function.args, **function.keywords)
    if isinstance(function, types.MethodType):
        return types.MethodType(rebound(function.__func__, memo), function.__self__)
    if not isinstance(function, types.FunctionType):
        return _rebound_object(function, memo)
    if id(function) in memo:
        return memo[id(function)]
    names = dict(function.__globals__)
    copied = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, _cells(function))
    copied.__kwdefaults__ = function.__kwdefaults__
    memo[id(function)] = copied
    _refuse_catching(function.__code__)
    for name in _names_in(function.__code__):
        if name in names:
            names[name] = _stand_in(names[name], memo)
        elif name == "float":
            names[name] = _STANDS[id(float)]
    for cell in copied.__closure__ or ():
        cell.cell_contents = _stand_in(cell.cell_contents, memo)
    return copied


def _rebound_object(thing: Any, memo: dict[int, Any]) -> Any:
    """Return a copy of an object that is called like a function, with the functions that it holds rebound."""
    call = type(thing).__dict__.get("__call__")
    if not isinstance(call, types.FunctionType):
        return thing
    copied = copy.copy(thing)
    for name, held in getattr(thing, "__dict__", {}).items():
        if callable(held) and not isinstance(held, type):
            setattr(copied, name, rebound(held, memo))
    return types.MethodType(rebound(call, memo), copied)


def _cells(function: types.FunctionType) -> tuple[types.CellType, ...] | None:
    closure = function.__closure__
    return None if closure is None else tuple(types.CellType(cell.cell_contents) for cell in closure if _filled(cell))


def _filled(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not None or True
    except ValueError:  # a function that names itself, before it is there
        raise Untraceable("it is not complete yet") from None


def _refuse_catching(code: types.CodeType) -> None:
    """Refuse code that catches exceptions: what raises them in Python gives NaN here."""
    if any(instruction.opname == "CHECK_EXC_MATCH" for instruction in dis.get_instructions(code)):
        raise Untraceable("it catches exceptions")


def _names_in(code: types.CodeType) -> set[str]:
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return set(code.co_names).union(*(_names_in(c) for c in inner))


def _stand_in(thing: Any, memo: dict[int, Any]) -> Any:
    if id(thing) in _STANDS:
        return _STANDS[id(thing)]
    if id(thing) in _BY_IDENTITY:
        return _BY_IDENTITY[id(thing)]
    is_own = isinstance(thing, types.FunctionType) and not (thing.__module__ or "").startswith(("numpy", "torch"))
    return rebound(thing, memo) if is_own or hasattr(thing, "py_func") else thing
