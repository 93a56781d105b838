"""PyTorch's own modules as JSON and back: what a checkpoint must say beside its tensors to come back as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

_RECURRENT = ("input_size", "hidden_size", "bias")
_STACK = (*_RECURRENT, "num_layers", "batch_first", "dropout")
_ARGUMENTS: dict[type[nn.Module], tuple[str, ...]] = {  # of the constructor, and attributes of the same names
    nn.RNN: (*_STACK, "nonlinearity"),
    nn.GRU: _STACK,
    nn.LSTM: (*_STACK, "proj_size"),
    nn.RNNCell: (*_RECURRENT, "nonlinearity"),
    nn.GRUCell: _RECURRENT,
    nn.LSTMCell: _RECURRENT,
    nn.Linear: ("in_features", "out_features", "bias"),
    nn.LayerNorm: ("normalized_shape", "eps", "elementwise_affine", "bias"),
    nn.BatchNorm1d: ("num_features", "eps", "momentum", "affine", "track_running_stats"),
    nn.Dropout: ("p",),
    nn.Flatten: ("start_dim", "end_dim"),
    nn.Softmax: ("dim",),
    nn.LogSoftmax: ("dim",),
    nn.LeakyReLU: ("negative_slope",),
    nn.PReLU: ("num_parameters",),
    nn.ELU: ("alpha",),
    nn.GELU: ("approximate",),
    nn.Softplus: ("beta", "threshold"),
    nn.Hardtanh: ("min_val", "max_val"),
    **dict.fromkeys((nn.Identity, nn.Tanh, nn.Sigmoid, nn.ReLU, nn.SiLU, nn.Softsign, nn.Hardsigmoid), ()),
}
_BY_NAME = {kind.__name__: kind for kind in _ARGUMENTS}


def described(module: nn.Module) -> dict[str, Any] | None:
    """Return a module as JSON can hold it: its class and the constructor's arguments.

    None for what only its own code can compute: other classes, subclasses, parametrised modules, modules with hooks.
    """
    if has_hooks(module):
        return None
    if type(module) is nn.Sequential:
        children = [[name, described(child)] for name, child in module.named_children()]
        return None if any(child is None for _, child in children) else {"Sequential": children}
    if type(module) not in _ARGUMENTS:
        return None
    return {type(module).__name__: {name: _argument(module, name) for name in _ARGUMENTS[type(module)]}}


def built(description: Mapping[str, Any]) -> nn.Module:
    """Return an untrained module of which `described` returned the description.

    Raises
    ------
    ValueError
        If it is none.
    """
    try:
        ((name, arguments),) = description.items()
        if name != "Sequential":
            return _BY_NAME[name](**arguments)
        sequential = nn.Sequential()
        for child_name, child in arguments:
            sequential.add_module(child_name, built(child))
        return sequential
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{description!r} does not describe a module: {error}") from error


def has_hooks(module: nn.Module) -> bool:
    """Return whether functions run before or after the module's own forward."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _argument(module: nn.Module, name: str) -> object:
    value = getattr(module, name)
    if name == "bias" and not isinstance(value, bool):
        return value is not None
    return list(value) if isinstance(value, tuple) else value
