"""`translated`: loops over numbers, written as Python functions, as LLVM's instructions.

What is understood is what such loops need: whole numbers (64 bits) and floats, arrays of either, `for … in range`,
`while`, `if`, and calls of each other. An argument's type is its annotation; a variable's, that of what it is given
first. Functions that are understood mean what they mean in Python, but for whole numbers, which wrap around, and whose
``>>`` fills with zeros.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Protocol, overload

from llvmlite import ir

LONG, DOUBLE, TRUTH, POINTER, NOTHING = ir.IntType(64), ir.DoubleType(), ir.IntType(1), ir.PointerType(), ir.VoidType()
_TYPES = {"int": LONG, "float": DOUBLE, "bool": TRUTH, "None": NOTHING, "Doubles": POINTER, "Longs": POINTER}
_TYPES["Push"] = LONG
_OF_FLOATS = {ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv"}
_OF_LONGS = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.FloorDiv: "sdiv", ast.Mod: "srem"}
_OF_LONGS |= {ast.BitXor: "xor", ast.RShift: "lshr"}
_ORDERINGS = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
_INTRINSICS = ("sqrt", "log")


class Doubles(Protocol):
    """The annotation of an array of floats, (n,); ``array[start:]`` is what begins at a place of it."""

    @overload
    def __getitem__(self, place: int) -> float: ...
    @overload
    def __getitem__(self, place: slice) -> Doubles: ...
    def __setitem__(self, place: int, value: float) -> None: ...


class Longs(Protocol):
    """The annotation of an array of whole numbers, (n,)."""

    def __getitem__(self, place: int) -> int: ...
    def __setitem__(self, place: int, value: int) -> None: ...


class Push(Protocol):
    """The annotation of a function of six arrays of floats, called by its address."""

    def __call__(
        self,
        state: Doubles,
        input: Doubles,
        parameters: Doubles,
        tangent: Doubles,
        new_state: Doubles,
        new_tangent: Doubles,
    ) -> None:
        """Write the next state and its tangent vectors."""


def translated(module: ir.Module, functions: list[Callable]) -> list[str]:
    """Add functions to a module, those that others call before them; the last can be called from outside.

    Returns
    -------
    list of str
        What the arguments of the last are annotated with.

    Raises
    ------
    SyntaxError
        At what is not understood.
    """
    for function in functions:
        last = _Translation(module, function, is_inner=function is not functions[-1])
    return [*last.kinds.values()]


class _Translation(ast.NodeVisitor):
    """Writes one function's instructions."""

    def __init__(self, module: ir.Module, function: Callable, is_inner: bool) -> None:
        self.module, self.globals = module, function.__globals__
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
        assert isinstance(tree, ast.FunctionDef)
        assert tree.returns is not None
        self.kinds = {own.arg: ast.unparse(own.annotation) for own in tree.args.args if own.annotation is not None}
        returned = _TYPES[ast.unparse(tree.returns)]
        signature = ir.FunctionType(returned, [_TYPES[kind] for kind in self.kinds.values()])
        self.function = ir.Function(module, signature, name=function.__name__)
        if is_inner:
            self.function.linkage = "internal"
        self.builder = ir.IRBuilder(self.function.append_basic_block("entry"))
        self.places: dict[str, ir.Value] = {}
        self.loops: list[tuple[ir.Block, ir.Block]] = []
        for name, value in zip(self.kinds, self.function.args, strict=True):
            self._assign(name, value)
        for statement in tree.body:
            self.visit(statement)
        if not self.builder.block.is_terminated:
            self.builder.ret_void() if returned == NOTHING else self.builder.unreachable()

    def generic_visit(self, node: ast.AST) -> None:
        """Refuse what is not understood."""
        raise SyntaxError(f"{self.function.name}, line {getattr(node, 'lineno', '?')}: {ast.unparse(node)}")

    def _assign(self, name: str, value: ir.Value) -> None:
        if name not in self.places:
            with self.builder.goto_entry_block():
                self.places[name] = self.builder.alloca(value.type, name=name)
        self.builder.store(self._as(value, self.places[name].allocated_type), self.places[name])

    def _as(self, value: ir.Value, kind: ir.Type) -> ir.Value:
        if value.type == kind:
            return value
        if (value.type, kind) == (LONG, DOUBLE):
            return self.builder.sitofp(value, DOUBLE)
        raise SyntaxError(f"{self.function.name}: a {value.type} where a {kind} is needed")

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.visit(node.value)

    def visit_Assign(self, node: ast.Assign) -> None:
        (target,) = node.targets
        if isinstance(target, ast.Tuple):
            assert isinstance(node.value, ast.Tuple)
            values = [self.visit(entry) for entry in node.value.elts]
            for entry, value in zip(target.elts, values, strict=True):
                self._put(entry, value)
        else:
            self._put(target, self.visit(node.value))

    def _put(self, target: ast.expr, value: ir.Value) -> None:
        if isinstance(target, ast.Name):
            self._assign(target.id, value)
        else:
            assert isinstance(target, ast.Subscript)
            place, kind = self._element(target)
            self.builder.store(self._as(value, kind), place)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        whole = ast.BinOp(ast.copy_location(_loaded(node.target), node), node.op, node.value)
        self._put(node.target, self.visit(whole))

    def _element(self, node: ast.Subscript) -> tuple[ir.Value, ir.Type]:
        kind = {"Doubles": DOUBLE, "Longs": LONG}[self.kinds[_name(node.value)]]
        index = node.slice.lower if isinstance(node.slice, ast.Slice) else node.slice
        assert index is not None
        return self.builder.gep(self.visit(node.value), [self.visit(index)], source_etype=kind), kind

    def visit_Subscript(self, node: ast.Subscript) -> ir.Value:
        place, kind = self._element(node)
        return place if isinstance(node.slice, ast.Slice) else self.builder.load(place, typ=kind)

    def visit_Name(self, node: ast.Name) -> ir.Value:
        if node.id in self.places:
            place = self.places[node.id]
            return self.builder.load(place, typ=place.allocated_type)
        return self._number(self.globals[node.id])

    def visit_Constant(self, node: ast.Constant) -> ir.Value:
        return self._number(node.value)

    def visit_Attribute(self, node: ast.Attribute) -> ir.Value:
        return self._number(getattr(self.globals[_name(node.value)], node.attr))

    def _number(self, number: object) -> ir.Value:
        for kind, of_llvm in ((bool, TRUTH), (int, LONG), (float, DOUBLE)):
            if isinstance(number, kind):
                return ir.Constant(of_llvm, number)
        raise SyntaxError(f"{self.function.name}: {number!r} is not a number")

    def visit_BinOp(self, node: ast.BinOp) -> ir.Value:
        left, right = self.visit(node.left), self.visit(node.right)
        if isinstance(node.op, ast.Pow) and getattr(right, "constant", None) == 2:
            return self.builder.mul(left, left) if left.type == LONG else self.builder.fmul(left, left)
        if isinstance(node.op, ast.Pow):
            power = self.module.declare_intrinsic("llvm.pow", [DOUBLE])
            return self.builder.call(power, [self._as(left, DOUBLE), self._as(right, DOUBLE)])
        if left.type == right.type == LONG and type(node.op) in _OF_LONGS:
            return getattr(self.builder, _OF_LONGS[type(node.op)])(left, right)
        if type(node.op) not in _OF_FLOATS:
            return self.generic_visit(node)
        return getattr(self.builder, _OF_FLOATS[type(node.op)])(self._as(left, DOUBLE), self._as(right, DOUBLE))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ir.Value:
        value = self.visit(node.operand)
        if isinstance(node.op, ast.Not):
            return self.builder.not_(value)
        if not isinstance(node.op, ast.USub):
            self.generic_visit(node)
        return self.builder.neg(value) if value.type == LONG else self.builder.fneg(value)

    def visit_Compare(self, node: ast.Compare) -> ir.Value:
        (operator,), (other,) = node.ops, node.comparators
        return self._ordered(_ORDERINGS[type(operator)], self.visit(node.left), self.visit(other))

    def _ordered(self, ordering: str, left: ir.Value, right: ir.Value) -> ir.Value:
        if left.type == right.type == LONG:
            return self.builder.icmp_signed(ordering, left, right)
        compare = self.builder.fcmp_unordered if ordering == "!=" else self.builder.fcmp_ordered
        return compare(ordering, self._as(left, DOUBLE), self._as(right, DOUBLE))

    def visit_BoolOp(self, node: ast.BoolOp) -> ir.Value:
        first, *others = map(self.visit, node.values)  # all of them: they have no effects
        join = self.builder.and_ if isinstance(node.op, ast.And) else self.builder.or_
        for other in others:
            first = join(first, other)
        return first

    def visit_IfExp(self, node: ast.IfExp) -> ir.Value:
        return self.builder.select(self.visit(node.test), self.visit(node.body), self.visit(node.orelse))

    def visit_Call(self, node: ast.Call) -> ir.Value:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else _name(node.func)
        values = [self.visit(argument) for argument in node.args]
        if name in self.module.globals:
            called = self.module.globals[name]
            return self.builder.call(called, [self._as(v, a.type) for v, a in zip(values, called.args, strict=True)])
        if self.kinds.get(name) == "Push":
            kind = ir.FunctionType(NOTHING, [POINTER] * 6).as_pointer()
            return self.builder.call(self.builder.inttoptr(self.visit(node.func), kind), values)
        return self._known_function(node, name, *values)

    def _known_function(self, node: ast.Call, name: str, value: ir.Value, *others: ir.Value) -> ir.Value:
        b = self.builder
        if name in _INTRINSICS:
            return b.call(self.module.declare_intrinsic(f"llvm.{name}", [DOUBLE]), [self._as(value, DOUBLE)])
        if name in ("max", "min"):
            for other in others:
                kind = LONG if value.type == other.type == LONG else DOUBLE
                value, other = self._as(value, kind), self._as(other, kind)
                value = b.select(self._ordered(">" if name == "max" else "<", other, value), other, value)
            return value
        if name == "abs":
            return b.call(self.module.declare_intrinsic("llvm.fabs", [DOUBLE]), [value])
        if name == "int":
            return value if value.type == LONG else b.fptosi(value, LONG)
        if name == "float":
            return self._as(value, DOUBLE)
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        inside, otherwise, after = (self.function.append_basic_block(name) for name in ("if", "else", "after"))
        self.builder.cbranch(self.visit(node.test), inside, otherwise)
        for block, statements in ((inside, node.body), (otherwise, node.orelse)):
            self.builder.position_at_end(block)
            self._block(statements, after)
        self.builder.position_at_end(after)

    def _block(self, statements: list[ast.stmt], following: ir.Block) -> None:
        for statement in statements:
            self.visit(statement)
        if not self.builder.block.is_terminated:
            self.builder.branch(following)

    def visit_While(self, node: ast.While) -> None:
        self._loop(lambda: self.visit(node.test), node.body)

    def visit_For(self, node: ast.For) -> None:
        assert isinstance(node.iter, ast.Call)
        name = _name(node.target)
        first, end, step = ir.Constant(LONG, 0), None, ir.Constant(LONG, 1)
        match [self.visit(argument) for argument in node.iter.args]:
            case [end]:
                pass
            case [first, end]:
                pass
            case [first, end, step]:
                pass
        counter = f"{name}, line {node.lineno}"
        self._assign(counter, first)

        def goes_on() -> ir.Value:
            return self.builder.icmp_signed("<", self.builder.load(self.places[counter], typ=LONG), end)

        def count() -> None:
            following = self.builder.add(self.builder.load(self.places[counter], typ=LONG), step)
            self._assign(counter, following)

        self._loop(goes_on, node.body, name, counter, count)

    def _loop(
        self,
        goes_on: Callable[[], ir.Value],
        body: list[ast.stmt],
        name: str = "",
        counter: str = "",
        count: Callable[[], None] = lambda: None,
    ) -> None:
        head, inside, end, after = (self.function.append_basic_block(n) for n in ("head", "body", "next", "after"))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        self.builder.cbranch(goes_on(), inside, after)
        self.builder.position_at_end(inside)
        if counter:
            self._assign(name, self.builder.load(self.places[counter], typ=LONG))
        self.loops.append((end, after))
        self._block(body, end)
        self.loops.pop()
        self.builder.position_at_end(end)
        count()
        self.builder.branch(head)
        self.builder.position_at_end(after)

    def visit_Continue(self, node: ast.Continue) -> None:
        self.builder.branch(self.loops[-1][0])

    def visit_Break(self, node: ast.Break) -> None:
        self.builder.branch(self.loops[-1][1])

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is None:
            self.builder.ret_void()
        else:
            self.builder.ret(self._as(self.visit(node.value), self.function.ftype.return_type))


def _name(node: ast.expr) -> str:
    """Return what a variable, a function or a module is called."""
    assert isinstance(node, ast.Name)
    return node.id


def _loaded(target: ast.expr) -> ast.expr:
    return ast.parse(ast.unparse(target), mode="eval").body
