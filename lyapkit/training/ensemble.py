"""`Ensemble`: several networks of one architecture, computed and differentiated together."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lyapkit.models.network import Network
from lyapkit.models.wcrnn import WCRNN
from lyapkit.training.backpropagation import Dynamics, Workspace, last_states

WORKSPACE_ON_CPU = 2**28  # bytes of states from which on networks take turns: more only leaves the caches sooner
WORKSPACE_ON_GPU = 2**35

Losses = Callable[[Tensor, Tensor], Tensor]  # of outputs (E, B, O) and targets: (E,)


class Ensemble:
    """E networks of one architecture and size, with parameters of their own.

    Weakly coupled networks go through `backpropagation`, others through automatic differentiation, several of them at
    once through `torch.vmap`.
    Nothing that happens in one network reaches another.

    Parameters
    ----------
    networks : sequence of Network
        They are copied. Residuals and couplings may differ, kinds and sizes may not.
    dtype, device : optional
        What to compute in, and where. Default: those of the first network.

    Attributes
    ----------
    parameters : dict
        Name to tensor (E, …).

    Raises
    ------
    ValueError
        If there are no networks, or they are not of one architecture and size.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        if not networks:
            raise ValueError("an ensemble needs at least one network")
        first = networks[0]
        for network in networks:
            if _architecture(network) != _architecture(first):
                raise ValueError(
                    "the networks of an ensemble must be of one architecture and size, they may differ in weights, "
                    f"residual and coupling only: got {first} and {network}"
                )
        self.dtype = dtype or next(first.parameters()).dtype
        self.device = first.device if device is None else torch.device(device)
        self._networks = [network.converted(self.dtype, self.device).requires_grad_(False) for network in networks]
        named = [dict(network.named_parameters()) for network in self._networks]
        self.parameters = {name: torch.stack([own[name] for own in named]).requires_grad_() for name in named[0]}
        self._workspace = Workspace()
        self._dynamics = _dynamics(self._networks) if isinstance(first, WCRNN) else None
        if self._dynamics is None:
            buffers = [dict(network.named_buffers()) for network in self._networks]
            self._buffers = {name: torch.stack([own[name] for own in buffers]) for name in buffers[0]}

    def __len__(self) -> int:
        return len(self._networks)

    def network(self, index: int) -> Network:
        """Return a copy of one of the networks as it is now."""
        network = copy.deepcopy(self._networks[index])
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(self.parameters[name][index])
        return network.requires_grad_()

    def outputs(self, inputs: Tensor, members: Tensor | None = None) -> Tensor:
        """Return the outputs (E', B, O) of some networks, or of all, for the same inputs (B, T, I), without a graph.

        Parameters
        ----------
        inputs : Tensor
            (B, T, I).
        members : Tensor, optional
            (E',), indices of networks.
        """
        with torch.no_grad():
            turns = self._turns(members, inputs, keeps=False)
            return torch.cat([self._outputs(self._of(turn), turn, inputs) for turn in turns])

    def losses_and_gradients(
        self, inputs: Tensor, targets: Tensor, losses: Losses, members: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the losses (E',) of some networks, or of all, and their gradients, by parameter, (E', …).

        Parameters
        ----------
        inputs, targets : Tensor
            (B, T, I) and (B, …), the same for all networks.
        losses : callable
            ``losses(outputs, targets)``, (E',), for outputs (E', B, O).
        members : Tensor, optional
            (E',), indices of networks.
        """
        found, gradients = [], []
        for turn in self._turns(members, inputs, keeps=True):
            own = {name: parameter.detach().requires_grad_() for name, parameter in self._of(turn).items()}
            values = losses(self._outputs(own, turn, inputs), targets)
            gradients.append(torch.autograd.grad(values.sum(), tuple(own.values())))
            found.append(values.detach())
        joined = (torch.cat(parts) for parts in zip(*gradients, strict=True))
        return torch.cat(found), dict(zip(self.parameters, joined, strict=True))

    def _of(self, members: Tensor) -> dict[str, Tensor]:
        return {name: parameter[members] for name, parameter in self.parameters.items()}

    def _turns(self, members: Tensor | None, inputs: Tensor, *, keeps: bool) -> list[Tensor]:
        """Return the networks in parts that fit into the workspace together."""
        if members is None:
            members = torch.arange(len(self), device=self.device)
        n_steps = inputs.shape[1] if keeps else 2
        states = 2 * len(inputs) * n_steps * self._networks[0].state_size * inputs.element_size()
        limit = WORKSPACE_ON_GPU if self.device.type == "cuda" else WORKSPACE_ON_CPU
        return list(members.split(max(1, limit // states)))

    def _outputs(self, parameters: dict[str, Tensor], members: Tensor, inputs: Tensor) -> Tensor:
        if self._dynamics is None:
            buffers = {name: buffer[members] for name, buffer in self._buffers.items()}
            if len(members) == 1:  # takes half the time without `vmap`
                only = ({name: value[0] for name, value in given.items()} for given in (parameters, buffers))
                return self._one(*only, inputs)[None]
            return torch.vmap(self._one, in_dims=(0, 0, None))(parameters, buffers, inputs)
        recurrent = (parameters[name] for name in ("recurrent.weight", "input.weight", "recurrent.bias"))
        states = last_states(tuple(recurrent), self._dynamics.of(members), inputs, self._workspace)
        return torch.baddbmm(parameters["readout.bias"][:, None], states, parameters["readout.weight"].mT)

    def _one(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor) -> Tensor:
        return torch.func.functional_call(self._networks[0], (parameters, buffers), (inputs,))


def _architecture(network: Network) -> tuple:
    """Return what the networks of an ensemble have in common."""
    shapes = tuple((name, tuple(parameter.shape)) for name, parameter in network.named_parameters())
    kind = (network.kind, network.activation) if isinstance(network, WCRNN) else ()
    return type(network), kind, shapes


def _dynamics(networks: list[WCRNN]) -> Dynamics:
    residuals = [network.residual for network in networks]
    if all(residual.is_diagonal for residual in residuals):
        stacked = torch.stack([residual.values for residual in residuals])
    else:
        stacked = torch.stack([residual.matrix for residual in residuals])
    coupling = torch.stack([network.coupling.expand(network.state_size) for network in networks])
    return Dynamics(networks[0].kind, networks[0].activation, stacked, coupling)
