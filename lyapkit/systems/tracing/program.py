"""`Program`: a tape's outputs, their derivatives, and both for many states at once.

At a kink, such as that of |x| at 0, the derivative is that of one of the sides.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lyapkit.systems.tracing.tape import COMPARISONS, EVALUATE, Tape, Value


class Sum(NamedTuple):
    """The perturbation of a node: the sum of perturbations of others, times coefficients (nodes, or None for 1)."""

    terms: tuple[tuple[int, int | None], ...]


class Choice(NamedTuple):
    """The perturbation of a node: that of one of two others (None: zero), chosen by a condition."""

    condition: int
    this: int | None
    that: int | None


class Program:
    """What a function of a state (N,), and an input (I,), computes, and its tangent map.

    Parameters
    ----------
    tape : Tape
        Where it is noted.
    outputs : list of Value
        What it returns.
    state_size, input_size : int
        N and I; I is 0 if there is no input.
    jacobian : list of Value, optional
        (len(outputs) · N): the derivative, row by row, if it was given. Default: that of the tape.

    Attributes
    ----------
    nodes : list of tuple
        All operations in order, those of the derivative included.
    outputs : list of int
        Nodes.
    tangents : dict
        For every node that depends on the state, but not for the state itself, how its perturbation comes about; empty
        with a `jacobian`.
    jacobian : list of int or None
        Nodes.
    """

    def __init__(
        self, tape: Tape, outputs: list[Value], state_size: int, input_size: int, jacobian: list[Value] | None = None
    ) -> None:
        self.state_size, self.input_size = state_size, input_size
        self.outputs = [value.number for value in outputs]
        self.jacobian = None if jacobian is None else [value.number for value in jacobian]
        self.tangents: dict[int, Sum | Choice] = {}
        if jacobian is None:
            self._differentiate(tape)
        self.nodes = tape.nodes
        self.needed = self._needed()

    def _differentiate(self, tape: Tape) -> None:
        active = {number for number, node in enumerate(tape.nodes) if node[0] == "state"}
        live = _reachable(tape.nodes, self.outputs)
        for number in sorted(live):
            operation, *arguments = tape.nodes[number]
            if operation in ("constant", "state", "input") or not active.intersection(arguments):
                continue
            if operation in (*COMPARISONS, "floor"):
                continue  # constant between their jumps
            active.add(number)
            if operation == "select":
                if not active.intersection(arguments[1:]):
                    active.discard(number)
                    continue
                this, that = (a if a in active else None for a in arguments[1:])
                self.tangents[number] = Choice(arguments[0], this, that)
                continue
            values = [Value(tape, argument) for argument in arguments]
            slopes = _SLOPES[operation](Value(tape, number), *values)
            terms = tuple(
                (argument, _coefficient(tape, slope() if callable(slope) else slope))
                for argument, slope in zip(arguments, slopes, strict=True)
                if argument in active
            )
            self.tangents[number] = Sum(terms)

    def _needed(self) -> list[int]:
        roots = [*self.outputs, *(self.jacobian or ())]
        for number in _through(self.tangents, self.outputs):
            tangent = self.tangents[number]
            if isinstance(tangent, Choice):
                roots.append(tangent.condition)
            else:
                roots.extend(coefficient for _, coefficient in tangent.terms if coefficient is not None)
        return sorted(_reachable(self.nodes, roots))

    @property
    def pushed(self) -> list[int]:
        """Nodes whose perturbations are needed, in order."""
        return sorted(_through(self.tangents, self.outputs))

    def values(self, state: np.ndarray, input: np.ndarray | None = None) -> dict[int, np.ndarray]:
        """Return the values (B,) of all nodes at states (B, N) and inputs (B, I)."""
        known: dict[int, np.ndarray] = {}
        with np.errstate(all="ignore"):
            for number in self.needed:
                operation, *arguments = self.nodes[number]
                if operation == "constant":
                    known[number] = np.full(len(state), arguments[0])
                elif operation == "state":
                    known[number] = state[:, arguments[0]]
                elif operation == "input":
                    assert input is not None
                    known[number] = input[:, arguments[0]]
                else:
                    known[number] = EVALUATE[operation](*(known[argument] for argument in arguments))
        return known

    def step(self, state: np.ndarray, input: np.ndarray | None = None) -> np.ndarray:
        """Return the outputs (B, M) at states (B, N)."""
        known = self.values(state, input)
        return np.stack([known[number] for number in self.outputs], axis=-1)

    def push(self, state: np.ndarray, input: np.ndarray | None, tangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the outputs (B, M), and tangent vectors (B, k, N) pushed to (B, k, M)."""
        known = self.values(state, input)
        outputs = np.stack([known[number] for number in self.outputs], axis=-1)
        if self.jacobian is not None:
            entries = np.stack([known[number] for number in self.jacobian], axis=-1)
            return outputs, tangent @ entries.reshape(len(state), -1, self.state_size).swapaxes(1, 2)
        zero = np.zeros(tangent.shape[:2])
        moved = {number: tangent[:, :, node[1]] for number, node in enumerate(self.nodes) if node[0] == "state"}
        with np.errstate(all="ignore"):
            for number in self.pushed:
                rule = self.tangents[number]
                if isinstance(rule, Choice):
                    pair = (zero if n is None else moved[n] for n in (rule.this, rule.that))
                    moved[number] = np.where(known[rule.condition][:, None] != 0, *pair)
                else:
                    parts = (moved[n] if c is None else moved[n] * known[c][:, None] for n, c in rule.terms)
                    moved[number] = sum(parts, start=zero)
        return outputs, np.stack([moved.get(number, zero) for number in self.outputs], axis=-1)


def _coefficient(tape: Tape, slope: Value | float) -> int | None:
    """Return the node of a slope, None if it is 1."""
    if isinstance(slope, Value):
        return slope.number
    return None if slope == 1.0 else tape.constant(slope).number


def _reachable(nodes: list[tuple[Any, ...]], roots: list[int]) -> set[int]:
    found, waiting = set(), list(roots)
    while waiting:
        number = waiting.pop()
        if number not in found:
            found.add(number)
            operation, *arguments = nodes[number]
            if operation not in ("constant", "state", "input"):
                waiting.extend(arguments)
    return found


def _through(tangents: dict[int, Sum | Choice], roots: list[int]) -> set[int]:
    """Return the nodes whose perturbations those of the roots are made of."""
    found, waiting = set(), [number for number in roots if number in tangents]
    while waiting:
        number = waiting.pop()
        if number in found:
            continue
        found.add(number)
        rule = tangents[number]
        others = (rule.this, rule.that) if isinstance(rule, Choice) else (argument for argument, _ in rule.terms)
        waiting.extend(other for other in others if other in tangents)
    return found


_SLOPES: dict[str, Callable[..., tuple[Any, ...]]] = {
    "add": lambda y, a, b: (1.0, 1.0),
    "subtract": lambda y, a, b: (1.0, -1.0),
    "multiply": lambda y, a, b: (b, a),
    "divide": lambda y, a, b: (lambda: 1.0 / b, lambda: -y / b),
    "negative": lambda y, a: (-1.0,),
    "power": lambda y, a, b: (b * a.do("power", b - 1.0), lambda: y * a.do("log")),
    "sqrt": lambda y, a: (0.5 / y,),
    "exp": lambda y, a: (y,),
    "expm1": lambda y, a: (a.do("exp"),),
    "erf": lambda y, a: (2.0 / math.sqrt(math.pi) * (-a * a).do("exp"),),
    "log": lambda y, a: (1.0 / a,),
    "log1p": lambda y, a: (1.0 / (1.0 + a),),
    "sin": lambda y, a: (a.do("cos"),),
    "cos": lambda y, a: (-a.do("sin"),),
    "tan": lambda y, a: (1.0 + y * y,),
    "arcsin": lambda y, a: (1.0 / (1.0 - a * a).do("sqrt"),),
    "arccos": lambda y, a: (-1.0 / (1.0 - a * a).do("sqrt"),),
    "arctan": lambda y, a: (1.0 / (1.0 + a * a),),
    "arctan2": lambda y, a, b: (lambda: b / (a * a + b * b), lambda: -a / (a * a + b * b)),
    "sinh": lambda y, a: (a.do("cosh"),),
    "cosh": lambda y, a: (a.do("sinh"),),
    "tanh": lambda y, a: ((1.0 / a.do("cosh")) ** 2,),  # keeps its digits where 1 − tanh² loses them
    "arcsinh": lambda y, a: (1.0 / (1.0 + a * a).do("sqrt"),),
    "arccosh": lambda y, a: (1.0 / (a * a - 1.0).do("sqrt"),),
    "arctanh": lambda y, a: (1.0 / (1.0 - a * a),),
    "fmod": lambda y, a, b: (1.0, lambda: -((a - y) / b)),
}
"""The derivatives of every operation by its arguments, from its value and them; called only where they are needed."""
