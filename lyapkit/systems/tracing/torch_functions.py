"""`TorchTrace`: notes what torch operations do to tensors whose entries stand for `Value`s."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from lyapkit.systems.tracing.functions import function_of, maximum, minimum, sigmoid
from lyapkit.systems.tracing.numpy_functions import elementwise, holds_values, numbers, plain
from lyapkit.systems.tracing.tape import Tape, Untraceable, Value


class TorchTrace(TorchDispatchMode):
    """Inside this context every operation is done twice: on tensors, and on arrays of values that go with them.

    Tensors alone say shapes; what their numbers are does not matter. Views of tensors go with views of arrays, so that
    writing in place does to values what it does to numbers.

    Parameters
    ----------
    tape : Tape
        Where operations are noted.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip it takes to import it, and that seconds

    def __init__(self, tape: Tape) -> None:
        super().__init__()
        self.tape = tape
        self._known: dict[int, tuple[Tensor, np.ndarray]] = {}

    def go_with(self, tensor: Tensor, values: np.ndarray) -> None:
        """Let values go with a tensor."""
        self._known[id(tensor)] = tensor, values

    def values_of(self, tensor: Tensor) -> np.ndarray:
        """Return the array of values, and numbers, that goes with a tensor."""
        if id(tensor) not in self._known:
            numbers = tensor.detach()
            if numbers.is_complex():
                raise Untraceable("it computes with complex numbers")
            array = np.asarray(numbers.double().numpy() if numbers.is_floating_point() else numbers.numpy())
            self.go_with(tensor, array.astype(object))
        return self._known[id(tensor)][1]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        if name in ("_local_scalar_dense", "is_nonzero", "item"):
            return self._number(func, args)
        tensors = _tensors((*args, *kwargs.values()))
        if not tensors:
            return func(*args, **kwargs)
        for tensor in tensors:
            self.values_of(tensor)  # as it is before
        result = func(*args, **kwargs)
        if name == "_to_copy":
            return self._converted(tensors[0], result)
        of_values = [_with_values(self, argument) for argument in args]
        options = {key: _with_values(self, value) for key, value in kwargs.items()}
        is_in_place = name.endswith("_") and not name.endswith("__")
        known = _OPERATIONS.get(name.rstrip("_") if is_in_place and name not in _OPERATIONS else name)
        if known is None:
            raise Untraceable(f"it calls torch's {name}")
        try:
            values = known(*of_values, **options)
        except Untraceable:
            raise
        except (TypeError, KeyError) as error:
            raise Untraceable(f"it calls torch's {name} in a way that is not known here ({error})") from error
        if is_in_place:
            self._require_kept(tensors[0], values)
            if np.shape(values) == of_values[0].shape:
                of_values[0][...] = values
            else:  # of squeeze_ and its like
                self.go_with(args[0], values)
            return result
        if "out" in options:
            raise Untraceable("it writes results into tensors, out=")
        if isinstance(result, Tensor):
            self._pair(name, result, values)
        else:
            for tensor, array in zip(result, values, strict=True):
                self._pair(name, tensor, array)
        return result

    def _converted(self, tensor: Tensor, result: Tensor) -> Tensor:
        """Let values go with a tensor of another type."""
        kept = Value.as_number if result.is_floating_point() else (lambda value: value.truth)
        values = self.values_of(tensor)
        self._pair("to", result, np.frompyfunc(lambda v: kept(v) if isinstance(v, Value) else v, 1, 1)(values))
        return result

    def _require_kept(self, tensor: Tensor, values: Any) -> None:
        """Refuse to let values go with numbers that would round them."""
        if tensor.dtype not in (torch.float64, torch.bool) and holds_values(values):
            raise Untraceable(f"it rounds to {str(tensor.dtype).removeprefix('torch.')}")

    def has_values(self, tensor: Any) -> bool:
        """Return whether a tensor's entries depend on the function's arguments."""
        return isinstance(tensor, Tensor) and id(tensor) in self._known and holds_values(self._known[id(tensor)][1])

    def _pair(self, name: str, tensor: Tensor, values: Any) -> None:
        array = np.asarray(plain(values), dtype=object)
        if array.shape != tuple(tensor.shape):
            raise Untraceable(f"torch's {name} gave shape {tuple(tensor.shape)}, here {array.shape}")
        self._require_kept(tensor, array)
        self.go_with(tensor, array)

    def _number(self, func: Any, args: tuple[Any, ...]) -> Any:
        if id(args[0]) not in self._known:
            return func(*args)
        entry = self.values_of(args[0]).item()
        if not isinstance(entry, Value):
            return entry
        return bool(entry) if args[0].dtype == torch.bool else float(entry)


class Leaving(TorchFunctionMode):
    """Refuses what would take numbers out of the tensors of a trace."""

    def __init__(self, trace: TorchTrace) -> None:
        super().__init__()
        self.trace = trace

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch's, unless it is one that leaves torch."""
        name = getattr(func, "__name__", "")
        if name in ("tolist", "numpy", "__array__", "data_ptr") and self.trace.has_values(args[0]):
            raise Untraceable(f"it leaves torch by {name}")
        return func(*args, **(kwargs or {}))


def _tensors(arguments: Any) -> list[Tensor]:
    found = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            found.append(argument)
        elif isinstance(argument, (list, tuple)):
            found.extend(_tensors(argument))
    return found


def _with_values(trace: TorchTrace, argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return trace.values_of(argument)
    if isinstance(argument, (list, tuple)) and _tensors(argument):
        return [_with_values(trace, entry) for entry in argument]
    return argument


def _element(name: str) -> Callable[..., Any]:
    return _each(function_of(name))


def _each(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *operands: plain(elementwise(function, *operands))


def _add(a: Any, b: Any, alpha: float = 1) -> Any:
    return a + (b if alpha == 1 else b * alpha)


def _subtract(a: Any, b: Any, alpha: float = 1) -> Any:
    return a - (b if alpha == 1 else b * alpha)


_div = _element("divide")


def _divide(a: Any, b: Any, rounding_mode: str | None = None) -> Any:
    quotient = _div(a, b)
    return (
        quotient if rounding_mode is None else _element({"floor": "floor", "trunc": "trunc"}[rounding_mode])(quotient)
    )


def _axes(dim: Any, array: np.ndarray) -> Any:
    if dim is None or (isinstance(dim, (list, tuple)) and not dim):
        return None
    return tuple(dim) if isinstance(dim, (list, tuple)) else dim


def _sum(array: np.ndarray, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
    return np.sum(numbers(array), axis=_axes(dim, array), keepdims=keepdim)


def _mean(array: np.ndarray, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
    total = np.asarray(np.sum(array, axis=_axes(dim, array), keepdims=keepdim), dtype=object)
    return total * (total.size / array.size)


def _extreme(choose: Callable[..., Any]) -> Callable[..., Any]:
    def reduce(array: np.ndarray, dim: Any = None, keepdim: bool = False) -> Any:
        axes = _axes(dim, array)
        axes = tuple(range(array.ndim)) if axes is None else axes
        for axis in sorted(((a % array.ndim) for a in np.atleast_1d(axes)), reverse=True):
            rows = functools.reduce(_each(choose), np.moveaxis(array, axis, 0))
            array = np.expand_dims(rows, axis) if keepdim else np.asarray(rows, dtype=object)
        return array

    return reduce


def _dim(array: np.ndarray, dim: int, extra: int = 0) -> int:
    return dim % (array.ndim + extra) if array.ndim + extra else 0


def _split(array: np.ndarray, size: Any, dim: int = 0) -> list[np.ndarray]:
    length = array.shape[dim]
    sizes = [min(size, length - start) for start in range(0, length, size)] if isinstance(size, int) else list(size)
    return np.split(array, np.cumsum(sizes)[:-1], axis=dim)


def _slice(array: np.ndarray, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> np.ndarray:
    return array[(slice(None),) * _dim(array, dim) + (slice(start, end, step),)]


def _select(array: np.ndarray, dim: int, index: int) -> np.ndarray:
    return array[(slice(None),) * _dim(array, dim) + (index, ...)]  # the dots keep it a view


def _expand(array: np.ndarray, size: Any, **_: Any) -> np.ndarray:
    padded = (1,) * (len(size) - array.ndim) + array.shape
    return np.broadcast_to(array, [p if s == -1 else s for s, p in zip(size, padded, strict=True)])


def _squeeze(array: np.ndarray, dim: Any = None) -> np.ndarray:
    axes = range(array.ndim) if dim is None else [_dim(array, d) for d in np.atleast_1d(dim)]
    return array.reshape([s for a, s in enumerate(array.shape) if a not in axes or s != 1])


def _affine(bias: Any, first: Any, second: Any, beta: float = 1, alpha: float = 1) -> Any:
    product = first @ second
    return _add(bias if beta == 1 else bias * beta, product, alpha)


def _softmax(array: np.ndarray, dim: int, *_: Any) -> np.ndarray:
    powers = _element("exp")(array - _extreme(maximum)(array, dim, True))
    return powers / np.sum(powers, axis=dim, keepdims=True)


def _logsumexp(array: np.ndarray, dim: Any, keepdim: bool = False) -> np.ndarray:
    largest = _extreme(maximum)(array, dim, True)
    total = _element("log")(_sum(_element("exp")(array - largest), dim, True)) + largest
    return total if keepdim else _squeeze(total, dim)


def _gelu(array: Any, approximate: str = "none") -> Any:
    if approximate == "tanh":
        inner = math.sqrt(2 / math.pi) * (array + 0.044715 * array * array * array)
        return 0.5 * array * (1.0 + _element("tanh")(inner))
    return 0.5 * array * (1.0 + _element("erf")(array * math.sqrt(0.5)))


def _index(array: np.ndarray, indices: list[Any]) -> np.ndarray:
    if any(isinstance(entry, Value) for i in indices if i is not None for entry in np.ravel(i)):
        raise Untraceable("it uses an argument as an index")
    places = [slice(None) if i is None else np.asarray(i.tolist()) for i in indices]
    return array[tuple(places)]


def _clamp(array: Any, low: Any = None, high: Any = None, **options: Any) -> Any:
    low, high = options.get("min", low), options.get("max", high)
    array = array if low is None else _each(maximum)(array, low)
    return array if high is None else _each(minimum)(array, high)


def _elu(x: Any, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Any:
    def one(x: Value) -> Value:
        return (x > 0.0).choose(scale * x, scale * alpha * (minimum(x, 0.0) * input_scale).do("expm1"))

    return plain(elementwise(one, x))


def _leaky(x: Any, slope: float = 0.01) -> Any:
    return plain(elementwise(lambda x: (x > 0.0).choose(x, slope * x), x))


def _softplus(x: Any, beta: float = 1, threshold: float = 20) -> Any:
    softplus = function_of("softplus")

    def one(x: Value) -> Value:
        return (x * beta > threshold).choose(x, softplus(x * beta) / beta)

    return plain(elementwise(one, x))


def _norm(array: np.ndarray, ord: float = 2, dim: Any = None, keepdim: bool = False, **_: Any) -> Any:
    if ord != 2:
        raise Untraceable(f"it takes a norm with ord={ord}")
    return _element("sqrt")(_sum(array * array, dim, keepdim))


def _copy(target: np.ndarray, source: Any, *_: Any) -> Any:
    return np.broadcast_to(source, target.shape)


def _filled(value: float | None = None) -> Callable[..., Any]:
    def fill(array: np.ndarray, *given: Any, **_: Any) -> np.ndarray:
        return np.full(array.shape, given[0] if value is None else value, dtype=object)

    return fill


def _unchanged(array: Any, *_: Any, **__: Any) -> Any:
    return np.array(array, dtype=object)


_OPERATIONS: dict[str, Callable[..., Any]] = {
    **{
        name: _element(name)
        for name in (
            *("sqrt", "exp", "expm1", "log", "log1p", "log2", "log10", "exp2", "sin", "cos", "tan", "sinh", "cosh"),
            *("tanh", "floor", "ceil", "trunc", "square", "reciprocal", "sign", "fmod", "remainder", "minimum"),
            *("maximum", "fmin", "fmax", "hypot", "sigmoid", "floor_divide", "logical_and", "logical_or"),
            *("logical_not", "bitwise_and", "bitwise_or", "where"),
        )
    },
    **{f"a{name}": _element(f"arc{name}") for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "tan2")},
    **{
        torch_name: _element(name)
        for torch_name, name in {
            **{"neg": "negative", "abs": "absolute", "pow": "power", "sgn": "sign"},
            **{"lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal"},
            **{"ne": "not_equal", "bitwise_not": "invert"},
        }.items()
    },
    "erf": _element("erf"),
    "isnan": _element("isnan"),
    "gelu": _gelu,
    "round": lambda a, decimals=0: _element("rint")(a * 10.0**decimals) / 10.0**decimals,
    "lerp": lambda a, b, weight: a + weight * (b - a),
    "addcmul": lambda a, b, c, value=1: a + value * b * c,
    "logsumexp": _logsumexp,
    "mul": operator.mul,
    "add": _add,
    "sub": _subtract,
    "rsub": lambda a, b, alpha=1: _subtract(b, a, alpha),
    "div": _divide,
    "rsqrt": lambda a: _div(1.0, _element("sqrt")(a)),
    "frac": lambda a: a - _element("trunc")(a),
    "relu": _each(lambda x: (x <= 0.0).choose(0.0, x)),  # its slope at 0 is 0, as PyTorch has it
    "silu": _each(lambda x: x * sigmoid(x)),
    "leaky_relu": _leaky,
    "elu": _elu,
    "softplus": _softplus,
    "hardtanh": lambda x, low=-1.0, high=1.0: _clamp(x, low, high),
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": lambda x, high: _clamp(x, None, high),
    "log_sigmoid": _each(lambda x: -function_of("softplus")(-x)),
    "deg2rad": _each(lambda x: x * (math.pi / 180)),
    "sum": _sum,
    "mean": _mean,
    "prod": lambda a, dim=None, keepdim=False, **_: np.prod(a, axis=dim, keepdims=keepdim),
    "cumsum": lambda a, dim, **_: np.cumsum(numbers(a), axis=dim),
    "amax": _extreme(maximum),
    "amin": _extreme(minimum),
    "max": lambda a, *other: _each(maximum)(a, *other) if other else _extreme(maximum)(a),
    "min": lambda a, *other: _each(minimum)(a, *other) if other else _extreme(minimum)(a),
    "linalg_vector_norm": _norm,
    "_softmax": _softmax,
    **dict.fromkeys(("mm", "mv", "dot", "bmm", "matmul"), operator.matmul),
    "addmm": _affine,
    "addmv": _affine,
    "baddbmm": _affine,
    "linear": lambda x, weight, bias=None: x @ weight.T if bias is None else x @ weight.T + bias,
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias"), lambda a, size, *_: a.reshape(size)),
    "unsqueeze": lambda a, dim: np.expand_dims(a, _dim(a, dim, 1)),
    "squeeze": _squeeze,
    "select": _select,
    "slice": _slice,
    "t": lambda a: a.T,
    "transpose": lambda a, first, second: a.swapaxes(first, second) if a.ndim else a,
    "permute": lambda a, dims: a.transpose(dims),
    "expand": _expand,
    "cat": lambda arrays, dim=0: np.concatenate(arrays, axis=dim),
    "stack": lambda arrays, dim=0: np.stack(arrays, axis=dim),
    **dict.fromkeys(("split", "unsafe_split", "unsafe_split_with_sizes"), _split),
    "split_with_sizes": _split,
    "unbind": lambda a, dim=0: [_select(a, dim, index) for index in range(a.shape[dim])],
    "roll": lambda a, shifts, dims=(): np.roll(a, shifts, dims or None),
    "flip": lambda a, dims: np.flip(a, dims),
    "diagonal": lambda a, offset=0, dim1=0, dim2=1: np.diagonal(a, offset, dim1, dim2),
    "repeat": lambda a, repeats: np.tile(a, repeats),
    "index": _index,
    "index_select": lambda a, dim, index: np.take(a, index.astype(int), axis=dim),
    **dict.fromkeys(("detach", "alias"), lambda a: a),
    **dict.fromkeys(("clone", "contiguous", "lift_fresh", "lift_fresh_copy"), _unchanged),
    "copy": _copy,
    "fill": _filled(),
    "zero": _filled(0.0),
    **dict.fromkeys(("zeros_like", "new_zeros"), _filled(0.0)),
    "ones_like": _filled(1.0),
    "full_like": _filled(),
}
for _name in ("new_zeros", "new_ones", "new_full", "new_empty", "empty_like"):
    _number = {"new_zeros": 0.0, "new_ones": 1.0}.get(_name, 0.0)
    _OPERATIONS[_name] = (
        (lambda a, size, value, **_: np.full(size, value, dtype=object))
        if _name == "new_full"
        else (lambda a, size=None, value=_number, **_: np.full(a.shape if size is None else size, value, dtype=object))
    )
