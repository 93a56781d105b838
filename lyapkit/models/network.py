"""`Network`: a recurrent network with a readout of its states, a PyTorch module and a system in one."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from lyapkit.models.recurrent import Recurrent
from lyapkit.systems import System


class Network(nn.Module, System):
    """A recurrent network that starts at h_0 = 0 and whose output is read from its last state h_T, or from every state.

    What learning does to it can be analysed through `step` and `read` alone: a subclass sets `input_size` and
    `state_size`, implements both with its parameters, and names the recurrent ones.

    Attributes
    ----------
    recurrent_parameters : tuple of str
        Names of the parameters that carry the state from step to step, the w of the paper's Section 2.2.
    readout_parameters : tuple of str
        Names of the parameters that only `read` uses.
    every_step : bool
        Whether there is an output at every step, (trajectory, time, output), for tasks with targets at every step; or
        one of the last state, (trajectory, output). May be set at any time. Default False.
    """

    treats_trajectories_alike = True
    every_step: bool = False
    input_size: int
    recurrent_parameters: tuple[str, ...]
    readout_parameters: tuple[str, ...]

    @abstractmethod
    def read(self, state: Tensor) -> Tensor:
        """Return the outputs (B, O) of last states (B, N)."""

    def states(self, inputs: Tensor) -> Iterator[Tensor]:
        """Yield the states h_1 … h_T, each (B, N), for inputs (B, T, I)."""
        state = inputs.new_zeros(len(inputs), self.state_size)
        for input in inputs.unbind(1):
            state = self.step(state, input)
            yield state

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return what is read from the last state, or, with `every_step`, from every state.

        Parameters
        ----------
        inputs : Tensor
            (B, T, I).
        lengths : Tensor, optional
            (B,): how many steps of each sequence count, between 1 and T; what comes after them is padding. The last
            state is that of a sequence's own last step. Outputs at every step are those of all T steps: those after
            a sequence's end mean nothing, and a loss has to leave them out.

        Returns
        -------
        Tensor
            (B, O), or (B, T, O) with `every_step`.
        """
        self.check_inputs(inputs)
        states = self.states(inputs)
        if self.every_step:
            return torch.stack([self.read(state) for state in states], dim=1)
        last = next(states)
        for time, state in enumerate(states, start=2):
            last = state if lengths is None else torch.where((lengths >= time)[..., None], state, last)
        return self.read(last)

    def check_inputs(self, inputs: Tensor) -> None:
        """Raise a ValueError if inputs are not (trajectory, time, feature) of this network's features."""
        if inputs.ndim != 3 or inputs.shape[2] != self.input_size or not inputs.shape[1]:
            raise ValueError(
                f"inputs have shape {tuple(inputs.shape)}, expected (trajectory, time, {self.input_size}), time ≥ 1"
            )

    def initial_state(self, n_trajectories: int, generator: torch.Generator) -> Tensor:
        """Return zeros, h_0 of the paper."""
        return torch.zeros(n_trajectories, self.state_size, dtype=torch.float64)

    def converted(self, dtype: torch.dtype, device: torch.device) -> Network:
        """Return a copy with its weights in `dtype` on `device`."""
        return copy.deepcopy(self).to(device, dtype)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device


class RecurrentNetwork(Network):
    """A PyTorch recurrent module with a readout of the last hidden state of its uppermost layer.

    The recurrence is computed step by step from the module's parameters, not by its fused kernels: each step can be
    differentiated, twice and forwards too, on every device. Dropout is off. `batch_first` does not matter: inputs are
    (trajectory, time, feature).

    Parameters
    ----------
    recurrent : nn.RNN, nn.GRU, nn.LSTM or one of their cells
        Unidirectional.
    readout : nn.Module
        Takes (B, H) to outputs (B, O), `nn.Linear` for instance.

    Raises
    ------
    ValueError
        If the module is none of these, or bidirectional.
    """

    def __init__(self, recurrent: nn.Module, readout: nn.Module) -> None:
        super().__init__()
        if not isinstance(recurrent, nn.RNNBase | nn.RNNCellBase):
            raise ValueError(f"expected an nn.RNN, nn.GRU, nn.LSTM or a cell of theirs, got {type(recurrent).__name__}")
        self.recurrent = recurrent
        self.readout = readout
        self.source: dict[str, str] = {}
        nonlinearity = getattr(recurrent, "nonlinearity", None)
        system = Recurrent.from_parameters(dict(recurrent.named_parameters()), nonlinearity)
        in_stack = isinstance(recurrent, nn.RNNBase)
        self._layers = [
            (type(layer), {name: f"{name}_l{index}" if in_stack else name for name in layer.weights})
            for index, layer in enumerate(system.layers)
        ]
        self.input_size, self.state_size = system.input_size, system.state_size
        sizes = [layer.sizes[0] for layer in system.layers]
        self._output_slice = slice(sum(sizes[:-1]), sum(sizes))
        names = [f"recurrent.{name}" for name, _ in recurrent.named_parameters()]
        self.recurrent_parameters = tuple(name for name in names if name.startswith("recurrent.weight_h"))
        self.readout_parameters = tuple(f"readout.{name}" for name, _ in readout.named_parameters())

    def _system(self) -> Recurrent:
        parameters = dict(self.recurrent.named_parameters())
        return Recurrent([kind({own: parameters[name] for own, name in names.items()}) for kind, names in self._layers])

    def step(self, state: Tensor, input: Tensor | None) -> Tensor:
        """Return the next state."""
        return self._system().step(state, input)

    @torch.no_grad()
    def push(self, state: Tensor, input: Tensor | None, tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next state and the tangent vectors, by products with the weights themselves; no graph is kept."""
        return self._system().push(state, input, tangent)

    @torch.no_grad()
    def push_in_stages(
        self, state: Tensor, input: Tensor | None, tangent: Tensor, renew: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return what `push` does, with the tangent vectors made orthonormal between factors of the Jacobian."""
        return self._system().push_in_stages(state, input, tangent, renew)

    def states(self, inputs: Tensor) -> Iterator[Tensor]:
        """Yield the states h_1 … h_T."""
        system = self._system()
        state = inputs.new_zeros(len(inputs), self.state_size)
        for input in inputs.unbind(1):
            state = system.step(state, input)
            yield state

    def read(self, state: Tensor) -> Tensor:
        """Return the outputs of last states: of the uppermost layer's hidden part of them."""
        return self.readout(state[:, self._output_slice])

    @property
    def description(self) -> dict[str, str]:
        """Kind, sizes and the source of the weights."""
        return {"system": str(self), **self.source}

    def __str__(self) -> str:
        return str(self._system())
