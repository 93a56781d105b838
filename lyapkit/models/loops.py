"""What a model does with its recurrent module from step to step: only if it does nothing is the module its dynamics."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from lyapkit.arguments import ReliabilityWarning

N_STEPS = 3
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
        If the recurrent module gets something else than the model does, or if that could not be found out.

    Raises
    ------
    ValueError
        If states are changed between steps, or go back into the inputs; or if it cannot be run and contains a cell,
        whose loop over time is its own.
    """
    if type(model).forward is nn.Module.forward:
        return
    recurrent = model.get_submodule(name)
    is_cell = hasattr(recurrent, "weight_hh") or "Cell" in type(recurrent).__name__
    recorded = None
    for inputs in _possible_inputs(model, recurrent):
        recorded = _calls(model, name, inputs, moved=False)
        if recorded:
            break
    if not recorded:
        if is_cell:
            raise ValueError(
                f"{type(model).__name__} could not be run on random inputs, so what its loop over time does with the "
                f"states of {name} is not known: if it does nothing, pass {name} itself; else {_ADVICE}"
            )
        _say(f"{type(model).__name__} could not be run on random inputs", name, recurrent)
        return
    if not _is_given(recorded[0][0], inputs):
        _say(f"{type(model).__name__} does something to its inputs before {name} gets them", name, recurrent)
    moved = _calls(model, name, inputs, moved=True)
    for (_, state, _), (_, _, before) in zip(recorded[1:], recorded[:-1], strict=True):
        if state is None or not torch.equal(state, before):
            if state is None and not is_cell:
                continue  # a new sequence
            raise ValueError(
                f"{type(model).__name__} changes the states of {name} between its steps, or does not hand them on: "
                f"{_ADVICE}"
            )
    for (given, _, _), (again, _, _) in zip(recorded[1:], moved[1:], strict=True):
        if not torch.equal(given, again):
            raise ValueError(
                f"{type(model).__name__} feeds what {name} returns back into its next inputs, so that they do not "
                f"drive it from outside: {_ADVICE}"
            )


def _is_given(received: Tensor, inputs: Tensor) -> bool:
    """Whether what a recurrent module received are the model's inputs, of all steps or of the first."""
    layouts = (inputs, inputs.transpose(0, 1), inputs[:, 0], inputs[0])
    return any(torch.equal(received, layout) for layout in layouts)


def _say(reason: str, name: str, recurrent: nn.Module) -> None:
    warnings.warn(
        f"{reason}: the system is {name} alone, and its inputs must be what {name} receives, {recurrent.input_size} "
        f"features per step. Pass {name} itself if that is meant; modules in a row are one system as an nn.Sequential "
        "or lyapkit.Composition",
        ReliabilityWarning,
        stacklevel=5,
    )


def _calls(
    model: nn.Module, name: str, inputs: Tensor, moved: bool
) -> list[tuple[Tensor, Tensor | None, Tensor]] | None:
    """Return input, state before and state after of all calls of the recurrent module, None if the model cannot be run.

    With `moved`, all that the recurrent module returns is changed a little.
    """
    calls = []

    def record(module: nn.Module, arguments: tuple, options: dict, output: object) -> object:
        given = [*arguments, *options.values()]
        before = _flat(given[1]) if len(given) > 1 and given[1] is not None else None
        if moved:
            output = _moved(output)
        state = output[1] if isinstance(module, nn.RNNBase) else output
        calls.append((given[0].detach().clone(), before, _flat(state)))
        return output

    try:
        copied = copy.deepcopy(model).eval().to(torch.float64)
        handle = copied.get_submodule(name).register_forward_hook(record, with_kwargs=True)
        copied(inputs)
        handle.remove()
    except Exception:  # whatever a user's code makes of inputs that it does not expect
        return None
    return calls


def _moved(output: object) -> object:
    return tuple(map(_moved, output)) if isinstance(output, tuple) else output + 0.1 * torch.cos(output)


def _flat(state: Tensor | tuple) -> Tensor:
    return torch.cat([part.detach().flatten() for part in (state if isinstance(state, tuple) else (state,))])


def _possible_inputs(model: nn.Module, recurrent: nn.Module) -> Iterator[Tensor]:
    """Yield inputs that a model may take: sequences of features, of what its first layers take, or of tokens."""
    generator = torch.Generator().manual_seed(0)
    features = [recurrent.input_size]
    features += [part.in_features for part in model.modules() if isinstance(part, nn.Linear)][:3]
    if any(isinstance(part, nn.Embedding) for part in model.modules()):
        yield torch.ones(2, N_STEPS, dtype=torch.int64)
    for size in dict.fromkeys(features):
        yield torch.randn(2, N_STEPS, size, generator=generator, dtype=torch.float64)
