"""Systems of the command line: classical ones by name, and checkpoints with their recurrent weights scaled."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lyapkit.models import from_module, load_system
from lyapkit.models.recurrent import Recurrent
from lyapkit.systems import System, classical

MOST_VALUES = 10**6


def values_of(text: str) -> tuple[str, list[float]]:
    """Return name and values of "a=0.9:1.4:500", first, last and how many, or "a=0.9,1.1"."""
    name, equals, given = text.partition("=")
    expected = f"expected NAME=FIRST:LAST:NUMBER or NAME=VALUE,VALUE,…, got {text!r}"
    if not (name and equals and given):
        raise ValueError(expected)
    try:
        if ":" in given:
            first, last, number = given.split(":")
            if not 1 <= int(number) <= MOST_VALUES:
                raise ValueError
            values = np.linspace(float(first), float(last), int(number)).tolist()
        else:
            values = [float(value) for value in given.split(",")]
    except ValueError:
        raise ValueError(expected) from None
    if not all(map(math.isfinite, values)):
        raise ValueError(expected)
    return name, values


def number_of(text: str) -> tuple[str, float]:
    """Return name and value of "a=1.3"; a whole number, such as of variables, stays one."""
    name, _, given = text.partition("=")
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not (name and math.isfinite(value)):
        raise ValueError(f"expected NAME=VALUE, got {text!r}")
    return name, int(value) if given.strip().isdecimal() else value


def named_system(name: str, parameters: list[str]) -> Callable[..., System]:
    """Return the function of `classical` of a name that takes these parameters, or say which there are."""
    known = {key: vars(classical)[key] for key in classical.__all__ if inspect.isfunction(vars(classical)[key])}
    if name not in known:
        raise ValueError(f"{name} is no file and no system of lyapkit.classical: those are {', '.join(sorted(known))}")
    takes = [*inspect.signature(known[name]).parameters]
    if wrong := [parameter for parameter in parameters if parameter not in takes]:
        raise ValueError(f"{name} has no parameter {', '.join(wrong)}: it has {', '.join(takes) or 'none'}")
    return known[name]


def scaled_checkpoint(path: Path, parameters: list[str], **reading: Any) -> Callable[..., System]:
    """Return a function that builds the network in a file with its recurrent weights times `recurrent`."""
    if parameters != ["recurrent"]:
        raise ValueError(f"of a checkpoint --scale recurrent=… can be swept, got {', '.join(parameters) or 'nothing'}")
    _module_in(path, **reading)
    build = partial(_scaled, path, **reading)
    vars(build)["__name__"] = f"{path.name}, its recurrent weights scaled"
    return build


def _scaled(path: Path, *, recurrent: float, **reading: Any) -> System:
    module = _module_in(path, **reading)
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name.startswith("weight_hh"):
                weight.mul_(recurrent)
    return from_module(module)


def _module_in(path: Path, **reading: Any) -> torch.nn.RNNBase:
    """Return the network in a file as a PyTorch module, float64."""
    system = load_system(path, **reading)
    if not isinstance(system, Recurrent):
        raise ValueError(f"{path} holds {system}: recurrent weights can be scaled of RNNs, GRUs and LSTMs")
    return system.pytorch_module().double()
