"""Any network along input sequences, with its derivatives by automatic differentiation.

Everything is reverse mode, applied once, twice or three times: nested forward mode is wrong, without a word, for
triangular solves, layer normalisation and orthogonal parametrisations (PyTorch 2.13). A derivative along a direction
comes from the gradient with respect to a weight u on every output: the gradient is linear in u, and its slope in u is
the derivative.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from lyapkit.learning.linearization.interface import Linearization
from lyapkit.models.network import Network

ROWS_AT_ONCE = 20_000  # steps times samples that are differentiated in one batch


class ByAutograd(Linearization):
    """A network along the sequences of a micro-batch; see `Linearization`. Graphs are built when they are needed."""

    def __init__(
        self,
        network: Network,
        inputs: Tensor,
        lengths: Tensor | None,
        names: Sequence[str],
        output_gradient: Tensor | None,
    ) -> None:
        super().__init__(network, inputs, lengths, names, output_gradient)
        self._parameters = {name: network.get_parameter(name).detach() for name in self.names}
        self._graph: list[Tensor] | None = None
        self._outputs: Tensor | None = None
        self._slope: Tensor | None = None

    @torch.enable_grad()
    def push(self, tangents: Mapping[str, Tensor]) -> Tensor:
        """Return the tangents of the outputs along tangents of the block."""
        self._tangents = dict(tangents)
        outputs, leaves = self._computed()
        at = torch.zeros_like(outputs) if self.output_gradient is None else self.output_gradient
        weights = at.detach().clone().requires_grad_()
        gradients = torch.autograd.grad(outputs, leaves, weights, create_graph=True, materialize_grads=True)
        parts = [(g * t).sum() for g, t in zip(gradients, self._tangents.values(), strict=True)]
        self._slope = sum(parts[1:], start=parts[0])
        return _gradient(self._slope, [weights])[0]

    @torch.enable_grad()
    def pull(self, of_outputs: Tensor, *, curved: bool = False) -> dict[str, Tensor]:
        """Return Jᵀ `of_outputs`, with `curved` plus its change along the tangents that were pushed."""
        outputs, leaves = self._computed()
        scalar = (outputs * of_outputs).sum()
        if curved:
            assert self._slope is not None
            scalar = scalar + self._slope
        products = _gradient(scalar, leaves)
        self._outputs = self._slope = None
        return {name: product.detach() for name, product in zip(self.names, products, strict=True)}

    def jacobians(self) -> Tensor:
        """Return the Jacobians of each sample's outputs, (B, outputs, P)."""
        n_samples = len(self.inputs)
        ends = torch.zeros(n_samples) if self.lengths is None else self.lengths

        def outputs(parameters: dict[str, Tensor], sequence: Tensor, end: Tensor) -> Tensor:
            given = (sequence[None], None if self.lengths is None else end[None])
            return functional_call(_Outputs(self.network), _prefixed(parameters), given)[0].flatten()

        try:
            jacobians = torch.vmap(jacrev(outputs), in_dims=(None, 0, 0))(self._parameters, self.inputs, ends)
        except RuntimeError:  # what cannot be done for all samples at once
            each = [jacrev(outputs)(self._parameters, *given) for given in zip(self.inputs, ends, strict=True)]
            jacobians = {name: torch.stack([one[name] for one in each]) for name in self.names}
        return torch.cat([jacobians[name].flatten(2) for name in self.names], dim=2).detach()

    @property
    def states(self) -> Tensor:
        """h_1 … h_T, (T, B, N)."""
        return torch.stack([state.detach() for state in self._unrolled()])

    @torch.enable_grad()
    def seeds(self, of_outputs: Tensor) -> Tensor:
        """Return what a gradient of the outputs is for the states, (T, B, N)."""
        states = self.states.requires_grad_()
        return _gradient((self._read(states) * of_outputs).sum(), [states])[0]

    @torch.enable_grad()
    def seed_changes(self) -> Tensor:
        """Return how the `seeds` of ∂L/∂o change with the states along the tangents."""
        states = self.states.requires_grad_()
        assert self.output_gradient is not None
        weighted = (self._read(states) * self.output_gradient).sum()
        (gradient,) = torch.autograd.grad(weighted, states, create_graph=True)
        return _gradient((gradient * self._moved()).sum(), [states])[0]

    @torch.enable_grad()
    def back(self, seeds: Tensor) -> Tensor:
        """Return the gradients of all states, (T, B, N)."""
        states = self._unrolled()
        return torch.stack(torch.autograd.grad(states, states, list(seeds), retain_graph=True))

    def immediate(self, tangents: Mapping[str, Tensor]) -> Tensor:
        """Return the derivative of each step along tangents of the block, its state being kept."""
        return self._along_steps(tangents, None, order=1)

    def bent(self) -> Tensor:
        """Return the second derivative of each step along the tangents that were pushed, and what they move."""
        return self._along_steps(self._tangents, self._previous(self._moved()), order=2)

    def _moved(self) -> Tensor:
        """Return p_t = Dh_t v for the tangents that were pushed."""

        def states(size: Tensor) -> Tensor:
            moved = _prefixed(self._at(self._tangents, size))
            return torch.stack(functional_call(_States(self.network), moved, (self.inputs,)))

        return _derivative(states, 1, self.inputs)

    def _along_steps(self, tangents: Mapping[str, Tensor], moved: Tensor | None, order: int) -> Tensor:
        """Return derivatives of all steps along tangents of the block and of the states before, as few batches."""
        states = self.states
        before = torch.cat([self.network.start(self.inputs).detach()[None], states[:-1]])
        given = [before, self.inputs.transpose(0, 1)] + ([] if moved is None else [moved])
        at_once = max(1, ROWS_AT_ONCE // states.shape[1])
        pieces = []
        for piece in zip(*(part.split(at_once) for part in given), strict=True):
            state, input, *direction = (part.flatten(0, 1) for part in piece)

            def step(
                size: Tensor, state: Tensor = state, input: Tensor = input, along: list[Any] = direction
            ) -> Tensor:
                start = state + size * along[0] if along else state
                return functional_call(_Step(self.network), _prefixed(self._at(tangents, size)), (start, input))

            pieces.append(_derivative(step, order, self.inputs))
        return torch.cat(pieces).view_as(states)

    def _at(self, tangents: Mapping[str, Tensor], size: Tensor) -> dict[str, Tensor]:
        return {name: self._parameters[name] + size * tangents[name] for name in self.names}

    def _computed(self) -> tuple[Tensor, list[Tensor]]:
        """Return the outputs, with a graph, and the leaves of it; kept until `pull`."""
        if self._outputs is None:
            leaves = {name: value.clone().requires_grad_() for name, value in self._parameters.items()}
            given = self.inputs, self.lengths
            self._outputs = functional_call(_Outputs(self.network), _prefixed(leaves), given)
            self._leaves = list(leaves.values())
        return self._outputs, self._leaves

    def _unrolled(self) -> list[Tensor]:
        """Return h_1 … h_T with a graph, whatever the block is."""
        if self._graph is None:
            leaves = {n: p.detach().clone().requires_grad_() for n, p in self.network.named_parameters()}
            with torch.enable_grad():
                self._graph = functional_call(_States(self.network), _prefixed(leaves), (self.inputs,))
        return self._graph

    def _read(self, states: Tensor) -> Tensor:
        """Return the outputs that are read from states (T, B, N)."""
        read = self._read_states(states)
        if self.network.every_step:
            return torch.stack([self.network.read(state) for state in read], dim=1)
        return self.network.read(read)


def _gradient(scalar: Tensor, leaves: list[Tensor]) -> tuple[Tensor, ...]:
    """Return the gradient of a scalar; zeros where it does not depend on a leaf."""
    if not scalar.requires_grad:
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    return torch.autograd.grad(scalar, leaves, retain_graph=True, materialize_grads=True)


@torch.enable_grad()
def _derivative(function: Callable[[Tensor], Tensor], order: int, like: Tensor) -> Tensor:
    """Return the derivative of a function of one number at 0, of the first or second order."""
    size = torch.zeros((), dtype=like.dtype, device=like.device, requires_grad=True)
    values = function(size)
    weights = torch.ones_like(values).requires_grad_()
    slope = (weights * values).sum()
    for _ in range(order):
        (slope,) = torch.autograd.grad(slope, size, create_graph=True, materialize_grads=True)
        if not slope.requires_grad:
            return torch.zeros_like(values).detach()
    return _gradient(slope, [weights])[0].detach()


def _prefixed(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"network.{name}": value for name, value in parameters.items()}


class _OfNetwork(nn.Module):
    """Something of a network, as a function of its parameters."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network


class _Outputs(_OfNetwork):
    """The outputs of a network, as a function of its parameters."""

    def forward(self, inputs: Tensor, lengths: Tensor | None) -> Tensor:
        if lengths is None:
            return self.network(inputs)
        return Network.forward(self.network, inputs, lengths)


class _States(_OfNetwork):
    """All states of a network, as a function of its parameters."""

    def forward(self, inputs: Tensor) -> list[Tensor]:
        return list(self.network.states(inputs))


class _Step(_OfNetwork):
    """One step of a network, as a function of its parameters."""

    def forward(self, state: Tensor, input: Tensor) -> Tensor:
        return self.network.step(state, input)
