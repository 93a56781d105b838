"""`Composition`: recurrent systems in a row, with functions of the signal around them, as one system.

The state is that of all recurrent parts, one after the other. A perturbation of a part reaches those behind it in the
same step, through what lies between: so the Jacobian is block triangular, and a push goes through the parts once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from lyapkit.models.modules import from_module, recurrent_modules
from lyapkit.models.network import RecurrentNetwork
from lyapkit.models.pytorch_modules import is_plain_sequence
from lyapkit.models.signals import Embedding, SignalMap
from lyapkit.systems import System
from lyapkit.systems.system import Input, Stage, push_through_stages

Part = System | SignalMap | Embedding


class Composition(System):
    """Recurrent parts in a row as one system: every part's output is the next one's input, in the same step.

    Parameters
    ----------
    parts : sequence of System or nn.Module
        From the input upwards. Recurrent modules (`nn.LSTM`, …, their cells, in any widths) and systems evolve; other
        modules (linear layers, activations, LayerNorm, …) are functions of one step's signal, in eval mode; they may
        be grouped in `nn.Sequential`, and with recurrent ones in modules whose forward, run on random inputs, proves to
        run them in a row. An `nn.Embedding` may come first: inputs are then token ids. Functions behind the
        last recurrent part do not act on the state: they are the readout, which `closed_loop` feeds back.
    source : mapping, optional
        What a result file should say about where the weights come from.

    Raises
    ------
    ValueError
        If nothing is recurrent, sizes do not fit, or a module is no differentiable function of one step's signal.

    Examples
    --------
    >>> import lyapkit as lk
    >>> from torch import nn
    >>> lk.Composition([nn.GRU(3, 4), nn.Tanh(), nn.LSTM(4, 5)]).state_size  # 4 + 2 · 5
    14
    """

    input_size: int

    def __init__(self, parts: Sequence[Part | nn.Module], source: Mapping[str, str] | None = None) -> None:
        self.parts = [built for part in parts for built in _built(part)]
        self.source = dict(source or {})
        systems = [part for part in self.parts if isinstance(part, System)]
        if not systems:
            raise ValueError("nothing in the composition is recurrent")
        for part in systems:
            if part.input_size is None:
                raise ValueError(f"{part} is autonomous: it takes no input from what is before it")
        self._sizes = [part.state_size for part in systems]
        self.state_size = sum(self._sizes)
        self.n_tokens = self.parts[0].n_tokens if isinstance(self.parts[0], Embedding) else systems[0].n_tokens
        self._check()

    def _check(self) -> None:
        """Set the number of inputs; check that every part takes what the one before it gives."""
        size = 1 if isinstance(self.parts[0], Embedding) else _input_size(self.parts[0], self.parts)
        self.input_size = size
        for index, part in enumerate(self.parts):
            if isinstance(part, Embedding):
                if index:
                    raise ValueError("an embedding takes the inputs: it has to be the first part")
                size = part.size
            elif isinstance(part, SignalMap):
                size = part.check(size)
            else:
                if part.input_size != size:
                    raise ValueError(f"part {index}, {part}, takes {part.input_size} features and is given {size}")
                generator = torch.Generator().manual_seed(0)
                size = part.output(part.initial_state(1, generator)).shape[-1]
        self.output_size = size

    @property
    def treats_trajectories_alike(self) -> bool:
        """Whether all parts do."""
        return all(part.treats_trajectories_alike for part in self._systems)

    @property
    def maps_to_zero(self) -> bool:
        """Whether some part does: the determinant is the product of theirs."""
        return any(part.maps_to_zero for part in self._systems)

    @property
    def _systems(self) -> list[System]:
        return [part for part in self.parts if isinstance(part, System)]

    @property
    def readout(self) -> list[SignalMap]:
        """Functions behind the last recurrent part."""
        last = max(i for i, part in enumerate(self.parts) if isinstance(part, System))
        return [part for part in self.parts[last + 1 :] if isinstance(part, SignalMap)]

    def step(self, state: Tensor, input: Input) -> Tensor:
        """Return the next state."""
        states, owned = [], iter(state.split(self._sizes, dim=-1))
        signal = input
        for part in self.parts[: len(self.parts) - len(self.readout)]:
            if isinstance(part, System):
                states.append(part.step(next(owned), signal))
                signal = part.output(states[-1])
            else:
                signal = part(signal)
        return torch.cat(states, dim=-1)

    def push(self, state: Tensor, input: Input, tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next state and the tangent vectors, part by part."""
        return self.push_driven(state, input, tangent, None)

    def push_driven(
        self, state: Tensor, input: Tensor, tangent: Tensor, input_tangent: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return what `push` returns where the input is perturbed, too."""
        states, tangents = [], []
        owned = zip(state.split(self._sizes, dim=-1), tangent.split(self._sizes, dim=-1), strict=True)
        signal, signal_tangent = input, input_tangent
        for part in self.parts[: len(self.parts) - len(self.readout)]:
            if isinstance(part, System):
                if signal_tangent is None:
                    next_state, pushed = part.push(*_with_input(next(owned), signal))
                else:
                    own_state, own_tangent = next(owned)
                    next_state, pushed = part.push_driven(own_state, signal, own_tangent, signal_tangent)
                states.append(next_state)
                tangents.append(pushed)
                signal, signal_tangent = part.output(next_state), part.output(pushed)
            else:
                if signal_tangent is not None:
                    assert isinstance(part, SignalMap)  # tokens are not perturbed
                    signal_tangent = part.push(signal, signal_tangent)
                signal = part(signal)
        return torch.cat(states, dim=-1), torch.cat(tangents, dim=-1)

    def push_along(self, state: Tensor, inputs: Input, tangent: Tensor, n_steps: int) -> tuple[Tensor, Tensor]:
        """Return state and tangent vectors after several steps; what comes before the first part, all at once."""
        if len(self._systems) > 1:
            return super().push_along(state, inputs, tangent, n_steps)
        (only,) = self._systems
        signals = inputs.flatten(0, 1)
        for part in self.parts[: self.parts.index(only)]:
            assert not isinstance(part, System)
            signals = part(signals)
        return only.push_along(state, signals.unflatten(0, inputs.shape[:2]), tangent, n_steps)

    def push_in_stages(
        self, state: Tensor, input: Input, tangent: Tensor, renew: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the next state and the tangent vectors, renewed between the factors of every part."""
        return push_through_stages(self.stages(state, input), tangent, renew)

    def stages(self, state: Tensor, input: Input) -> tuple[Tensor, list[Stage]]:
        """Return the next state and the factors of all parts, from the input upwards."""
        states: list[Tensor] = []
        stages: list[Stage] = []
        between: list[tuple[SignalMap | Embedding, Tensor]] = []
        owned = iter(state.split(self._sizes, dim=-1))
        signal = input
        for part in self.parts[: len(self.parts) - len(self.readout)]:
            if not isinstance(part, System):
                between.append((part, signal))
                signal = part(signal)
                continue
            next_state, factors = part.stages(next(owned), signal)
            stages += [partial(self._stage, len(states), between, factor) for factor in factors]
            states.append(next_state)
            signal, between = part.output(next_state), []
        return torch.cat(states, dim=-1), stages

    def _stage(
        self,
        index: int,
        between: list[tuple[SignalMap | Embedding, Tensor]],
        factor: Stage,
        input_tangent: Tensor | None,
        tangent: Tensor,
    ) -> Tensor:
        """Return tangent vectors after one factor of the part `index`; those of the parts before it are done."""
        tangents = list(tangent.split(self._sizes, dim=-1))
        below = self._systems[index - 1].output(tangents[index - 1]) if index else input_tangent
        if below is not None:
            for part, signal in between:
                assert isinstance(part, SignalMap)  # tokens are not perturbed
                below = part.push(signal, below)
        tangents[index] = factor(below, tangents[index])
        return torch.cat(tangents, dim=-1)

    def outputs(self, state: Tensor) -> list[Tensor]:
        """Return the recurrent parts' outputs, from the input upwards."""
        owned = state.split(self._sizes, dim=-1)
        return [part.output(own) for part, own in zip(self._systems, owned, strict=True)]

    def output(self, state: Tensor) -> Tensor:
        """Return the last recurrent part's output."""
        return self.outputs(state)[-1]

    def read(self, state: Tensor) -> Tensor:
        """Return what the functions behind the last recurrent part make of states (B, N)."""
        signal = self.output(state)
        for part in self.readout:
            signal = part(signal)
        return signal

    def initial_state(self, n_trajectories: int, generator: torch.Generator) -> Tensor:
        """Return the parts' initial states."""
        return torch.cat([part.initial_state(n_trajectories, generator) for part in self._systems], dim=-1)

    def converted(self, dtype: torch.dtype, device: torch.device) -> Composition:
        """Return this composition in `dtype` on `device`."""
        other = copy.copy(self)
        other.parts = [part.converted(dtype, device) for part in self.parts]
        return other

    @property
    def device(self) -> torch.device:
        """Where the first recurrent part is."""
        return self._systems[0].device

    @property
    def description(self) -> dict[str, str]:
        """Parts, sizes and the source of the weights."""
        sources = [part.description for part in self._systems]
        return {**{k: v for source in sources for k, v in source.items()}, "system": str(self), **self.source}

    def __str__(self) -> str:
        return f"{' → '.join(str(part) for part in self.parts)} (state size {self.state_size})"


def _with_input(state_and_tangent: tuple[Tensor, Tensor], input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    state, tangent = state_and_tangent
    return state, input, tangent


def _built(part: Part | nn.Module) -> list[Part]:
    """Return what a system or module is in a composition."""
    if isinstance(part, RecurrentNetwork):
        return [from_module(part.recurrent), *_built(part.readout)]
    if isinstance(part, Composition):
        return part.parts
    if isinstance(part, Part):
        return [part]
    if not isinstance(part, nn.Module):
        raise TypeError(f"a part of a composition is a System or an nn.Module, got {type(part).__name__}")
    if isinstance(part, nn.Embedding):
        return [Embedding.of(part)]
    if is_plain_sequence(part):
        return [built for child in part for built in _built(child)]
    recurrent = recurrent_modules(part)
    if "" in recurrent:
        return [from_module(part)]
    if recurrent:  # what it does in front of them and behind them is what the next part gets
        from lyapkit.models.rows import whole_of  # which makes compositions

        return whole_of(part, list(recurrent)).parts
    return [SignalMap(part)]


def _input_size(first: Part, parts: Sequence[Part]) -> int:
    """Return how many features the first part takes."""
    if isinstance(first, System):
        assert first.input_size is not None
        return first.input_size
    for part in parts:
        if isinstance(part, System):
            assert part.input_size is not None
            return part.input_size  # what is before it is elementwise
        for module in part.module.modules() if isinstance(part, SignalMap) else ():
            if isinstance(module, nn.Linear):
                return module.in_features
            if isinstance(module, nn.LayerNorm):
                return module.normalized_shape[-1]
    raise ValueError("how many features the first part takes is not known")
