"""`Ensemble`: several networks that differ in their tensors only, computed and differentiated together."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from lyapkit.models.network import Network
from lyapkit.models.wcrnn import WCRNN
from lyapkit.training.backpropagation import Dynamics, Workspace, last_states
from lyapkit.training.likeness import difference, is_by_hand

WORKSPACE_ON_CPU = 2**28  # bytes of states from which on networks take turns: more only leaves the caches sooner
WORKSPACE_ON_GPU = 2**35
N_PROBED = 2, 4  # samples and steps on which an ensemble is compared with its networks
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3}  # relative to the largest output

Losses = Callable[[Tensor, Tensor], Tensor]  # of outputs (E, B, …, O) and targets: (E,)


class Ensemble:
    """E networks that differ in the values of their tensors only.

    Weakly coupled networks go through `backpropagation`, others through automatic differentiation, several of them at
    once through `torch.vmap`; one by one if they draw random numbers, as dropout does. Nothing that happens in one
    network reaches another. Frozen parameters stay as they are, tied ones are one parameter.

    Parameters
    ----------
    networks : sequence of Network
        They are copied. Residuals and couplings may differ, kinds and sizes may not.
    dtype, device : optional
        What to compute in, and where. Default: those of the first network.
    has_lengths : bool
        Whether lengths of sequences will be given with their inputs.

    Attributes
    ----------
    parameters : dict
        Name to tensor (E, …), of those that are trained: the ones that require gradients.
    is_random : bool
        Whether the networks, in the modes they were given in, draw random numbers; known after `check`.

    Raises
    ------
    ValueError
        If there are no networks, they differ in anything but tensors, have nothing to train, or are in a mode in which
        they cannot be trained together.
    """

    def __init__(
        self,
        networks: Sequence[Network],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        *,
        has_lengths: bool = False,
    ) -> None:
        if not networks:
            raise ValueError("an ensemble needs at least one network")
        first = networks[0]
        for network in networks[1:]:
            if word := difference(first, network, has_lengths=has_lengths):
                raise ValueError(
                    "the networks of an ensemble must be of one architecture and size, they may differ in weights, "
                    f"residual and coupling only: {word}"
                )
        _check_modes(first)
        self.dtype = dtype or next(first.parameters()).dtype
        self.device = first.device if device is None else torch.device(device)
        trained = [name for name, parameter in first.named_parameters() if parameter.requires_grad]
        if not trained:
            raise ValueError("there is nothing to train: all parameters are frozen, requires_grad is False")
        self._requires_grad = {name: parameter.requires_grad for name, parameter in first.named_parameters()}
        self._networks = [network.converted(self.dtype, self.device).requires_grad_(False) for network in networks]
        named = [dict(network.named_parameters()) for network in self._networks]
        self.parameters = {name: torch.stack([own[name] for own in named]).requires_grad_() for name in trained}
        frozen = [name for name in named[0] if name not in self.parameters]
        self._fixed = {name: torch.stack([own[name] for own in named]) for name in frozen}
        self._workspace = Workspace()
        by_hand = [network for network in self._networks if isinstance(network, WCRNN)]
        self._dynamics = _dynamics(by_hand) if is_by_hand(first) and not has_lengths else None
        self.is_random = False
        if self._dynamics is None:
            buffers = [dict(network.named_buffers()) for network in self._networks]
            self._fixed |= {name: torch.stack([own[name] for own in buffers]) for name in buffers[0]}
        self._evaluated = copy.deepcopy(self._networks[0]).eval()

    def __len__(self) -> int:
        return len(self._networks)

    @property
    def input_size(self) -> int:
        """I, the number of input features."""
        return self._networks[0].input_size

    @property
    def description(self) -> str:
        """The first network in words."""
        return str(self._networks[0])

    def network(self, index: int) -> Network:
        """Return a copy of one of the networks as it is now."""
        network = copy.deepcopy(self._networks[index])
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name in self.parameters:
                    parameter.copy_(self.parameters[name][index])
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(self._requires_grad[name])
        return network

    def outputs(self, inputs: Tensor, members: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Return the outputs (E', B, …, O) of some networks, or of all, in eval mode and without a graph.

        Parameters
        ----------
        inputs : Tensor
            (B, T, I), the same for all networks.
        members : Tensor, optional
            (E',), indices of networks.
        lengths : Tensor, optional
            (B,), steps that count, as for `Network`.
        """
        with torch.no_grad():
            turns = self._turns(members, inputs, keeps=False)
            arguments = inputs, lengths, self._evaluated
            return torch.cat([self._outputs(self._of(self.parameters, turn), turn, *arguments) for turn in turns])

    def losses_and_gradients(
        self,
        inputs: Tensor,
        targets: Tensor,
        losses: Losses,
        members: Tensor | None = None,
        lengths: Tensor | None = None,
        noise: int = 0,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the losses (E',) of some networks, or of all, and their gradients, by parameter, (E', …).

        Parameters
        ----------
        inputs, targets : Tensor
            (B, T, I) and (B, …), the same for all networks.
        losses : callable
            ``losses(outputs, targets)``, (E',), for outputs (E', B, …, O).
        members : Tensor, optional
            (E',), indices of networks.
        lengths : Tensor, optional
            (B,), steps that count.
        noise : int
            Seed of the random numbers that networks draw, the same for each of them.
        """
        found, gradients = [], []
        for turn in self._turns(members, inputs, keeps=True):
            own = {name: value.detach().requires_grad_() for name, value in self._of(self.parameters, turn).items()}
            with self._seeded(noise):
                outputs = self._outputs(own, turn, inputs, lengths, self._networks[0])
            values = losses(outputs, targets)
            if not values.requires_grad:
                raise ValueError("the loss depends on none of the parameters that are trained")
            gradients.append(torch.autograd.grad(values.sum(), tuple(own.values()), materialize_grads=True))
            found.append(values.detach())
        joined = (torch.cat(parts) for parts in zip(*gradients, strict=True))
        return torch.cat(found), dict(zip(self.parameters, joined, strict=True))

    @torch.no_grad()
    def check(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compare the ensemble with each network's own outputs, for other parameters; return outputs of the first.

        Raises
        ------
        ValueError
            If they differ: a network then depends on something that is not among its parameters, buffers and
            attributes; or if a network changes its buffers as it is used.
        """
        n_samples, n_steps = N_PROBED
        inputs = inputs[:n_samples, :n_steps]
        lengths = None if lengths is None else lengths[:n_samples].clamp(max=inputs.shape[1])
        arguments = (inputs,) if lengths is None else (inputs, lengths)
        self._find_what_changes(arguments)
        kept = self.parameters
        self.parameters = {name: 1.01 * value + 1e-3 for name, value in kept.items()}
        try:
            ours = self.outputs(inputs, lengths=lengths)
            for index, outputs in enumerate(ours):
                network = self.network(index).eval()
                theirs = network(*arguments)
                scale = float(theirs.nan_to_num().abs().max()) * TOLERANCE.get(self.dtype, 1e-3)
                if outputs.shape != theirs.shape or not torch.allclose(outputs, theirs, 0, scale, equal_nan=True):
                    raise ValueError(
                        f"{network} computes something else if its parameters are changed from outside: it depends on "
                        "tensors that are neither its parameters nor its buffers, or on what others share with it; "
                        "register all tensors, and use no copies of parameters in its step"
                    )
        finally:
            self.parameters = kept
        return ours[:1]

    def _find_what_changes(self, arguments: tuple[Tensor, ...]) -> None:
        """Find out whether the networks draw random numbers; refuse those that change their buffers."""
        network = copy.deepcopy(self._networks[0])
        buffers = {name: value.clone() for name, value in network.named_buffers()}
        with self._forked():
            before = self._generator_state()
            network(*arguments)
            self.is_random = not torch.equal(before, self._generator_state())
        for name, value in network.named_buffers():
            if not torch.equal(value, buffers[name]):
                raise ValueError(
                    f"the network changes its buffer {name} as it is used, as batch normalisation does in train mode: "
                    "such networks are not trained here; set those modules to eval mode, or use nn.LayerNorm"
                )

    def _generator_state(self) -> Tensor:
        return torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else torch.get_rng_state()

    def _forked(self) -> contextlib.AbstractContextManager[None]:
        return torch.random.fork_rng([self.device] if self.device.type == "cuda" else [])

    @contextlib.contextmanager
    def _seeded(self, noise: int) -> Iterator[None]:
        """Begin random numbers anew within the block, if networks draw any."""
        if not self.is_random:
            yield
            return
        with self._forked():
            torch.manual_seed(noise)
            yield

    @staticmethod
    def _of(tensors: Mapping[str, Tensor], members: Tensor) -> dict[str, Tensor]:
        return {name: tensor[members] for name, tensor in tensors.items()}

    def _turns(self, members: Tensor | None, inputs: Tensor, *, keeps: bool) -> list[Tensor]:
        """Return the networks in parts that fit into the workspace together; one by one if each draws numbers."""
        if members is None:
            members = torch.arange(len(self), device=self.device)
        if self.is_random:
            return list(members.split(1))
        n_steps = inputs.shape[1] if keeps else 2
        states = 2 * len(inputs) * n_steps * self._networks[0].state_size * inputs.element_size()
        limit = WORKSPACE_ON_GPU if self.device.type == "cuda" else WORKSPACE_ON_CPU
        return list(members.split(max(1, limit // states)))

    def _outputs(
        self,
        parameters: dict[str, Tensor],
        members: Tensor,
        inputs: Tensor,
        lengths: Tensor | None,
        network: Network,
    ) -> Tensor:
        """Return outputs for parameters (E', …), of a network in train or in eval mode."""
        tensors = parameters | self._of(self._fixed, members)
        if self._dynamics is None:
            arguments = (inputs,) if lengths is None else (inputs, lengths)

            def one(tensors: dict[str, Tensor]) -> Tensor:
                return torch.func.functional_call(network, tensors, arguments)

            if len(members) == 1:  # takes half the time without `vmap`
                return one({name: value[0] for name, value in tensors.items()})[None]
            return torch.vmap(one)(tensors)
        recurrent = tensors["recurrent.weight"], tensors["input.weight"], tensors["recurrent.bias"]
        states = last_states(recurrent, self._dynamics.of(members), inputs, self._workspace)
        return torch.baddbmm(tensors["readout.bias"][:, None], states, tensors["readout.weight"].mT)


def _check_modes(network: Network) -> None:
    """Refuse dropout between the layers of PyTorch's recurrent modules, which are computed step by step without it."""
    for name, module in network.named_modules():
        if isinstance(module, nn.RNNBase) and module.training and module.dropout > 0 and module.num_layers > 1:
            raise ValueError(
                f"{name} has dropout {module.dropout:g} between its layers, which is not part of what is trained here: "
                "set its dropout to 0, or set the module to eval mode"
            )


def _dynamics(networks: list[WCRNN]) -> Dynamics:
    residuals = [network.residual for network in networks]
    if all(residual.is_diagonal for residual in residuals):
        stacked = torch.stack([residual.values for residual in residuals])
    else:
        stacked = torch.stack([residual.matrix for residual in residuals])
    coupling = torch.stack([network.coupling.expand(network.state_size) for network in networks])
    return Dynamics(networks[0].kind, networks[0].activation, stacked, coupling)
