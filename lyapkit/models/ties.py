"""Tied tensors: those that share memory in a file are one parameter in a network; others that are equal are said."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from lyapkit.files.errors import CheckpointWarning


def keep_ties(network: nn.Module, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> list[str]:
    """Make one parameter of those of a network that share their memory in a file, and return notes on them.

    Parameters
    ----------
    network : nn.Module
        A network that was built from copies of the tensors; it is changed.
    tensors : mapping
        All tensors of the file.
    names : mapping
        Names of the network's parameters by the names of their tensors in the file.
    """
    notes = []
    for first, *others in _groups(names, tensors):
        tie(network, [[names[name] for name in (first, *others)]], {})
        for other in others:
            notes.append(f"{other} is tied to {first}, with which it shares its memory in the file: one parameter")
    return notes


def ties_of(network: nn.Module) -> list[list[str]]:
    """Return the names of a network's parameters that are one, several each."""
    groups: dict[int, list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        groups.setdefault(id(parameter), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def tie(network: nn.Module, groups: Iterable[Sequence[str]], tensors: Mapping[str, Tensor]) -> None:
    """Make one parameter of those of a network that have the names of a group.

    Parameters
    ----------
    network : nn.Module
        It is changed.
    groups : iterable of sequence of str
        Names.
    tensors : mapping
        Values of parameters, as far as they are known; those of a group must be the same.

    Raises
    ------
    ValueError
        If they are not.
    """
    for first, *others in groups:
        parameter = network.get_parameter(first)
        for other in others:
            is_same = network.get_parameter(other).shape == parameter.shape
            if not is_same or (first in tensors and not torch.equal(tensors[first], tensors[other])):
                raise ValueError(f"{other} is said to be tied to {first}, and holds other numbers")
            module, _, leaf = other.rpartition(".")
            setattr(network.get_submodule(module), leaf, parameter)


def warn_of_lost_ties(
    path: object, tensors: Mapping[str, Tensor], used: Iterable[str], tied: Iterable[Sequence[str]] = ()
) -> None:
    """Warn of matrices of a network that equal another one in the file, and are a parameter of their own here.

    Equal vectors, and matrices of one value, are let be: so training begins. That two others are equal by chance is
    out of the question, but only formats that know of shared memory tell whether a loss has moved them together.
    Those named in a group of `tied` are known to be one parameter.
    """
    used, known = set(used), [set(group) for group in tied]
    matrices = [
        name
        for name, tensor in tensors.items()
        if tensor.ndim == 2 and tensor.is_floating_point() and bool((tensor != tensor.flatten()[:1]).any())
    ]
    equal = [
        (first, second)
        for first, second in combinations(matrices, 2)
        if (first in used or second in used)
        and tensors[first].shape == tensors[second].shape
        and torch.equal(tensors[first], tensors[second])
        and not any({first, second} <= group for group in known)
    ]
    if equal:
        said = "; ".join(f"{first} and {second}" for first, second in equal)
        warnings.warn(
            f"{path}: {said} hold the same numbers, as tied weights do, and are taken for parameters of their own: if "
            "the model ties them, what is said of learning here is not true of it: give the model itself, or module=",
            CheckpointWarning,
            stacklevel=5,
        )


def _groups(names: Iterable[str], tensors: Mapping[str, Tensor]) -> list[list[str]]:
    """Return names of tensors that share all of their memory, several each, the first in the file's order first."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name in names:
        if tensors[name].numel():
            groups.setdefault(_place(tensors[name]), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()
