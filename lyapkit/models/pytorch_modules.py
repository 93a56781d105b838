"""What can be read off a PyTorch recurrent module: whether it computes what PyTorch says, and with which weights."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from lyapkit.files.errors import CheckpointWarning
from lyapkit.models.recurrent import PARAMETER

if TYPE_CHECKING:
    from torch.ao.nn.quantized.dynamic.modules.rnn import RNNBase, RNNCellBase

PYTORCH = (nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell)
_WEIGHT_HOOKS = (WeightNorm, SpectralNorm, BasePruningMethod)  # compute weights before each forward, and nothing else
_HARMLESS = {"reset_parameters", "extra_repr"}  # that a subclass may have of its own and still compute the same
_SPECIAL = {"__call__", "__getattr__", "__getattribute__"}  # that it may not


def is_recurrent(module: nn.Module) -> bool:
    """Return whether a module is one of PyTorch's recurrent ones, of a subclass, or quantised."""
    return isinstance(module, nn.RNNBase | nn.RNNCellBase) or is_quantized(module)


def is_quantized(module: nn.Module) -> TypeGuard[RNNBase | RNNCellBase]:
    """Return whether a module is a dynamically quantised recurrent one."""
    return type(module).__module__.startswith("torch.ao.nn.quantized.dynamic") and hasattr(module, "get_bias")


def is_plain(module: nn.Module) -> bool:
    """Return whether a module computes PyTorch's own equations: no forward of its own, no hooks but weights'."""
    kind = type(module)
    if parametrize.is_parametrized(module):
        kind = kind.__bases__[0]  # parametrize derives a class for each module
    base = next((base for base in PYTORCH if issubclass(kind, base)), None)
    if (
        base is None or module._forward_hooks or _has_global_hooks() or "forward" in vars(module)
    ):  # which someone has put into the instance
        return False
    if any(not isinstance(hook, _WEIGHT_HOOKS) for hook in module._forward_pre_hooks.values()):
        return False
    own = {name for ancestor in kind.__mro__[: kind.__mro__.index(base)] for name in vars(ancestor)}
    own = {name for name in own - _HARMLESS if not name.startswith("__") or name in _SPECIAL}
    return not any(hasattr(base, name) for name in own)


def is_plain_sequence(module: nn.Module) -> TypeGuard[nn.Sequential]:
    """Return whether a module is an nn.Sequential that does nothing but run its parts one after the other."""
    has_hooks = module._forward_hooks or module._forward_pre_hooks or _has_global_hooks()
    return type(module) is nn.Sequential and not has_hooks and "forward" not in vars(module)


def _has_global_hooks() -> bool:
    """Return whether functions run before or after the forward of every module."""
    return bool(nn.modules.module._global_forward_hooks or nn.modules.module._global_forward_pre_hooks)


def input_size_of(module: nn.Module) -> int:
    """Return how many features a recurrent module takes."""
    return cast(int, module.input_size)


def nonlinearity_of(module: nn.Module) -> str | None:
    """Return the activation function that an Elman module computes with; None for others.

    Of `nn.RNN`, that is what its mode says: its attribute `nonlinearity` only says with what it was made.
    """
    modes = {"RNN_TANH": "tanh", "RNN_RELU": "relu"}
    return modes.get(getattr(module, "mode", ""), getattr(module, "nonlinearity", None))


def computed_weights(module: nn.Module) -> dict[str, Tensor]:
    """Return the weights that a recurrent module computes with, in eval mode, by PyTorch's names; it is not changed.

    Parametrised ones are computed by the parametrisations, those of weight_norm, spectral_norm and pruning by their
    hooks; quantised ones are dequantised.

    Raises
    ------
    ValueError
        If an nn.RNN, nn.GRU or nn.LSTM computes with other tensors than its parameters, or a parametrisation is random.
    """
    _check_own_weights(module)
    if is_quantized(module):
        warnings.warn(
            f"{type(module).__name__} is quantised: its weights are taken as the numbers that they stand for, and its "
            "inputs and states are not rounded as its own kernels round them",
            CheckpointWarning,
            stacklevel=4,
        )
        stored = {**module.get_weight(), **module.get_bias()}
        return {name: weight.dequantize() for name, weight in stored.items() if weight is not None}
    hooks = module._forward_pre_hooks.values()
    with torch.no_grad():
        weights = {name: weight.detach() for name, weight in module.named_parameters(recurse=False)}
        weights = {name: weight for name, weight in weights.items() if PARAMETER.match(name)}
        if parametrize.is_parametrized(module):
            assert isinstance(module.parametrizations, nn.ModuleDict)
            computed = copy.deepcopy(module.parametrizations).eval()  # not the module, which keeps what it computed
            for name, compute in computed.items():
                weights[name] = compute()
                if not torch.equal(weights[name], compute()):
                    raise ValueError(
                        f"the parametrization of {name} in {type(module).__name__} gives other weights each time "
                        "(random numbers?): set the weights that are meant, and remove it"
                    )
        for hook in hooks:
            if isinstance(hook, BasePruningMethod):
                weights[hook._tensor_name] = hook.apply_mask(module)
            elif isinstance(hook, SpectralNorm):
                weights[hook.name] = hook.compute_weight(module, do_power_iteration=False)
            else:
                assert isinstance(hook, WeightNorm)
                weights[hook.name] = hook.compute_weight(module)
        return {name: weight.detach() for name, weight in weights.items()}


def _check_own_weights(module: nn.Module) -> None:
    """Raise a ValueError if a module's forward uses other tensors than those of its parameters' names."""
    used = dict(zip(getattr(module, "_flat_weights_names", ()), getattr(module, "_flat_weights", ()), strict=False))
    for name, parameter in module._parameters.items():
        other = used.get(name, parameter)
        if other is not parameter and other is not None and (parameter is None or not torch.equal(other, parameter)):
            raise ValueError(
                f"{type(module).__name__} computes with another {name} than its parameter (something has replaced it "
                "in _flat_weights): set the parameter itself"
            )
