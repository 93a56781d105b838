"""`KinkWatch`: finds, while a function runs, where automatic differentiation meets a kink exactly.

At a kink, |x| at 0 or max(x, y) at x = y, automatic differentiation returns some number between the slopes of the two
sides. An orbit that lands there, as orbits in binary floating point do, gets a slope that no neighbouring orbit has;
for the tent map written with |x|, zero, and so an exponent of −∞. What is found here is a candidate; differences
confirm it (`kinks_met`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class KinkWatch(TorchFunctionMode):
    """Notes whether the torch functions called in this context stood exactly at a kink.

    Works inside ``torch.vmap``, where `met` is a tensor of the level at hand, to be returned like any other.

    Attributes
    ----------
    met : Tensor or None
        Whether a kink was met: a boolean, or one per trajectory of a function of `batch` trajectories. None where
        no function with kinks was called.
    called : set of str
        The names of all torch functions that were called.
    """

    def __init__(self, batch: int | None = None) -> None:
        super().__init__()
        self.batch = batch
        self.met: Tensor | None = None
        self.called: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        self.called.add(name)
        if name in _KINKS:
            self._note(_at_kink(name, args, kwargs))
        return func(*args, **kwargs)

    def _note(self, at_kink: Tensor | None) -> None:
        if at_kink is None:
            return
        if self.batch is None:
            at_kink = at_kink.any()
        elif at_kink.ndim and len(at_kink) == self.batch:
            at_kink = at_kink.reshape(self.batch, -1).any(-1)
        else:
            at_kink = at_kink.any().expand(self.batch)
        self.met = at_kink if self.met is None else self.met | at_kink


def _at_kink(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    try:
        return _KINKS[name](*args, **kwargs)
    except (TypeError, RuntimeError, IndexError, ValueError):  # a form of the call that is not known here
        return None


def _equal(first: Any, second: Any, **_: Any) -> Tensor | None:
    tensor = first if isinstance(first, Tensor) else second
    if not tensor.is_floating_point():
        return None
    return torch.as_tensor(first == second)


def _at(*values: float) -> Callable[..., Any]:
    def at(operand: Tensor, *_: Any, **__: Any) -> Tensor:
        return torch.stack([operand == value for value in values]).any(0)

    return at


def _clamp(operand: Tensor, min: Any = None, max: Any = None, **_: Any) -> Tensor | None:
    met = [operand == bound for bound in (min, max) if bound is not None]
    return met[0] if len(met) == 1 else met[0] | met[1]


def _hardtanh(operand: Tensor, min_val: float = -1.0, max_val: float = 1.0, *_: Any, **__: Any) -> Tensor | None:
    return _clamp(operand, min_val, max_val)


def _threshold(operand: Tensor, threshold: float, *_: Any, **__: Any) -> Tensor:
    return operand == threshold


def _shrink(operand: Tensor, lambd: float = 0.5, *_: Any, **__: Any) -> Tensor:
    return operand.abs() == lambd


def _extremum(extreme: Callable[..., Any]) -> Callable[..., Any]:
    def tied(operand: Tensor, dim: Any = None, *_: Any, **__: Any) -> Tensor | None:
        if isinstance(dim, Tensor):
            return _equal(operand, dim)
        best = extreme(operand) if dim is None else extreme(operand, dim, keepdim=True)
        ties = operand == best
        return ties.sum() > 1 if dim is None else ties.sum(dim) > 1

    return tied


def _vanishes(operand: Tensor, *args: Any, dim: Any = None, **_: Any) -> Tensor:
    dim = args[1] if dim is None and len(args) > 1 else dim
    return (operand == 0).all() if dim is None else (operand == 0).all(dim if isinstance(dim, int) else dim[0])


def _coincide(first: Tensor, second: Tensor, *_: Any, **__: Any) -> Tensor:
    return (first == second).all()


_KINKS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("abs", "abs_", "absolute", "__abs__", "relu", "relu_", "leaky_relu", "prelu", "selu"), _at(0.0)),
    **dict.fromkeys(("lt", "le", "gt", "ge", "eq", "ne", "less", "greater", "less_equal", "greater_equal"), _equal),
    **dict.fromkeys(("__lt__", "__le__", "__gt__", "__ge__", "maximum", "minimum", "fmax", "fmin"), _equal),
    **dict.fromkeys(("clamp", "clip", "clamp_", "clip_"), _clamp),
    **dict.fromkeys(("clamp_min", "clamp_max", "l1_loss"), _equal),
    **dict.fromkeys(("sign", "sgn", "sign_"), _at(0.0)),
    **dict.fromkeys(("max", "amax"), _extremum(torch.amax)),
    **dict.fromkeys(("min", "amin"), _extremum(torch.amin)),
    **dict.fromkeys(("norm", "linalg_norm", "linalg_vector_norm"), _vanishes),
    **dict.fromkeys(("hardshrink", "softshrink"), _shrink),
    "dist": _coincide,
    "relu6": _at(0.0, 6.0),
    "hardtanh": _hardtanh,
    "hardsigmoid": _at(-3.0, 3.0),
    "hardswish": _at(-3.0, 3.0),
    "threshold": _threshold,
}
