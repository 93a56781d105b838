"""`Network`: a recurrent network with a readout of its last state, a PyTorch module and a system in one."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from lyapkit.models.recurrent import Recurrent
from lyapkit.systems import System


class Network(nn.Module, System):
    """A recurrent network that starts at h_0 = 0 and whose output is read from its last state h_T.

    What learning does to it can be analysed through `step` and `read` alone: a subclass sets `input_size` and
    `state_size`, implements both with its parameters, and names the recurrent ones.

    Attributes
    ----------
    recurrent_parameters : tuple of str
        Names of the parameters that carry the state from step to step, the w of the paper's Section 2.2.
    readout_parameters : tuple of str
        Names of the parameters that only `read` uses.
    """

    treats_trajectories_alike = True
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

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the readout of the last state, (trajectory, output), for inputs (trajectory, time, feature)."""
        if inputs.ndim != 3 or inputs.shape[2] != self.input_size or not inputs.shape[1]:
            raise ValueError(
                f"inputs have shape {tuple(inputs.shape)}, expected (trajectory, time, {self.input_size}), time ≥ 1"
            )
        for state in self.states(inputs):  # noqa: B007 the last one counts
            pass
        return self.read(state)

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


def as_network(model: nn.Module, inputs: Tensor) -> Network:
    """Return a model as a `Network`: itself, or the recurrent module and the linear readout that it consists of.

    Parameters
    ----------
    model : Network or nn.Module
        A module that contains exactly one nn.RNN, nn.GRU, nn.LSTM or cell and exactly one nn.Linear, and that reads
        the last hidden state with it.
    inputs : Tensor
        (sample, time, feature): the model must give the same outputs for the first of them.

    Raises
    ------
    ValueError
        If the model has no readout, or is put together in another way.
    """
    if isinstance(model, Network):
        return model
    if not isinstance(model, nn.Module):
        raise ValueError(f"expected a network with a readout, a Network or an nn.Module, got {type(model).__name__}")
    name = type(model).__name__
    advice = "give lyapkit.RecurrentNetwork(recurrent, readout), or a subclass of lyapkit.Network with your own step"
    parts = list(model.modules())
    recurrent = [part for part in parts if isinstance(part, nn.RNNBase | nn.RNNCellBase)]
    linear = [part for part in parts if isinstance(part, nn.Linear)]
    if len(recurrent) != 1:
        raise ValueError(f"{name} contains {len(recurrent)} recurrent modules, expected 1: {advice}")
    if not linear:
        raise ValueError(f"{name} has no readout that takes its state to an output with a loss: {advice}")
    network = RecurrentNetwork(recurrent[0], linear[0])
    if len(linear) > 1 or not _agree(model, network, inputs[:2]):
        raise ValueError(f"{name} does more than to read its last hidden state with one linear layer: {advice}")
    return network


@torch.no_grad()
def _agree(model: nn.Module, network: Network, inputs: Tensor) -> bool:
    """Return whether both give the same outputs, with either of the first two dimensions for the samples."""
    inputs = inputs.to(network.device, next(network.parameters()).dtype)
    was_training = model.training
    try:
        expected = network(inputs)
        for given in (inputs, inputs.transpose(0, 1)):
            outputs = model.eval()(given)
            if isinstance(outputs, Tensor) and outputs.shape == expected.shape:
                tolerance = 1e-3 if outputs.dtype == torch.float32 else 1e-9
                if torch.allclose(outputs, expected, rtol=tolerance, atol=tolerance):
                    return True
    except RuntimeError:  # sizes that do not fit
        pass
    finally:
        model.train(was_training)
    return False
