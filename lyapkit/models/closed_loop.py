"""`closed_loop`: a network whose readout is its own next input, as an autonomous system.

With x_t = g(read(h_{t−1})), h_t = F(h_{t−1}, x_t), the Jacobian is ∂F/∂h + ∂F/∂x · ∂x/∂h: perturbations also travel
through readout and input. The state is the network's; the readout has none.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lyapkit.models.compositions import Composition
from lyapkit.models.modules import from_module, recurrent_modules
from lyapkit.models.network import Network, RecurrentNetwork
from lyapkit.models.pytorch_modules import is_plain_sequence
from lyapkit.models.recurrent import Recurrent
from lyapkit.models.rows import whole_of
from lyapkit.models.signals import SignalMap
from lyapkit.systems import System
from lyapkit.systems.system import Stage, push_through_stages


def closed_loop(network: System | nn.Module, feedback: nn.Module | Callable[[Tensor], Tensor] | None = None) -> System:
    """Return a network that feeds its output back as its next input: an autonomous system.

    Start it where it was driven to, by ``initial_state=`` of `lyapunov_spectrum`, or at zero, the default.

    Parameters
    ----------
    network : System or nn.Module
        A `Network` (its `read` is the output), a `Composition`, a recurrent module, or a module of recurrent and other
        ones in a row: an `nn.Sequential`, or one whose forward, run on random inputs, proves to run them so. Without
        functions behind the last recurrent part the output is its hidden state.
    feedback : nn.Module or callable, optional
        From outputs (B, O) to inputs (B, I), made of differentiable torch functions. Default: the output is the input.

    Returns
    -------
    System
        It has no inputs: give `lyapunov_spectrum` the number of steps.

    Raises
    ------
    ValueError
        If outputs have not the size of inputs, inputs are tokens, the feedback cannot be differentiated (argmax,
        rounding, sampling), or it cannot be verified what a module makes of its inputs.

    Examples
    --------
    >>> import lyapkit as lk
    >>> from torch import nn
    >>> loop = lk.closed_loop(nn.Sequential(nn.GRU(1, 8), nn.Linear(8, 1)))
    >>> loop.input_size is None, loop.state_size
    (True, 8)
    """
    if not isinstance(network, System):
        network = _whole(network)
    if isinstance(network, Recurrent | RecurrentNetwork):
        network = Composition([network], network.source)
    if network.input_size is None:
        raise ValueError(f"{network} is autonomous: it has no input to close a loop by")
    if network.n_tokens is not None:
        raise ValueError(
            f"the inputs of {network} are tokens: choosing the next one from its scores, the largest or a random one, "
            "is not differentiable, so the closed loop has no Lyapunov exponents; feed it a sequence of tokens"
        )
    return ClosedLoop(network, [] if feedback is None else [SignalMap(_as_module(feedback))])


def _whole(module: nn.Module) -> System:
    """Return a module with what it does in front of its recurrent modules and behind them."""
    found = recurrent_modules(module)
    if is_plain_sequence(module) or not found or "" in found:
        return from_module(module)
    return whole_of(module, list(found))


class ClosedLoop(System):
    """A network and what takes its state to its next input.

    Parameters
    ----------
    network : Network or Composition
        Driven by numbers.
    feedback : list of SignalMap
        Functions of the network's readout, one after the other.
    """

    input_size = None

    def __init__(self, network: System, feedback: list[SignalMap]) -> None:
        self.network = network
        if isinstance(network, Composition):
            readout = network.readout
        elif isinstance(network, Network):
            readout = [SignalMap(_Read(network))]
        else:
            raise ValueError(f"{network} has no readout: give a Network, or a Composition with layers behind it")
        self._maps = [*readout, *feedback]
        self.state_size = network.state_size
        size = network.output(torch.zeros(1, network.state_size)).shape[-1]
        for part in self._maps:
            size = part.check(size)
        if size != network.input_size:
            raise ValueError(
                f"the loop does not close: {size} outputs are fed back to {network.input_size} inputs of {network}; "
                "give feedback=, a function from outputs to inputs"
            )

    @property
    def treats_trajectories_alike(self) -> bool:
        """Whether the network does."""
        return self.network.treats_trajectories_alike

    def next_input(self, state: Tensor) -> Tensor:
        """Return what states (B, N) feed back, (B, I)."""
        signal = self.network.output(state)
        for part in self._maps:
            signal = part(signal)
        return signal

    def step(self, state: Tensor, input: None) -> Tensor:
        """Return the next state."""
        return self.network.step(state, self.next_input(state))

    def push(self, state: Tensor, input: None, tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next state and the tangent vectors, sent both through the state and through the input."""
        signal, signal_tangent = self._pushed_input(state, tangent)
        return self.network.push_driven(state, signal, tangent, signal_tangent)

    def push_in_stages(
        self, state: Tensor, input: None, tangent: Tensor, renew: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the next state and the tangent vectors, renewed between the network's factors."""
        return push_through_stages(self.stages(state, input), tangent, renew)

    def stages(self, state: Tensor, input: None) -> tuple[Tensor, list[Stage]]:
        """Return the next state and the network's factors; the first one goes through the input, too."""
        next_state, (first, *others) = self.network.stages(state, self.next_input(state))

        def closing(_: Tensor | None, tangent: Tensor) -> Tensor:
            return first(self._pushed_input(state, tangent)[1], tangent)

        return next_state, [closing, *others]

    def _pushed_input(self, state: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
        signal, signal_tangent = self.network.output(state), self.network.output(tangent)
        for part in self._maps:
            signal_tangent = part.push(signal, signal_tangent)
            signal = part(signal)
        return signal, signal_tangent

    def initial_state(self, n_trajectories: int, generator: torch.Generator) -> Tensor:
        """Return the network's initial states."""
        return self.network.initial_state(n_trajectories, generator)

    def converted(self, dtype: torch.dtype, device: torch.device) -> ClosedLoop:
        """Return this system in `dtype` on `device`."""
        other = copy.copy(self)
        other.network = self.network.converted(dtype, device)
        other._maps = [part.converted(dtype, device) for part in self._maps]
        return other

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.network.device

    @property
    def description(self) -> dict[str, str]:
        """Those of the network, closed."""
        return {**self.network.description, "system": str(self), "inputs": "its own output"}

    def __str__(self) -> str:
        return f"closed loop of {self.network}"


class _Read(nn.Module):
    """The readout of a network as a module."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, state: Tensor) -> Tensor:
        return self.network.read(state)

    def __str__(self) -> str:
        return f"readout of {self.network}"


class _Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, signal: Tensor) -> Tensor:
        return self.function(signal)


def _as_module(function: nn.Module | Callable[[Tensor], Tensor]) -> nn.Module:
    return function if isinstance(function, nn.Module) else _Function(function)
