"""Tied tensors: those that share memory in a file are one parameter in a network; others that are equal are said."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from itertools import combinations

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
        parameter = network.get_parameter(names[first])
        for other in others:
            module, _, leaf = names[other].rpartition(".")
            setattr(network.get_submodule(module), leaf, parameter)
            notes.append(f"{other} is tied to {first}, with which it shares its memory in the file: one parameter")
    return notes


def warn_of_lost_ties(path: object, tensors: Mapping[str, Tensor], used: Iterable[str]) -> None:
    """Warn of matrices of a network that equal another one in the file, and are a parameter of their own here.

    Equal vectors, and matrices of one value, are let be: so training begins. That two others are equal by chance is
    out of the question, but only formats that know of shared memory tell whether a loss has moved them together.
    """
    used = set(used)
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
        and not ({first, second} <= used and _place(tensors[first]) == _place(tensors[second]))
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
    groups: dict[tuple, list[str]] = {}
    for name in names:
        if tensors[name].numel():
            groups.setdefault(_place(tensors[name]), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _place(tensor: Tensor) -> tuple:
    return tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()
