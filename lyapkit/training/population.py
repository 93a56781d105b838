"""`Population`: all networks of a run, in ensembles of those that are alike, each with its descent."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from lyapkit.models.network import Network
from lyapkit.training.descent import Descent, GraphedStep
from lyapkit.training.ensemble import Ensemble, Losses
from lyapkit.training.likeness import difference

COUNTERS = ("iteration", "diverged_at", "loss_sum")


class Population:
    """E networks that train side by side, none of which notices the others.

    Those that differ in the values of their tensors only form an ensemble; ensembles take turns.

    Parameters
    ----------
    networks : sequence of Network
        They are copied.
    losses, momentum, clip_norm, weight_decay
        As for `Descent`.
    learning_rate : Tensor
        (E,).
    dtype, device, has_lengths
        As for `Ensemble`.
    captures : bool
        On a CUDA device, capture steps in a graph; not with losses that may look at values, which a graph cannot.

    Attributes
    ----------
    state : dict
        All that a run needs to go on, by name, as that of one `Descent`; with the number of the ensemble in front of
        the names of parameters and velocities, if there are several.

    Warns
    -----
    UserWarning
        If there are several ensembles: in what the networks differ.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        losses: Losses,
        learning_rate: Tensor,
        momentum: float = 0.9,
        clip_norm: float | None = None,
        weight_decay: float = 0.0,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        has_lengths: bool = False,
        captures: bool = True,
    ) -> None:
        groups, word = _alike(networks, has_lengths)
        if len(groups) > 1:
            warnings.warn(
                f"the networks differ in more than the values of their tensors ({word}): they are trained as "
                f"{len(groups)} ensembles, one after the other",
                stacklevel=4,
            )
        self.groups = [torch.tensor(group) for group in groups]
        self.descents = []
        for group in groups:
            ensemble = Ensemble([networks[index] for index in group], dtype, device, has_lengths=has_lengths)
            self.descents.append(
                Descent(ensemble, losses, learning_rate[group], momentum, clip_norm, weight_decay=weight_decay)
            )
        self._places = {
            index: (number, place) for number, group in enumerate(groups) for place, index in enumerate(group)
        }
        self._captures = captures and self.device.type == "cuda"
        self._graphs: list[tuple[Tensor, GraphedStep] | None] = [None] * len(groups)
        self.iteration = 0

    def __len__(self) -> int:
        return len(self._places)

    @property
    def ensembles(self) -> list[Ensemble]:
        """Networks that are alike."""
        return [descent.ensemble for descent in self.descents]

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.descents[0].ensemble.device

    @property
    def dtype(self) -> torch.dtype:
        """What they are computed in."""
        return self.descents[0].ensemble.dtype

    @property
    def state(self) -> dict[str, Tensor]:
        """Parameters, velocities and counters, by name."""
        if len(self.descents) == 1:
            return self.descents[0].state
        state = {
            name.replace(".", f".{number}.", 1): value
            for number, descent in enumerate(self.descents)
            for name, value in descent.state.items()
            if name not in COUNTERS
        }
        joined = {name: self._joined(name) for name in COUNTERS if name != "iteration"}
        return state | joined | {"iteration": self.descents[0].iteration}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Set everything to what `state` was."""
        for number, (group, descent) in enumerate(zip(self.groups, self.descents, strict=True)):
            own = {}
            for name in descent.state:
                if name == "iteration" or len(self.descents) == 1:
                    own[name] = state[name]
                elif name in COUNTERS:
                    own[name] = state[name][group]
                else:
                    own[name] = state[name.replace(".", f".{number}.", 1)]
            descent.restore(own)
        self.iteration = int(state["iteration"])

    @property
    def diverged_at(self) -> Tensor:
        """The iteration at which each network diverged, 0 if it did not, (E,), on the CPU."""
        return self._joined("diverged_at")

    def take_losses(self) -> Tensor:
        """Return the sum of each network's losses since this was called last, (E,), on the CPU."""
        losses = self._joined("loss_sum")
        for descent in self.descents:
            descent.loss_sum.zero_()
        return losses

    def network(self, index: int) -> Network:
        """Return a copy of one of the networks as it is now."""
        number, place = self._places[index]
        return self.ensembles[number].network(place)

    def outputs(self, inputs: Tensor, members: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the outputs (E', B, …, O) of some of the networks, (E',) in ascending order."""
        found: dict[int, Tensor] = {}
        for group, ensemble in zip(self.groups, self.ensembles, strict=True):
            places = torch.isin(group, members).nonzero()[:, 0]
            if len(places):
                outputs = ensemble.outputs(inputs, places.to(self.device), lengths)
                found |= dict(zip(group[places].tolist(), outputs, strict=True))
        return torch.stack([found[index] for index in members.tolist()])

    def step(
        self, inputs: Tensor, targets: Tensor, members: Tensor, lengths: Tensor | None = None, noise: int = 0
    ) -> None:
        """Move some of the networks one step along the gradients of a batch, see `Descent.step`."""
        for number, (group, descent) in enumerate(zip(self.groups, self.descents, strict=True)):
            places = torch.isin(group, members).nonzero()[:, 0].to(self.device)
            descent.iteration.fill_(self.iteration)
            if not len(places):
                continue
            if self._captures and lengths is None and not descent.ensemble.is_random:
                self._graphed(number, inputs, targets, places)(inputs, targets)
            else:
                descent.step(inputs, targets, places, lengths, noise)
        self.iteration += 1
        for descent in self.descents:
            descent.iteration.fill_(self.iteration)

    def _graphed(self, number: int, inputs: Tensor, targets: Tensor, places: Tensor) -> GraphedStep:
        kept = self._graphs[number]
        if kept is None or not torch.equal(kept[0], places):
            kept = self._graphs[number] = places, GraphedStep(self.descents[number], inputs, targets, places)
        return kept[1]

    def _joined(self, name: str) -> Tensor:
        """Return a counter of all networks, (E,), on the CPU."""
        counters = [getattr(descent, name).cpu() for descent in self.descents]
        joined = torch.empty(len(self), dtype=counters[0].dtype)
        for group, counter in zip(self.groups, counters, strict=True):
            joined[group] = counter
        return joined


def _alike(networks: Sequence[Network], has_lengths: bool) -> tuple[list[list[int]], str]:
    """Return the indices of networks that differ in tensors only, together, and the first other difference in words."""
    groups: list[list[int]] = []
    first_word = ""
    for index, network in enumerate(networks):
        for group in groups:
            word = difference(networks[group[0]], network, has_lengths=has_lengths)
            if not word:
                group.append(index)
                break
            first_word = first_word or word
        else:
            groups.append([index])
    return groups, first_word
