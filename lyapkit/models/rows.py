"""A model's recurrent modules as one system, where its forward runs them in a row, as running it shows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from lyapkit.models.compositions import Composition
from lyapkit.models.loops import say_what_is_driven
from lyapkit.models.recording import SCALES, Call, are_given, check_weights, possible_inputs, recorded_calls

TOLERANCE = 1e-9
_WAYS_OUT = (
    "Pass one of them; or those in a row, with what lies between them, as nn.Sequential or lyapkit.Composition; or the "
    "whole step as a cell of your own, forward(input, state) -> state, with state_size="
)


def row_of(model: nn.Module, names: Sequence[str]) -> Composition:
    """Return the recurrent modules of a model, in the order in which it runs them, and what lies between as one system.

    The model is run on random inputs. What a recurrent module is given must be what the one before it returned, as it
    is or after other submodules; and what all of them return, at every step, must be what they do as a composition
    that starts at zero.

    Parameters
    ----------
    model : nn.Module
        It is copied.
    names : sequence of str
        Of its recurrent modules.

    Raises
    ------
    ValueError
        If it cannot be run, or does not run them in a row, or something else becomes of signals or states.

    Warns
    -----
    ReliabilityWarning
        If the first of them is given something else than the model is.
    """
    try:
        run = _Run(model, names)
        composition = run.composition(run.row())
        run.check(composition)
    except ValueError as error:
        raise ValueError(
            f"{type(model).__name__} contains several recurrent modules, {', '.join(names)}, and it cannot be verified "
            f"that they are one system, each driven by the one before it: {error}. {_WAYS_OUT}"
        ) from error
    if not run.is_driven():
        reason = f"{type(model).__name__} does something to its inputs before {run.order[0]} gets them"
        say_what_is_driven(reason, run.order[0], composition.input_size, parts=f"{', '.join(run.order)} in a row")
    return composition


def whole_of(model: nn.Module, names: Sequence[str]) -> Composition:
    """Return a model, from its inputs to its first output, as a composition; its recurrent modules are named.

    As `row_of`, with the submodules in front of the first recurrent one, and with those behind the last one as the
    readout, whose outputs, of every step or of the last, must be the model's.

    Raises
    ------
    ValueError
        As `row_of`; or if what lies in front or behind is not made of submodules.
    """
    try:
        run = _Run(model, names)
        front = run.between("", run.order[0])
        composition = run.composition([*front, *run.row(), *run.between(run.order[-1], "")])
        run.check(composition, is_whole=True)
    except ValueError as error:
        raise ValueError(
            f"it cannot be verified what {type(model).__name__} makes of its inputs, from step to step: {error}. Give "
            "its parts in their order, as nn.Sequential or lyapkit.Composition, or lyapkit.RecurrentNetwork(recurrent, "
            "readout)"
        ) from error
    return composition


class _Run:
    """A model that was run on random inputs.

    Attributes
    ----------
    inputs : Tensor
        They.
    order : list of str
        The recurrent modules in the order in which they are first called.
    """

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        self.model, self.names = model, names
        self.inputs, self.calls = _run(model, names)
        self.order = list(dict.fromkeys(call.name for call in self.calls if call.name in names))
        check_weights(model, [call for call in self.calls if call.name in names])
        if idle := [name for name in names if name not in self.order]:
            raise ValueError(f"its forward does not use {', '.join(idle)}")

    def is_driven(self) -> bool:
        """Return whether the first recurrent module is given what the model is."""
        first = self.order[0]
        return are_given(self.model.get_submodule(first), [c for c in self.calls if c.name == first], self.inputs)

    def row(self) -> list[str]:
        """Return the recurrent modules and the submodules between them, by name."""
        parts = [self.order[0]]
        for below, above in pairwise(self.order):
            parts += [*self.between(below, above), above]
        return parts

    def composition(self, parts: Sequence[str]) -> Composition:
        """Return submodules, by name, one after the other."""
        return Composition([self.model.get_submodule(name) for name in parts])

    def between(self, below: str, above: str) -> list[str]:
        """Return the submodules through which what one returned first becomes what another one is given first.

        "" is the model itself: below, its inputs; above, its output.
        """
        index = next(index for index, call in enumerate(self.calls) if call.name == above)
        signal = self.calls[index].given if above else self.calls[index].returned
        way: list[Any] = []
        for call in reversed(self.calls[:index]):
            if not below and _is_same(signal, self.inputs):
                return way
            if not _is_same(call.returned, signal):
                continue
            if call.name == below:
                return way
            if call.name in self.names:
                break
            way.insert(0, call.name)
            signal = call.given
        if not below and _is_same(signal, self.inputs):
            return way
        what = f"what {above} is given" if above else "its output"
        origin = f"what {below} returned" if below else "its input"
        raise ValueError(f"{what} is not {origin}, as it is or after other submodules")

    @torch.no_grad()
    def check(self, composition: Composition, *, is_whole: bool = False) -> None:
        """Check that recurrent modules return the same in the model as in the composition, driven from outside."""
        exact = composition.converted(torch.float64, torch.device("cpu"))
        for scale in SCALES if self.inputs.is_floating_point() else SCALES[:1]:
            inputs = scale * self.inputs if self.inputs.is_floating_point() else self.inputs
            calls = recorded_calls(self.model, self.order, inputs)
            expected = [_in_time(self.model, calls, name, "returned") for name in self.order]
            received = _in_time(self.model, calls, self.order[0], "given")
            if is_whole:
                is_batch_first = inputs.shape[:2] == received.shape[:2]
                received = inputs if is_batch_first else inputs.transpose(0, 1)
                received = received if received.is_floating_point() else received[..., None]
            if len({sequence.shape[:2] for sequence in (received, *expected)}) > 1:
                raise ValueError("they do not run over the same steps of the same trajectories")
            state = exact.initial_state(len(received), torch.Generator()).to(torch.float64)
            outputs = []
            for time, signal in enumerate(received.unbind(1)):
                state = exact.step(state, signal)
                for name, sequence, returned in zip(self.order, expected, exact.outputs(state), strict=True):
                    if not _is_close(sequence[:, time], returned):
                        raise ValueError(
                            f"{name} returns something else, at step {time} already, than it does in a row"
                        )
                outputs.append(exact.read(state))
            if is_whole:
                every = torch.stack(outputs, dim=1)
                output = calls[-1].returned
                if not any(_is_close(output, layout) for layout in (every, every.transpose(0, 1), every[:, -1])):
                    raise ValueError("its outputs are not what is read from the states, of every step or of the last")
        moved = recorded_calls(self.model, self.order, self.inputs, moved=True)
        if not torch.equal(*(_in_time(self.model, calls, self.order[0], "given") for calls in (moved, self.calls))):
            raise ValueError(f"what the modules return is fed back into the next inputs of {self.order[0]}")


def _run(model: nn.Module, names: Sequence[str]) -> tuple[Tensor, list[Call]]:
    """Return inputs that the model takes, and the calls of its submodules."""
    reason = "none that fit were found"
    for inputs in possible_inputs(model, names):
        try:
            return inputs, recorded_calls(model, names, inputs)
        except Exception as error:  # whatever a user's code makes of inputs that it does not expect
            reason = " ".join(str(error).split()) or type(error).__name__
    raise ValueError(f"it cannot be run on random inputs ({reason})")


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Whether two signals are the same, or one is the first or last step of the other, whichever dimension is time."""
    return any(torch.equal(a, b) for a in _layouts(one) for b in _layouts(other))


def _layouts(signal: Tensor) -> list[Tensor]:
    if signal.ndim != 3:
        return [signal]
    return [signal, signal.transpose(0, 1), signal[:, 0], signal[0], signal[:, -1], signal[-1]]


def _is_close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE)


def _in_time(model: nn.Module, calls: Sequence[Call], name: str, which: str) -> Tensor:
    """Return what a recurrent module was given or returned in all of its calls, (trajectory, time, feature)."""
    module = model.get_submodule(name)
    signals = [getattr(call, which) for call in calls if call.name == name]
    if isinstance(module, nn.RNNCellBase):
        signals = [signal[:, None] if signal.ndim == 2 else signal for signal in signals]
    elif not module.batch_first:
        signals = [signal.transpose(0, 1) for signal in signals]
    if any(signal.ndim != 3 for signal in signals):
        raise ValueError(f"{name} is called without a dimension for the trajectories")
    return torch.cat(signals, dim=1)
