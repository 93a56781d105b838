"""`Linearization`: what is asked of a network's derivatives, however they are computed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lyapkit.models.network import Network


class Linearization(ABC):
    """A network along the sequences of a micro-batch, with its derivatives of first and second order.

    B samples of T steps; arrays over steps are (T, B, N), time first. Outputs are (B, O), or (B, T, O) if the network
    reads every state. A block of parameters, P numbers, is a mapping of names to tensors.

    Parameters
    ----------
    network : Network
        In eval mode, without gradients.
    inputs : Tensor
        (B, T, I).
    lengths : Tensor or None
        (B,): how many steps of each sequence count.
    names : sequence of str
        The block of parameters.
    output_gradient : Tensor or None
        ∂L/∂o, of the shape of the outputs: at which second derivatives are taken.
    """

    if TYPE_CHECKING:  # an attribute or a property

        @property
        def states(self) -> Tensor:
            """h_1 … h_T, (T, B, N)."""

    def __init__(
        self,
        network: Network,
        inputs: Tensor,
        lengths: Tensor | None,
        names: Sequence[str],
        output_gradient: Tensor | None,
    ) -> None:
        self.network, self.inputs, self.lengths = network, inputs, lengths
        self.names, self.output_gradient = list(names), output_gradient

    @abstractmethod
    def push(self, tangents: Mapping[str, Tensor]) -> Tensor:
        """Return the tangents of the outputs along tangents of the block; they are kept for `pull` and `layers`."""

    @abstractmethod
    def pull(self, of_outputs: Tensor, *, curved: bool = False) -> dict[str, Tensor]:
        """Return Jᵀ `of_outputs`, what a gradient of the outputs is for the block.

        With `curved`, plus the derivative of Jᵀ ∂L/∂o along the tangents that were pushed last: for
        `of_outputs` = ∂²L/∂o² J v, a product of the Hessian with v.
        """

    @abstractmethod
    def jacobians(self) -> Tensor:
        """Return the Jacobians of each sample's outputs with respect to the block, (B, outputs, P)."""

    @abstractmethod
    def seeds(self, of_outputs: Tensor) -> Tensor:
        """Return what a gradient of the outputs is for the states that they are read from, (T, B, N)."""

    @abstractmethod
    def seed_changes(self) -> Tensor | None:
        """Return how the `seeds` of ∂L/∂o change with the states along the tangents; None for affine readouts."""

    @abstractmethod
    def back(self, seeds: Tensor) -> Tensor:
        """Return the gradients of all states, a_{t−1} = a_t J_t + seed, of gradients of what is read from them."""

    @abstractmethod
    def immediate(self, tangents: Mapping[str, Tensor]) -> Tensor:
        """Return ∂_w h_t v: the derivative of each step along tangents of the block, its state being kept."""

    @abstractmethod
    def bent(self) -> Tensor:
        """Return the second derivative of each step along the tangents pushed last, v, and p_{t−1} = Dh_{t−1} v."""

    def _previous(self, states: Tensor) -> Tensor:
        """Return h_0 … h_{T−1}, or their tangents."""
        return torch.cat([torch.zeros_like(states[:1]), states[:-1]])

    def _read_states(self, states: Tensor) -> Tensor:
        """Return the states that outputs are read from, of (T, B, N): all, or each sample's at its end, (B, N)."""
        if self.network.every_step:
            return states
        if self.lengths is None:
            return states[-1]
        return states[self.lengths - 1, torch.arange(states.shape[1], device=states.device)]

    def _is_read(self) -> Tensor:
        """Return which states are read from, (T, B)."""
        n_steps, n_samples = self.states.shape[:2]
        ends = torch.full((n_samples,), n_steps) if self.lengths is None else self.lengths
        time = torch.arange(1, n_steps + 1, device=self.states.device)[:, None]
        if self.network.every_step:
            return time <= torch.full_like(time, n_steps).expand(n_steps, n_samples)
        return time == ends.to(self.states.device)
