"""`Tape` and `Value`: arithmetic that is noted down while a function computes with it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

MOST_NODES = 20_000
MOST_PATHS = 16  # ways through a function's branches
MOST_DECISIONS = 64  # on one way
_SMALL_POWER = 16  # whole powers up to which a power is made of products


class Untraceable(Exception):  # noqa: N818 what a function is
    """A function does something with its arguments that cannot be written down as arithmetic."""


def require_float64(kind: Any) -> None:
    """Refuse to round to whole numbers, or to fewer digits: types other than float64."""
    if kind is not None and np.dtype(kind) not in (np.dtype(np.float64), np.dtype(object)):
        raise Untraceable(f"it rounds to {np.dtype(kind)}")


def _truth(value: Any) -> Any:
    return np.asarray(value, dtype=np.float64)


EVALUATE: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in ("sqrt", "exp", "expm1", "log", "log1p", "sin", "cos", "tan", "floor")},
    **{name: getattr(np, name) for name in ("arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh")},
    **{name: getattr(np, name) for name in ("arccosh", "arctanh", "arctan2", "fmod")},
    "erf": special.erf,
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "power": np.power,
    "negative": np.negative,
    "less": lambda a, b: _truth(np.less(a, b)),
    "less_equal": lambda a, b: _truth(np.less_equal(a, b)),
    "equal": lambda a, b: _truth(np.equal(a, b)),
    "select": lambda condition, a, b: np.where(condition != 0, a, b),
}
"""Every operation of a tape, as a function of arrays. Truth values are 1.0 and 0.0."""

COMPARISONS = ("less", "less_equal", "equal")


class Tape:
    """What was computed, operation by operation, each only once; nodes are numbered in an order that can be computed.

    Attributes
    ----------
    nodes : list of tuple
        Operation and numbers of its arguments; ("constant", value); ("state", i); ("input", i).
    path : dict
        What the function was told of every condition that it branched on, in this call.
    """

    def __init__(self) -> None:
        self.nodes: list[tuple[Any, ...]] = []
        self._numbers: dict[tuple[Any, ...], int] = {}
        self.path: dict[int, bool] = {}
        self._decisions: list[bool] = []

    def note(self, operation: str, *arguments: Any) -> int:
        """Return the number of a node, a new one unless the same was computed before."""
        key = (operation, *arguments)
        if operation == "constant":
            key = (operation, arguments[0], math.copysign(1.0, arguments[0]))  # zeros have signs
        if key not in self._numbers:
            if len(self.nodes) >= MOST_NODES:
                raise Untraceable(f"it takes more than {MOST_NODES} operations")
            self._numbers[key] = len(self.nodes)
            self.nodes.append((operation, *arguments))
        return self._numbers[key]

    def variables(self, kind: str, size: int) -> list[Value]:
        """Return the values of the variables of a "state" or an "input"."""
        return [Value(self, self.note(kind, index)) for index in range(size)]

    def constant(self, number: float) -> Value:
        """Return a number as a value."""
        return Value(self, self.note("constant", float(number)))

    def compute(self, operation: str, *arguments: Value) -> Value:
        """Return the value of an operation; of constants, at once."""
        numbers = [argument.number for argument in arguments]
        known = [argument.known for argument in arguments]
        if all(value is not None for value in known):
            with np.errstate(all="ignore"):
                return self.constant(float(EVALUATE[operation](*map(np.float64, known))))
        return Value(self, self.note(operation, *numbers))

    def decide(self, condition: int) -> bool:
        """Return what a function that branches on a condition is told this time."""
        if condition not in self.path:
            if len(self.path) == MOST_DECISIONS:
                raise Untraceable(f"it branches more than {MOST_DECISIONS} times, or loops until something holds")
            if len(self.path) == len(self._decisions):
                self._decisions.append(True)
            self.path[condition] = self._decisions[len(self.path)]
        return self.path[condition]

    def outcomes(self, call: Callable[[], list[Value]]) -> list[Value]:
        """Return the values that a function gives, whichever way it branches: all ways are gone."""
        results: list[tuple[dict[int, bool], list[Value]]] = []
        self._decisions = []
        while True:
            self.path = {}
            values = call()
            self._decisions = self._decisions[: len(self.path)]
            results.append((self.path, values))
            while self._decisions and not self._decisions[-1]:
                self._decisions.pop()
            if not self._decisions:
                break
            self._decisions[-1] = False
            if len(results) == MOST_PATHS:
                raise Untraceable(f"there are more than {MOST_PATHS} ways through its branches")
        return self._joined(results)

    def _joined(self, results: list[tuple[dict[int, bool], list[Value]]]) -> list[Value]:
        (path, values), *others = results
        if not others:
            return values
        depth = next(at for at, (_, is_so) in enumerate(path.items()) if any(p != is_so for p in _at(others, at)))
        condition = list(path)[depth]
        halves = [
            self._joined([result for result in results if list(result[0].values())[depth] is is_so])
            for is_so in (True, False)
        ]
        chosen = Value(self, condition)
        if len(halves[0]) != len(halves[1]):
            raise Untraceable("it returns different shapes, depending on its arguments")
        return [chosen.choose(*pair) for pair in zip(*halves, strict=True)]


def _at(results: list[tuple[dict[int, bool], list[Value]]], depth: int) -> list[bool]:
    return [list(path.values())[depth] for path, _ in results]


class Value:
    """A number that is not known yet, which notes on a tape what is computed with it."""

    __slots__ = ("number", "tape")

    def __init__(self, tape: Tape, number: int) -> None:
        self.tape = tape
        self.number = number

    @property
    def known(self) -> float | None:
        """The number, if it is a constant."""
        operation, *rest = self.tape.nodes[self.number]
        return rest[0] if operation == "constant" else None

    @property
    def is_truth(self) -> bool:
        """Whether it is true or false."""
        operation, *rest = self.tape.nodes[self.number]
        return operation in COMPARISONS or (operation == "multiply" and all(self._of(n).is_truth for n in rest))

    @property
    def truth(self) -> Value:
        """Whether it is not zero."""
        return self if self.is_truth or self.known in (0.0, 1.0) else self != 0.0

    @property
    def real(self) -> Value:
        """The real part, itself."""
        return self

    def as_number(self) -> Value:
        """Return a truth value as 1 or 0, a number as it is."""
        return self.choose(1.0, 0.0) if self.is_truth else self

    def item(self) -> Value:
        """Return itself, as NumPy's numbers do."""
        return self

    conjugate = copy = item

    def astype(self, kind: Any, **_: Any) -> Value:
        """Return it as a float, or refuse to round."""
        require_float64(kind)
        return self.as_number()

    def _of(self, number: int) -> Value:
        return Value(self.tape, number)

    def taken(self, other: Any) -> Value:
        """Return another number as a value of this tape."""
        if isinstance(other, Value):
            return other
        if isinstance(other, np.ndarray) and other.ndim == 0:
            return self.taken(other.item())
        if isinstance(other, (int, float, np.number, np.bool_)) and not isinstance(other, np.complexfloating):
            return self.tape.constant(float(other))
        raise Untraceable(f"it computes with a {type(other).__name__}")

    def do(self, operation: str, *others: Any) -> Value:
        """Return the value of an operation on this one and others."""
        return self.tape.compute(operation, self, *map(self.taken, others))

    def choose(self, this: Any, that: Any) -> Value:
        """Return `this` where this value is true, `that` elsewhere."""
        this, that = self.taken(this), self.taken(that)
        if self.known is not None:
            return this if self.known else that
        return this if this.number == that.number else self.tape.compute("select", self, this, that)

    def __add__(self, other: Any) -> Value:
        other = self.taken(other)
        if self.is_truth and other.is_truth:
            raise Untraceable("it adds truth values")  # in NumPy one alone, as a number 2 for two that hold
        if other.known == 0.0:
            return self.as_number()
        return other.as_number() if self.known == 0.0 else self.do("add", other)

    def __sub__(self, other: Any) -> Value:
        other = self.taken(other)
        return self.as_number() if other.known == 0.0 else self.do("subtract", other)

    def __mul__(self, other: Any) -> Value:
        other = self.taken(other)
        if other.known == 1.0:
            return self.as_number()
        return other.as_number() if self.known == 1.0 else self.do("multiply", other)

    def __truediv__(self, other: Any) -> Value:
        other = self.taken(other)
        return self.as_number() if other.known == 1.0 else self.do("divide", other)

    def __pow__(self, other: Any) -> Value:
        other = self.taken(other)
        exponent = other.known
        if exponent == 0.5:
            return self.do("sqrt")
        if exponent is None or not exponent.is_integer() or abs(exponent) > _SMALL_POWER:
            return self.do("power", other)
        return self._power(int(exponent)) if exponent >= 0 else 1.0 / self._power(-int(exponent))

    def _power(self, exponent: int) -> Value:
        if exponent < 2:
            return self.as_number() if exponent else self.tape.constant(1.0)
        half = self._power(exponent // 2)
        return half * half * self if exponent % 2 else half * half

    def __mod__(self, other: Any) -> Value:
        other = self.taken(other)
        rest = self.do("fmod", other)
        is_opposite = ((rest < 0.0) & (other > 0.0)) | ((rest > 0.0) & (other < 0.0))
        return is_opposite.choose(rest + other, rest)

    def __floordiv__(self, other: Any) -> Value:
        return (self / other).do("floor")

    def __radd__(self, other: Any) -> Value:
        return self.taken(other) + self

    def __rsub__(self, other: Any) -> Value:
        return self.taken(other) - self

    def __rmul__(self, other: Any) -> Value:
        return self.taken(other) * self

    def __rtruediv__(self, other: Any) -> Value:
        return self.taken(other) / self

    def __rpow__(self, other: Any) -> Value:
        return self.taken(other) ** self

    def __rmod__(self, other: Any) -> Value:
        return self.taken(other) % self

    def __rfloordiv__(self, other: Any) -> Value:
        return self.taken(other) // self

    def __neg__(self) -> Value:
        return self.do("negative")

    def __pos__(self) -> Value:
        return self

    def __abs__(self) -> Value:
        return (self < 0.0).choose(-self, self)

    def __lt__(self, other: Any) -> Value:
        return self.do("less", other)

    def __le__(self, other: Any) -> Value:
        return self.do("less_equal", other)

    def __gt__(self, other: Any) -> Value:
        return self.taken(other).do("less", self)

    def __ge__(self, other: Any) -> Value:
        return self.taken(other).do("less_equal", self)

    def __eq__(self, other: object) -> Any:  # a Value, where other objects return a bool
        return self.do("equal", other)

    def __ne__(self, other: object) -> Any:
        return ~self.do("equal", other)

    __hash__ = object.__hash__

    def __invert__(self) -> Value:
        if not (self.is_truth or self.known in (0.0, 1.0)):
            raise Untraceable("it inverts the bits of a number")
        operation, *rest = self.tape.nodes[self.number]
        if operation == "equal" and self._of(rest[1]).known == 0.0 and self._of(rest[0]).is_truth:
            return self._of(rest[0])
        return self.do("equal", 0.0)

    def __and__(self, other: Any) -> Value:
        both = self, self.taken(other)
        for one, another in (both, both[::-1]):
            if one.known in (0.0, 1.0):
                return another if one.known else one
        if not all(value.is_truth for value in both):
            raise Untraceable("it combines the bits of numbers")
        return self.do("multiply", other)

    def __or__(self, other: Any) -> Value:
        return ~(~self & ~self.taken(other))

    def __xor__(self, other: Any) -> Value:
        other = self.taken(other)
        return (self & ~other) | (~self & other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __bool__(self) -> bool:
        if self.known is not None:
            return bool(self.known)
        condition = self if self.is_truth else self != 0.0
        return condition.tape.decide(condition.number)

    def __float__(self) -> float:
        if self.known is not None:
            return self.known
        raise Untraceable("it needs an argument as a number: float(), int(), or a function that is not NumPy's")

    def __int__(self) -> int:
        return int(float(self))

    def __index__(self) -> int:
        raise Untraceable("it uses an argument as an index")

    def __array_ufunc__(self, *arguments: Any, **options: Any) -> Any:
        from lyapkit.systems.tracing.numpy_functions import universal

        return universal(*arguments, **options)

    def __array_function__(self, function: Callable[..., Any], types: Any, arguments: Any, options: Any) -> Any:
        from lyapkit.systems.tracing.numpy_functions import called

        return called(function, arguments, options)
