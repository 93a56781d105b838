"""Functions of `Value`s that are made of a tape's operations, by NumPy's names."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lyapkit.systems.tracing.tape import Untraceable, Value


def _simple(name: str) -> Callable[[Value], Value]:
    return lambda x: x.do(name)


def _log1p_exp(x: Value) -> Value:
    return maximum(x, 0.0) + (-abs(x)).do("exp").do("log1p")


def minimum(a: Any, b: Any) -> Value:
    """Return the smaller of two; NaN, of which no comparison holds, if one is."""
    a, b = _both(a, b)
    return ((b < a) | (b != b)).choose(b, a) if a.known is None else (a <= b).choose(a, b)


def maximum(a: Any, b: Any) -> Value:
    """Return the larger of two; NaN if one is."""
    a, b = _both(a, b)
    return ((a < b) | (b != b)).choose(b, a) if a.known is None else (b <= a).choose(a, b)


def fmin(a: Any, b: Any) -> Value:
    """Return the smaller of two; the other one if one is NaN."""
    a, b = _both(a, b)
    return ((a <= b) | (b != b)).choose(a, b)


def fmax(a: Any, b: Any) -> Value:
    """Return the larger of two; the other one if one is NaN."""
    a, b = _both(a, b)
    return ((b <= a) | (b != b)).choose(a, b)


def _both(a: Any, b: Any) -> tuple[Value, Value]:
    return (a, a.taken(b)) if isinstance(a, Value) else (b.taken(a), b)


def _truth(x: Any) -> Any:
    return x.truth if isinstance(x, Value) else bool(x)


def sigmoid(x: Value) -> Value:
    """Return 1/(1 + exp(−x)), without overflow."""
    small = (-abs(x)).do("exp")
    return (x < 0.0).choose(small, 1.0) / (1.0 + small)


def sign(x: Value) -> Value:
    """Return −1, 0 or 1."""
    return (x == x).choose((x > 0.0) - (x < 0.0), x)


def where(condition: Any, this: Any, that: Any) -> Any:
    """Return `this` where the condition holds, else `that`."""
    return condition.choose(this, that) if isinstance(condition, Value) else (this if condition else that)


def rounded(x: Value) -> Value:
    """Return the nearest whole number, of two the even one."""
    below = x.do("floor")
    rest = x - below
    is_odd = (below * 0.5).do("floor") * 2.0 < below
    return below + ((rest > 0.5) | ((rest >= 0.5) & is_odd))


def hypot(a: Any, b: Any) -> Value:
    """Return √(a² + b²)."""
    return (a * a + b * b).do("sqrt")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{
        name: _simple(name)
        for name in (
            *("sqrt", "exp", "expm1", "log", "log1p", "sin", "cos", "tan", "floor", "erf"),
            *("arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh", "negative"),
        )
    },
    "arctan2": lambda a, b: a.do("arctan2", b) if isinstance(a, Value) else b.taken(a).do("arctan2", b),
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "power": lambda a, b: a**b,
    "float_power": lambda a, b: a**b,
    "remainder": lambda a, b: a % b,
    "floor_divide": lambda a, b: a // b,
    "fmod": lambda a, b: a.do("fmod", b) if isinstance(a, Value) else b.taken(a).do("fmod", b),
    "less": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b,
    "greater": lambda a, b: a > b,
    "greater_equal": lambda a, b: a >= b,
    "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
    "logical_and": lambda a, b: _truth(a) & _truth(b),
    "logical_or": lambda a, b: _truth(a) | _truth(b),
    "logical_xor": lambda a, b: _truth(a) ^ _truth(b),
    "bitwise_xor": lambda a, b: a ^ b,
    "bitwise_and": lambda a, b: a & b,
    "bitwise_or": lambda a, b: a | b,
    "logical_not": lambda a: ~_truth(a),
    "isnan": lambda a: a != a,
    "isfinite": lambda a: abs(a) < math.inf,
    "isinf": lambda a: abs(a) == math.inf,
    "invert": lambda a: ~a,
    "absolute": abs,
    "fabs": abs,
    "positive": lambda a: a,
    "conjugate": lambda a: a,
    "square": lambda a: a * a,
    "reciprocal": lambda a: 1.0 / a,
    "cbrt": lambda a: where(a < 0.0, -((abs(a)) ** (1 / 3)), abs(a) ** (1 / 3)),
    "exp2": lambda a: (a * math.log(2.0)).do("exp"),
    "log2": lambda a: a.do("log") / math.log(2.0),
    "log10": lambda a: a.do("log") / math.log(10.0),
    "sign": sign,
    "ceil": lambda a: -((-a).do("floor")),
    "trunc": lambda a: where(a < 0.0, -((-a).do("floor")), a.do("floor")),
    "rint": rounded,
    "minimum": minimum,
    "maximum": maximum,
    "fmin": fmin,
    "fmax": fmax,
    "hypot": hypot,
    "degrees": lambda a: a * (180.0 / math.pi),
    "radians": lambda a: a * (math.pi / 180.0),
    "deg2rad": lambda a: a * (math.pi / 180.0),
    "rad2deg": lambda a: a * (180.0 / math.pi),
    "heaviside": lambda a, b: where(a == 0.0, b, 1.0 * (a > 0.0)),
    "logaddexp": lambda a, b: b + _log1p_exp(a - b),
    "clip": lambda a, low, high: minimum(maximum(a, low), high),
    "sigmoid": sigmoid,
    "softplus": _log1p_exp,
    "where": where,
}
"""Functions of values by NumPy's names, and some that have none there."""


def function_of(name: str) -> Callable[..., Any]:
    """Return a function of values, and of numbers beside them, by its name."""
    try:
        return FUNCTIONS[name]
    except KeyError:
        raise Untraceable(f"it calls {name}") from None
