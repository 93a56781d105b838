"""`as_network`: what a user's module computes, found out, and compared with its own `forward`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lyapkit.models.checkpoint import load_network
from lyapkit.models.network import Network, RecurrentNetwork
from lyapkit.systems.precision import in_dtype

TOLERANCE = 1e-9  # of outputs, relative to the largest
AT_ONCE = 256  # samples
SHORT = 8  # steps that not even a chaotic network takes rounding errors far in
FEW = 4  # samples of which gradients are compared
_ADVICE = "give lyapkit.RecurrentNetwork(recurrent, readout), or a subclass of lyapkit.Network with your own step"


def as_network(model: nn.Module | str | Path, inputs: Tensor, lengths: Tensor | None = None) -> Network:
    """Return a model as a `Network`: itself, what a file holds, or its recurrent module and readout.

    The network shares the model's parameters; the model, and the modes that its modules are in, are left as they are.
    That the network is the model is checked: outputs of both are compared on all samples, in float64 and eval mode,
    with the model's parameters and with others close to them; and gradients of the outputs, on a few samples.

    Parameters
    ----------
    model : Network, nn.Module, str or Path
        The path of a checkpoint that `load_network` reads; or a module that contains exactly one nn.RNN, nn.GRU,
        nn.LSTM or cell, and reads the last hidden state, or that of every step, with its other submodules, one after
        the other. If it returns several things, the first counts.
    inputs : Tensor
        (sample, time, feature).
    lengths : Tensor, optional
        (sample,): how many steps of each sequence count. A `forward` that takes them is given them.

    Raises
    ------
    ValueError
        If the model has no readout, has trainable parameters that would not be used, or computes something else.
    """
    if isinstance(model, str | Path):
        model = load_network(model)
    if isinstance(model, Network):
        if type(model).forward is not Network.forward:
            _, reason = _compared(model, lambda copied: copied, inputs, lengths)
            if reason:
                raise ValueError(f"{type(model).__name__}.forward is not the readout of its own states: {reason}")
        return model
    if not isinstance(model, nn.Module):
        raise ValueError(f"expected a network with a readout, a Network or an nn.Module, got {type(model).__name__}")
    name = type(model).__name__
    found = [part for part in model.modules() if isinstance(part, nn.RNNBase | nn.RNNCellBase)]
    if len(found) != 1:
        raise ValueError(f"{name} contains {len(found)} recurrent modules, expected 1: {_ADVICE}")
    readouts = _readouts(model)
    if not readouts:
        raise ValueError(f"{name} has no readout that takes its state to an output with a loss: {_ADVICE}")
    reasons = []
    for readout in readouts:
        every_step, reason = _compared(model, partial(_assembled, readout=readout), inputs, lengths)
        if not reason:
            network = _assembled(model, readout)
            network.every_step = every_step
            _check_all_used(model, network)
            return network
        reasons.append(reason)
    padding = "" if lengths is not None else "if its sequences are padded, give their lengths; else "
    raise ValueError(
        f"{name} does more than to read its last hidden state, or that of every step, with "
        f"{', then '.join(readouts[-1])} ({reasons[-1]}): {padding}{_ADVICE}"
    )


def _readouts(model: nn.Module) -> list[list[str]]:
    """Return what may be the readout: submodules beside the recurrent one, all, or those with parameters; by name."""
    beside = []

    def collect(module: nn.Module, prefix: str) -> None:
        for name, child in module.named_children():
            if not any(isinstance(part, nn.RNNBase | nn.RNNCellBase) for part in child.modules()):
                beside.append(prefix + name)
            elif not isinstance(child, nn.RNNBase | nn.RNNCellBase):
                collect(child, f"{prefix}{name}.")

    collect(model, "")
    weighted = [name for name in beside if any(True for _ in model.get_submodule(name).parameters())]
    if not weighted:
        return []
    return [weighted] if weighted == beside else [beside, weighted]


def _assembled(model: nn.Module, readout: Sequence[str]) -> RecurrentNetwork:
    """Return the network of a model's recurrent module and some of its other submodules, one after the other."""
    recurrent = next(part for part in model.modules() if isinstance(part, nn.RNNBase | nn.RNNCellBase))
    parts = [model.get_submodule(name) for name in readout]
    return RecurrentNetwork(recurrent, parts[0] if len(parts) == 1 else nn.Sequential(*parts))


def _check_all_used(model: nn.Module, network: Network) -> None:
    used = {id(parameter) for parameter in network.parameters()}
    unused = [name for name, value in model.named_parameters() if value.requires_grad and id(value) not in used]
    if unused:
        raise ValueError(
            f"{type(model).__name__} has trainable parameters in neither its recurrent module nor its readout, "
            f"{', '.join(unused)}: freeze or remove them if they do nothing, else {_ADVICE}"
        )


@torch.no_grad()
def _compared(
    model: nn.Module, build: Callable[[nn.Module], Any], inputs: Tensor, lengths: Tensor | None
) -> tuple[bool, str]:
    """Return whether the model has outputs at every step, and in what it differs from the network built of it."""
    try:
        copied = in_dtype(model, torch.float64).eval()
        network = build(copied)
        device = network.device
        short = None if lengths is None else lengths.clamp(max=SHORT)
        samples = [(inputs[:AT_ONCE, :SHORT], short if short is None else short[:AT_ONCE])]
        starts = range(0, len(inputs), AT_ONCE)
        samples += [(inputs[i : i + AT_ONCE], None if lengths is None else lengths[i : i + AT_ONCE]) for i in starts]
        samples = [(x.to(device, torch.float64), n if n is None else n.to(device)) for x, n in samples]
        generator = torch.Generator().manual_seed(0)
        for is_moved in (False, True):
            if is_moved:  # so that neither a factor of 1 nor weights that are 0 hide anything
                for parameter in copied.parameters():
                    noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(device)
                    parameter.mul_(1 + 0.01 * noise).add_(1e-3 * noise.flip(tuple(range(noise.ndim))))
            for index, given in enumerate(samples):
                if reason := _difference(copied, network, *given, is_short=index == 0):
                    return False, reason
        x, n = samples[0]
        if reason := _difference_of_gradients(copied, network, x[:FEW], n if n is None else n[:FEW]):
            return False, reason
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        return False, " ".join(str(error).split())
    return network.every_step, ""


def _difference(model: nn.Module, network: Network, inputs: Tensor, lengths: Tensor | None, is_short: bool) -> str:
    """Return in what outputs of the model differ from those of the network, whose `every_step` is set to fit."""
    reason = ""
    for outputs in _outputs_of(model, inputs, lengths):
        if not isinstance(model, Network):
            network.every_step = outputs.ndim == 3
        expected = Network.forward(network, inputs, lengths)
        if outputs.shape != expected.shape:
            reason = reason or f"its outputs have shape {tuple(outputs.shape)}, expected {tuple(expected.shape)}"
            continue
        allowed = TOLERANCE * expected.abs().max()
        if not is_short:  # how far rounding errors go, in a chaotic network
            allowed += 1000 * (Network.forward(network, inputs * (1 + 1e-15), lengths) - expected).abs().max()
        difference = (outputs - expected).abs()
        if network.every_step and lengths is not None:  # what comes after a sequence's end means nothing
            time = torch.arange(inputs.shape[1], device=inputs.device)
            difference = difference[time < lengths[:, None]]
        if bool(difference.max() <= allowed):
            return ""
        reason = f"outputs differ by up to {float(difference.max()):.2g}"
    return reason


@torch.enable_grad()
def _difference_of_gradients(model: nn.Module, network: Network, inputs: Tensor, lengths: Tensor | None) -> str:
    """Return in what gradients differ: of a model that detaches states, for instance, or scales its gradients."""
    parameters = dict(model.named_parameters())
    trained = {name: value for name, value in parameters.items() if value.requires_grad}
    if not trained:
        return ""
    expected = Network.forward(network, inputs, lengths)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if network.every_step and lengths is not None:
        weights *= (torch.arange(inputs.shape[1]) < lengths.cpu()[:, None])[:, :, None]
    weights = weights.to(expected)
    theirs = _gradients(expected, weights, trained)
    for outputs in _outputs_of(model, inputs, lengths):
        if outputs.shape != expected.shape or not bool(_is_close(outputs, expected)):
            continue  # another layout of the inputs
        ours = _gradients(outputs, weights, trained)
        wrong = [name for name in trained if not bool(_is_close(ours[name], theirs[name]))]
        return (
            ""
            if not wrong
            else (
                f"outputs are the same, but not their gradients with respect to {', '.join(wrong)}: what it does not "
                "train, behind detach() or torch.no_grad() for instance, is to be frozen, by requires_grad_(False)"
            )
        )
    return ""


def _gradients(outputs: Tensor, weights: Tensor, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if not outputs.requires_grad:
        return {name: torch.zeros_like(value) for name, value in parameters.items()}
    leaves = list(parameters.values())
    found = torch.autograd.grad(outputs, leaves, weights, allow_unused=True, materialize_grads=True)
    return dict(zip(parameters, found, strict=True))


def _is_close(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).abs().max() <= 1e-6 * torch.maximum(one.abs().max(), other.abs().max())


def _outputs_of(model: nn.Module, inputs: Tensor, lengths: Tensor | None) -> Iterator[Tensor]:
    """Yield a model's outputs, sample first, for inputs with either of the first two axes for the samples."""
    failure = None
    for is_batch_first in (True,) if isinstance(model, Network) else (True, False):
        given = inputs if is_batch_first else inputs.transpose(0, 1)
        for arguments in [(given,)] if lengths is None else [(given, lengths), (given,)]:
            try:
                outputs = model(*arguments)
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                failure = failure or error
                continue
            outputs = outputs[0] if isinstance(outputs, tuple | list) else outputs
            if isinstance(outputs, Tensor) and outputs.ndim in (2, 3):
                failure = None
                yield outputs if is_batch_first or outputs.ndim == 2 else outputs.transpose(0, 1)
            else:
                failure = failure or ValueError("its outputs are not (sample, output) or (sample, time, output)")
    if failure is not None:
        raise failure
