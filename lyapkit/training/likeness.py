"""`difference`: what two networks differ in besides the values of their tensors, so that no ensemble holds both."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lyapkit.models.residuals import Residual
from lyapkit.models.wcrnn import WCRNN

_TENSORS = ("_parameters", "_buffers", "_modules")  # of a module, what it has registered
_SAID_ELSEWHERE = ("source",)  # where weights came from
_PLAIN = (bool, int, float, str, type(None))
_OWN_TENSORS = {
    "recurrent.weight",
    "recurrent.bias",
    "input.weight",
    "readout.weight",
    "readout.bias",
    "residual.values",
    "coupling",
}


def difference(one: nn.Module, other: nn.Module, *, has_lengths: bool = False) -> str:
    """Return in words the first thing that two networks differ in besides the values of their tensors; "" if nothing.

    Compared are the types of all modules, names, shapes, ties and `requires_grad` of parameters, buffers, modes, hooks,
    and every attribute. What cannot be compared counts as different. Residuals and couplings of networks that are
    differentiated by hand may have different shapes.
    """
    names = [{id(value): name for name, value in _registered(network)} for network in (one, other)]
    are_by_hand = not has_lengths and all(is_by_hand(network) for network in (one, other))
    return _between(one, other, "", names, ignores_buffers=are_by_hand)


def is_by_hand(network: nn.Module) -> bool:
    """Return whether `backpropagation` is for this network: a WCRNN, read at the end, and with nothing changed.

    That is without hooks, other modules or methods, and ties between parameters.
    """
    modules = list(network.modules())
    return (
        type(network) is WCRNN
        and not network.every_step
        and {type(module) for module in modules} == {WCRNN, nn.Linear, Residual}
        and not any(value for module in modules for name, value in vars(module).items() if name.endswith("_hooks"))
        and not any({"forward", "step", "read", "states"} & vars(module).keys() for module in modules)
        and {name for name, _ in (*network.named_parameters(), *network.named_buffers())} == _OWN_TENSORS
    )


def attributes(network: nn.Module) -> dict[str, bool | int | float | str | None]:
    """Return the plain values among the attributes of a network and its modules, by name."""
    return {
        f"{prefix}.{name}".lstrip("."): value
        for prefix, module in network.named_modules()
        for name, value in sorted(vars(module).items())
        if type(value) in _PLAIN and name not in _SAID_ELSEWHERE
    }


def _registered(network: nn.Module) -> list[tuple[str, Tensor]]:
    return [*network.named_parameters(remove_duplicate=False), *network.named_buffers(remove_duplicate=False)]


def _between(one: nn.Module, other: nn.Module, name: str, names: list[dict[int, str]], *, ignores_buffers: bool) -> str:
    if type(one) is not type(other):
        return f"{name or 'the network'} is a {type(one).__name__} and a {type(other).__name__}"
    prefix = f"{name}." if name else ""
    for kind in ("_parameters", "_buffers"):
        ours, theirs = getattr(one, kind), getattr(other, kind)
        if list(ours) != list(theirs):
            return f"{name or 'the network'} has other tensors: {', '.join(ours)} and {', '.join(theirs)}"
        for key in () if kind == "_buffers" and ignores_buffers else ours:
            if word := _between_tensors(ours[key], theirs[key], names):
                return f"{prefix}{key} {word}"
    ours, theirs = vars(one), vars(other)
    for key in sorted((ours.keys() | theirs.keys()) - set(_TENSORS) - set(_SAID_ELSEWHERE)):
        values = [own.get(key) for own in (ours, theirs)]
        if (key in ours) != (key in theirs) or not _equal(values[0], values[1], names):
            of = [repr(value) if type(value) in _PLAIN else type(value).__name__ for value in values]
            return f"{prefix}{key} is {of[0]} and {of[1]}" if of[0] != of[1] else f"{prefix}{key} differs"
    if list(one._modules) != list(other._modules):
        return f"{name or 'the network'} has other parts: {', '.join(one._modules)} and {', '.join(other._modules)}"
    for key, module in one._modules.items():
        theirs = other._modules[key]
        if module is None and theirs is None:
            continue
        if module is None or theirs is None:
            return f"only one has a {prefix}{key}"
        if word := _between(module, theirs, prefix + key, names, ignores_buffers=ignores_buffers):
            return word
    return ""


def _between_tensors(one: Tensor | None, other: Tensor | None, names: list[dict[int, str]]) -> str:
    if one is None or other is None:
        return "" if one is other else "is in one of them only"
    if one.shape != other.shape:
        return f"has shape {tuple(one.shape)} and {tuple(other.shape)}"
    if one.requires_grad != other.requires_grad:
        return "is trained in one of them and frozen in the other"
    if names[0].get(id(one)) != names[1].get(id(other)):
        return "is tied in one of them only"
    is_real = [tensor.is_floating_point() for tensor in (one, other)]
    return "" if all(is_real) or one.dtype == other.dtype else f"has {one.dtype} and {other.dtype}"


def _equal(one: Any, other: Any, names: list[dict[int, str]]) -> bool:
    """Return whether two attributes are equal; registered tensors are, if they have the same name."""
    if isinstance(one, weakref.ref) and isinstance(other, weakref.ref):
        return _equal(one(), other(), names)
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        if id(one) in names[0] or id(other) in names[1]:
            return names[0].get(id(one)) == names[1].get(id(other))
        return one.dtype == other.dtype and torch.equal(one, other)
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(_equal(one[key], other[key], names) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(
            _equal(ours, theirs, names) for ours, theirs in zip(one, other, strict=True)
        )
    kind: Any = type(one)
    if kind.__eq__ is object.__eq__ and kind.__module__ != "builtins" and getattr(one, "__dict__", None):
        return _equal(vars(one), vars(other), names)
    try:
        return bool(one == other)
    except (RuntimeError, TypeError, ValueError):
        return False
