"""What happens inside a user's model when it is run on random inputs: which submodules are called, with what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lyapkit.models.pytorch_modules import computed_weights, input_size_of, is_plain
from lyapkit.systems.precision import in_dtype

N_STEPS = 33
SCALES = (1.0, 20.0)  # of inputs: large ones meet what clips
_OF_CELLS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclass(frozen=True)
class Call:
    """One call of a submodule.

    Attributes
    ----------
    name : str
        Of the submodule; "" for the model.
    given : Tensor
        Its first argument.
    returned : Tensor
        What it returned, the first of several things.
    before, after : Tensor or None
        Of a recurrent one, the state that it was given, if it was, and the one that it returned; flat.
    weights : mapping or None
        Of a recurrent one, those that it had then, by PyTorch's names.
    """

    name: str
    given: Tensor
    returned: Tensor
    before: Tensor | None = None
    after: Tensor | None = None
    weights: Mapping[str, Tensor] | None = None


@torch.no_grad()
def recorded_calls(model: nn.Module, recurrent: Sequence[str], inputs: Tensor, *, moved: bool = False) -> list[Call]:
    """Return the calls of a model's recurrent modules and of its outermost other ones; its own call comes last.

    Parameters
    ----------
    model : nn.Module
        It is copied, and put in eval mode and float64.
    recurrent : sequence of str
        Names of the recurrent modules.
    inputs : Tensor
        What the model is given.
    moved : bool
        Whether all that recurrent modules return is changed a little.
    """
    copied = in_dtype(model, torch.float64).eval()
    calls: list[Call] = []
    running: list[str] = []

    def hooked(name: str) -> None:
        def enter(*_: object) -> None:
            running.append(name)

        def leave(module: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any], output: Any) -> Any:
            running.remove(name)
            if running:
                return output
            output = _moved(output) if moved and name in recurrent else output
            given = [*arguments, *options.values()]
            first = output[0] if isinstance(output, tuple) else output
            if name in recurrent:
                before = _flat(given[1]) if len(given) > 1 and given[1] is not None else None
                after = _flat(output[1] if isinstance(module, nn.RNNBase) else output)
                leaves = _OF_CELLS if is_cell(module) else getattr(module, "_flat_weights_names", ())
                held = {leaf: getattr(module, leaf, None) for leaf in leaves}
                weights = {leaf: w.detach().clone() for leaf, w in held.items() if isinstance(w, Tensor)}
                calls.append(Call(name, given[0].detach().clone(), first.detach().clone(), before, after, weights))
            elif given and isinstance(given[0], Tensor) and isinstance(first, Tensor):
                calls.append(Call(name, given[0].detach().clone(), first.detach().clone()))
            return output

        copied.get_submodule(name).register_forward_pre_hook(enter)
        copied.get_submodule(name).register_forward_hook(leave, with_kwargs=True)

    for name, _ in copied.named_modules():
        contains_one = any(one.startswith(f"{name}.") for one in recurrent) or not name
        if name in recurrent or not contains_one:
            hooked(name)
    output = copied(inputs)
    output = output[0] if isinstance(output, tuple | list) and output else output
    return calls + ([Call("", inputs, output.detach())] if isinstance(output, Tensor) else [])


def possible_inputs(model: nn.Module, recurrent: Sequence[str]) -> Iterator[Tensor]:
    """Yield inputs that a model may take: sequences of features, of what its first layers take, or of tokens."""
    generator = torch.Generator().manual_seed(0)
    features = [input_size_of(model.get_submodule(name)) for name in recurrent]
    features += [part.in_features for part in model.modules() if isinstance(part, nn.Linear)][:3]
    if any(isinstance(part, nn.Embedding) for part in model.modules()):
        yield torch.randint(0, 2, (2, N_STEPS), generator=generator)
    for size in dict.fromkeys(features):
        yield torch.randn(2, N_STEPS, size, generator=generator, dtype=torch.float64)


def check_weights(model: nn.Module, calls: Sequence[Call]) -> None:
    """Raise a ValueError if a model gives a recurrent module other weights, when it is run, than that module holds."""
    held: dict[str, dict[str, Tensor]] = {}
    for call in calls:
        module = model.get_submodule(call.name)
        if not call.weights or not is_plain(module):
            continue
        if call.name not in held:  # in float64, as they were when it was run
            held[call.name] = computed_weights(in_dtype(module, torch.float64).eval())
        for name, weight in call.weights.items():
            if not torch.allclose(weight, held[call.name][name].to(weight), rtol=1e-9, atol=1e-12):
                raise ValueError(
                    f"{type(model).__name__} changes {name} of {call.name} when it is run (weight drop?): run it once "
                    "in eval mode, and if it still changes, give it without what does so"
                )


def is_cell(module: nn.Module) -> bool:
    """Whether a recurrent module makes one step, so that the loop over time is its user's."""
    return not hasattr(module, "batch_first")


def are_given(module: nn.Module, calls: Sequence[Call], inputs: Tensor) -> bool:
    """Whether what a recurrent module receives, call by call, are the model's inputs, from the first step on."""
    layouts = [inputs, inputs.transpose(0, 1)]
    layouts += [one for layout in layouts for one in layout]  # of models that take trajectories one by one
    return all(
        any(
            sequence.shape[-2] <= layout.shape[-2] and _is_same(sequence, layout.narrow(-2, 0, sequence.shape[-2]))
            for layout in layouts
            if layout.ndim == sequence.ndim
        )
        for sequence in _sequences(module, calls)
    )


def _sequences(module: nn.Module, calls: Sequence[Call]) -> list[Tensor]:
    """Return what a recurrent module was given, (…, time, feature), of every sequence that starts without a state."""
    sequences: list[list[Tensor]] = []
    for call in calls:
        given = call.given
        if is_cell(module):
            given = given[..., None, :]
        elif given.ndim == 3 and not module.batch_first:
            given = given.transpose(0, 1)
        if not sequences or (call.before is None and not is_cell(module)):
            sequences.append([])
        sequences[-1].append(given)
    return [torch.cat(parts, dim=-2) for parts in sequences]


def _is_same(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def _moved(output: Any) -> Any:
    return tuple(map(_moved, output)) if isinstance(output, tuple) else output + 0.1 * torch.cos(output)


def _flat(state: Tensor | tuple[Any, ...]) -> Tensor:
    return torch.cat([part.detach().flatten() for part in (state if isinstance(state, tuple) else (state,))])
