"""What a model does with its recurrent module from step to step: only if it does nothing is the module its dynamics."""

from __future__ import annotations

import warnings
from itertools import pairwise

import torch
from torch import Tensor, nn

from lyapkit.arguments import ReliabilityWarning
from lyapkit.models.pytorch_modules import input_size_of
from lyapkit.models.recording import (
    SCALES,
    Call,
    are_given,
    check_weights,
    is_cell,
    possible_inputs,
    recorded_calls,
)

_ADVICE = "give the whole step as a cell of your own, forward(input, state) -> state, with state_size="


@torch.no_grad()
def check_loop(model: nn.Module, name: str) -> None:
    """Run a model on random inputs, and check that it hands the states of its recurrent module on unchanged.

    Parameters
    ----------
    model : nn.Module
        It is copied. If it has no `forward`, there is nothing to check.
    name : str
        Of the recurrent module in it.

    Warns
    -----
    ReliabilityWarning
        If the recurrent module gets something else than the model does, or if that could not be found out; or if it
        starts from a state that is not zero.

    Raises
    ------
    ValueError
        If states are changed between steps, or go back into the inputs; or if it cannot be run and contains a cell,
        whose loop over time is its own.
    """
    if type(model).forward is nn.Module.forward:
        return
    recurrent = model.get_submodule(name)
    recorded: list[Call] = []
    for inputs in possible_inputs(model, [name]):
        recorded = _calls(model, name, inputs)
        if recorded:
            break
    if not recorded:
        if is_cell(recurrent):
            raise ValueError(
                f"{type(model).__name__} could not be run on random inputs, so what its loop over time does with the "
                f"states of {name} is not known: if it does nothing, pass {name} itself; else {_ADVICE}"
            )
        say_what_is_driven(f"{type(model).__name__} could not be run on random inputs", name, input_size_of(recurrent))
        return
    check_weights(model, recorded)
    for scale in SCALES if inputs.is_floating_point() else SCALES[:1]:
        calls = recorded if scale == 1 else _calls(model, name, scale * inputs)
        for previous, call in pairwise(calls):
            if call.before is None and not is_cell(recurrent):
                continue  # a new sequence
            if call.before is None or previous.after is None or not torch.equal(call.before, previous.after):
                raise ValueError(
                    f"{type(model).__name__} changes the states of {name} between its steps, or does not hand them "
                    f"on: {_ADVICE}"
                )
    moved = _calls(model, name, inputs, moved=True)
    for call, again in zip(recorded[1:], moved[1:], strict=True):
        if not torch.equal(call.given, again.given):
            raise ValueError(
                f"{type(model).__name__} feeds what {name} returns back into its next inputs, so that they do not "
                f"drive it from outside: {_ADVICE}"
            )
    if not are_given(recurrent, recorded, inputs):
        reason = f"{type(model).__name__} does something to its inputs before {name} gets them"
        say_what_is_driven(reason, name, input_size_of(recurrent))
    if recorded[0].before is not None and bool(recorded[0].before.any()):
        warnings.warn(
            f"{type(model).__name__} starts {name} from a state that is not zero: the system starts from zeros, or "
            "from initial_state= where it is run",
            ReliabilityWarning,
            stacklevel=4,
        )


def say_what_is_driven(reason: str, name: str, n_inputs: int, parts: str = "") -> None:
    """Warn that a system is not the whole model, and what its inputs are."""
    warnings.warn(
        f"{reason}: the system is {parts or f'{name} alone'}, and its inputs must be what {name} receives, {n_inputs} "
        f"features per step. Pass {name} itself if that is meant; modules in a row are one system as an nn.Sequential "
        "or lyapkit.Composition",
        ReliabilityWarning,
        stacklevel=5,
    )


def _calls(model: nn.Module, name: str, inputs: Tensor, *, moved: bool = False) -> list[Call]:
    """Return the calls of a recurrent module, none if the model cannot be run."""
    try:
        return [call for call in recorded_calls(model, [name], inputs, moved=moved) if call.name == name]
    except Exception:  # whatever a user's code makes of inputs that it does not expect
        return []
