"""Networks as they are given to `train`: those of lyapkit, and modules of the user's, which come back as such."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from lyapkit.models.given_modules import as_network
from lyapkit.models.network import Network
from lyapkit.tasks.task import Task


def prepared(model: nn.Module, task: Task, inputs: Tensor, lengths: Tensor | None) -> Network:
    """Return what is trained in place of a model: a network with outputs where the task has targets.

    Parameters
    ----------
    model : Network or nn.Module
        It is not changed. A module is compared with the network, in eval mode and in the modes it is in.
    task : Task
        What it will learn.
    inputs, lengths : Tensor
        Samples (B, T, I) on which module and network are compared, and how many of their steps count.

    Raises
    ------
    ValueError
        If the module is not the network it is taken for, has outputs where the task has no targets, or parameters
        whose gradients hooks change.
    """
    _check_hooks(model)
    if isinstance(model, Network):
        network = copy.copy(model)  # with the same tensors
        network.every_step = task.every_step
        return network
    if not isinstance(model, nn.Module):
        raise ValueError(f"expected networks or modules to train, got {type(model).__name__}")
    model = copy.deepcopy(model)
    network = as_network(model, inputs, lengths)
    if network.every_step != task.every_step:
        has, needs = ("every step", "the end") if network.every_step else ("the end", "every step")
        raise ValueError(f"{type(model).__name__} has outputs at {has}, the task {task.name} has targets at {needs}")
    _check_in_its_modes(model, network, inputs, lengths)
    return network


def _check_hooks(model: nn.Module) -> None:
    """Refuse parameters whose gradients are changed by hooks, which copies of them do not have."""
    if not isinstance(model, nn.Module):
        return
    for name, parameter in model.named_parameters():
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            raise ValueError(
                f"{name} has hooks on its gradient, which would not be called: remove them, and multiply the weights "
                "by a mask in the network's own step, for instance, or freeze the parameter (requires_grad_(False))"
            )


@torch.no_grad()
def _check_in_its_modes(model: nn.Module, network: Network, inputs: Tensor, lengths: Tensor | None) -> None:
    """Refuse a module whose network draws other random numbers: with dropout in another place, for instance."""
    if not any(module.training for module in model.modules()):
        return
    own, ours = copy.deepcopy((model, network))  # together: the network consists of parts of the module
    own.to(torch.float64)
    first = next(own.parameters())
    inputs = inputs.to(first.device, first.dtype)
    lengths = None if lengths is None else lengths.to(first.device)
    arguments = [(inputs,), (inputs.transpose(0, 1),)]
    if lengths is not None:
        arguments = [(one, lengths) for (one,) in arguments] + arguments
    expected = _drawn(ours, (inputs,) if lengths is None else (inputs, lengths))
    for given in arguments:
        try:
            outputs = _drawn(own, given)
        except (RuntimeError, ValueError, TypeError, IndexError):
            continue
        if outputs.ndim == 3 and outputs.shape != expected.shape:
            outputs = outputs.transpose(0, 1)
        if outputs.shape == expected.shape:
            difference = (outputs - expected).abs()
            if expected.ndim == 3 and lengths is not None:
                difference = difference[torch.arange(inputs.shape[1], device=inputs.device) < lengths[:, None]]
            if bool((difference <= 1e-6 * expected.abs().max()).all()):
                return
    raise ValueError(
        f"{type(model).__name__} computes something else in train mode than its recurrent module and its readout do, "
        "because of dropout that is not in a submodule of its readout, for instance: set it to eval mode to train it "
        "without, or give lyapkit.RecurrentNetwork(recurrent, readout) with nn.Dropout in the readout"
    )


def _drawn(module: nn.Module, arguments: tuple[Tensor, ...]) -> Tensor:
    """Return a module's outputs from random numbers that are always the same."""
    first = arguments[0]
    with torch.random.fork_rng([first.device] if first.device.type == "cuda" else []):
        torch.manual_seed(0)
        outputs = module(*arguments)
    return outputs[0] if isinstance(outputs, tuple | list) else outputs


@torch.no_grad()
def given_back(model: nn.Module, trained: Network, task: Task, inputs: Tensor, lengths: Tensor | None) -> nn.Module:
    """Return a trained network as what it was given as: a network itself, or a copy of the module with its weights."""
    if isinstance(model, Network):
        return trained
    back = copy.deepcopy(model).to(trained.device, next(trained.parameters()).dtype)
    parameters = dict(as_network(back, inputs, lengths).named_parameters())
    for name, parameter in trained.named_parameters():
        parameters[name].copy_(parameter)
    return back
