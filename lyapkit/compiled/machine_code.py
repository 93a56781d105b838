"""`MachineCode`: a `Program` as a function of addresses that the processor runs, by LLVM.

Straight-line code computes the outputs and all slopes; then a loop over the perturbations, which LLVM puts into vector
registers, multiplies and adds. Constants are read from an array, so that programs that differ in parameters alone share
their code.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from llvmlite import ir

from lyapkit.compiled.processor import address_of
from lyapkit.systems.tracing.program import Choice, Program, Sum
from lyapkit.systems.tracing.tape import COMPARISONS

if TYPE_CHECKING:
    from collections.abc import Callable

_DOUBLE, _POINTER, _LONG = ir.DoubleType(), ir.PointerType(), ir.IntType(64)
_LITERAL = (0.0, 1.0, -1.0, 0.5, 2.0)
_INTRINSICS = ("sqrt", "exp", "log", "sin", "cos", "floor")
_LIBRARY = {
    **{name: name for name in ("tan", "sinh", "cosh", "tanh", "expm1", "log1p", "erf")},
    **{f"arc{name}": f"a{name}" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "tan2")},
}
_ORDERINGS = {"less": "<", "less_equal": "<=", "equal": "=="}
_ARITHMETIC = {"add": "fadd", "subtract": "fsub", "multiply": "fmul", "divide": "fdiv", "fmod": "frem"}


class MachineCode:
    """A program's step and tangent map, compiled.

    Parameters
    ----------
    program : Program
        What to compile.
    n_tangents : int
        k, how many perturbations it pushes.

    Attributes
    ----------
    address : int
        Of ``void push(state, input, parameters, tangent, new_state, new_tangent)``, all of them addresses of doubles:
        N, I, the constants, N·k (in every variable one perturbation after the other), N, and N·k.
    parameters : ndarray
        The constants.
    """

    def __init__(self, program: Program, n_tangents: int) -> None:
        nodes: list[tuple[Any, ...]] = []
        constants: list[float] = []
        numbers: dict[int, int] = {}
        for number in program.needed:
            operation, *arguments = program.nodes[number]
            if operation == "constant" and arguments[0] not in _LITERAL:
                constants.append(arguments[0])
                arguments = [len(constants) - 1]
                operation = "parameter"
            elif operation not in ("constant", "state", "input"):
                arguments = [numbers[argument] for argument in arguments]
            numbers[number] = len(nodes)
            nodes.append((operation, *arguments))
        pushed = tuple((number, _renumbered(program.tangents[number], numbers, program)) for number in program.pushed)
        key = (
            tuple(nodes),
            tuple(numbers[n] for n in program.outputs),
            None if program.jacobian is None else tuple(numbers[n] for n in program.jacobian),
            pushed,
            tuple(program.outputs),
            tuple((n, node[1]) for n, node in enumerate(program.nodes) if node[0] == "state"),
            program.state_size,
            n_tangents,
        )
        self.address = _address(key)
        self.parameters = np.array(constants or [0.0])


def _renumbered(rule: Sum | Choice, numbers: dict[int, int], program: Program) -> tuple[Any, ...]:
    if isinstance(rule, Choice):
        return ("choice", numbers[rule.condition], rule.this, rule.that)
    terms = []
    for argument, coefficient in rule.terms:
        literal = None
        if coefficient is not None:
            operation, *rest = program.nodes[coefficient]
            literal = rest[0] if operation == "constant" and rest[0] in _LITERAL else None
        terms.append((argument, None if coefficient is None else numbers[coefficient], literal))
    return ("sum", tuple(terms))


@functools.lru_cache(maxsize=256)
def _address(key: tuple) -> int:
    module = ir.Module(name="program")
    _Emission(module, key).emit()
    return address_of("push", module)


class _Emission:
    """Writes LLVM's instructions for one program."""

    def __init__(self, module: ir.Module, key: tuple) -> None:
        self.module = module
        (self.nodes, self.outputs, self.jacobian, self.pushed, self.output_numbers, self.states, self.n, self.k) = key
        signature = ir.FunctionType(ir.VoidType(), [_POINTER] * 6)
        self.function = ir.Function(module, signature, name="push")
        for argument in self.function.args:
            argument.add_attribute("noalias")
        self.state, self.input, self.parameters, self.tangent, self.new_state, self.new_tangent = self.function.args
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))

    def emit(self) -> None:
        values: list[ir.Value] = []
        for operation, *arguments in self.nodes:
            values.append(self._node(operation, arguments, values))
        for index, number in enumerate(self.outputs):
            self._store(values[number], self.new_state, index)
        self._rows(values)
        self.builder.ret_void()

    def _node(self, operation: str, arguments: list, values: list) -> ir.Value:
        b = self.builder
        if operation == "constant":
            return ir.Constant(_DOUBLE, arguments[0])
        if operation in ("state", "input", "parameter"):
            place = {"state": self.state, "input": self.input, "parameter": self.parameters}[operation]
            return self._load(place, ir.Constant(_LONG, arguments[0]))
        operands = [values[argument] for argument in arguments]
        if operation in _ARITHMETIC:
            return getattr(b, _ARITHMETIC[operation])(*operands)
        if operation == "negative":
            return b.fneg(*operands)
        if operation in COMPARISONS:
            is_so = b.fcmp_ordered(_ORDERINGS[operation], *operands)
            return b.uitofp(is_so, _DOUBLE)
        if operation == "select":
            return b.select(self._is_true(operands[0]), *operands[1:])
        return b.call(self._named(operation, len(operands)), operands)

    def _named(self, operation: str, n_operands: int) -> ir.Function:
        if operation in _INTRINSICS:
            return self.module.declare_intrinsic(f"llvm.{operation}", [_DOUBLE])
        name = {"power": "pow"}.get(operation) or _LIBRARY[operation]
        if name not in self.module.globals:
            ir.Function(self.module, ir.FunctionType(_DOUBLE, [_DOUBLE] * n_operands), name=name)
        return self.module.globals[name]

    def _is_true(self, value: ir.Value) -> ir.Value:
        return self.builder.fcmp_unordered("!=", value, ir.Constant(_DOUBLE, 0.0))

    def _load(self, place: ir.Value, index: ir.Value) -> ir.Value:
        return self.builder.load(self.builder.gep(place, [index], source_etype=_DOUBLE), typ=_DOUBLE)

    def _store(self, value: ir.Value, place: ir.Value, index: int | ir.Value) -> None:
        index = ir.Constant(_LONG, index) if isinstance(index, int) else index
        self.builder.store(value, self.builder.gep(place, [index], source_etype=_DOUBLE))

    def _rows(self, values: list) -> None:
        """Emit the loop over perturbations."""
        b = self.builder
        before, loop, end = b.block, b.append_basic_block("rows"), b.append_basic_block("end")
        b.branch(loop)
        b.position_at_end(loop)
        row = b.phi(_LONG, "row")
        row.add_incoming(ir.Constant(_LONG, 0), before)
        place = functools.partial(self._place, row)
        if self.jacobian is not None:
            self._by_jacobian(values, place)
        else:
            self._by_rules(values, place)
        following = b.add(row, ir.Constant(_LONG, 1))
        row.add_incoming(following, b.block)
        b.cbranch(b.icmp_signed("<", following, ir.Constant(_LONG, self.k)), loop, end)
        b.position_at_end(end)

    def _place(self, row: ir.Value, variable: int) -> ir.Value:
        return self.builder.add(row, ir.Constant(_LONG, variable * self.k))

    def _by_jacobian(self, values: list, place: Callable[[int], ir.Value]) -> None:
        b = self.builder
        moved = [self._load(self.tangent, place(variable)) for variable in range(self.n)]
        for index in range(len(self.outputs)):
            entries = self.jacobian[index * self.n : (index + 1) * self.n]
            parts = [
                b.fmul(values[entry], moved[variable])
                for variable, entry in enumerate(entries)
                if self.nodes[entry] != ("constant", 0.0)
            ]
            total = functools.reduce(b.fadd, parts) if parts else ir.Constant(_DOUBLE, 0.0)
            self._store(total, self.new_tangent, place(index))

    def _by_rules(self, values: list, place: Callable[[int], ir.Value]) -> None:
        b, zero = self.builder, ir.Constant(_DOUBLE, 0.0)
        moved = {number: self._load(self.tangent, place(variable)) for number, variable in self.states}
        for number, (kind, *rule) in self.pushed:
            if kind == "choice":
                condition, *pair = rule
                this, that = (zero if n is None else moved[n] for n in pair)
                moved[number] = b.select(self._is_true(values[condition]), this, that)
                continue
            total = None
            for argument, coefficient, literal in rule[0]:
                part = moved[argument]
                if literal == -1.0:
                    total = b.fneg(part) if total is None else b.fsub(total, part)
                    continue
                part = part if coefficient is None else b.fmul(part, values[coefficient])
                total = part if total is None else b.fadd(total, part)
            moved[number] = total
        for index, number in enumerate(self.output_numbers):
            self._store(moved.get(number, zero), self.new_tangent, place(index))
