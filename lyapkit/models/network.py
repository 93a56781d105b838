"""`Network`: a recurrent network with a readout of its states, a PyTorch module and a system in one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from lyapkit.models import extra_state, stored_modules
from lyapkit.models.layers import Layer
from lyapkit.models.pytorch_modules import is_plain, nonlinearity_of
from lyapkit.models.recurrent import PARAMETER, Recurrent
from lyapkit.models.ties import ties_of
from lyapkit.systems import System
from lyapkit.systems.precision import in_dtype


class Network(nn.Module, System):
    """A recurrent network whose output is read from its last state h_T, or from every state; it starts at h_0 = 0.

    A subclass that starts elsewhere has an `initial_state` of its own, from which spectra, outputs and learning start.

    What learning does to it can be analysed through `step` and `read` alone: a subclass sets `input_size` and
    `state_size`, implements both with its parameters, and names the recurrent ones. Its state dict says of which
    network it is and by which `settings` that is built, so that `load_network` gives it back, if its class is
    registered (`lyapkit.register`).

    Attributes
    ----------
    recurrent_parameters : tuple of str
        Names of the parameters that carry the state from step to step, the w of the paper's Section 2.2.
    readout_parameters : tuple of str
        Names of the parameters that only `read` uses.
    every_step : bool
        Whether there is an output at every step, (trajectory, time, output), for tasks with targets at every step; or
        one of the last state, (trajectory, output). May be set at any time. Default False.

    Examples
    --------
    >>> import lyapkit as lk
    >>> model = lk.build_network("lstm", 2, 6, 3)
    >>> isinstance(model, lk.Network), model.readout
    (True, Linear(in_features=6, out_features=3, bias=True))
    """

    treats_trajectories_alike = True
    every_step: bool = False
    input_size: int
    recurrent_parameters: tuple[str, ...]
    readout_parameters: tuple[str, ...]
    known_by: str = ""  # a tensor that no other network has, in files from before networks said what they are
    source: Mapping[str, str] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor, such as JSON can hold, that build an untrained network of the same kind.

        The default is the sizes; a subclass whose constructor takes others names them.
        """
        return {name: getattr(self, name) for name in ("input_size", "hidden_size", "output_size")}

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Network:
        """Return an untrained network of these settings."""
        return cls(**settings)

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Tensor], source: Mapping[str, str] | None = None) -> Network:
        """Return the network whose state dict is among `parameters`, tensors of other names do not matter.

        Parameters
        ----------
        parameters : mapping
            As `state_dict` returns.
        source : mapping, optional
            What a result file should say about where the weights come from.

        Raises
        ------
        ValueError
            If parameters are missing, or do not fit together.
        """
        settings = extra_state.decoded(parameters[extra_state.NAME]).get("settings")
        if not isinstance(settings, dict):
            raise ValueError(f"{cls.__name__} has settings that its file does not hold: override `settings`")
        try:
            network = cls.from_settings(settings)
            dtype = next((tensor.dtype for tensor in parameters.values() if tensor.is_floating_point()), None)
            network.to(dtype).load_state_dict({name: parameters[name] for name in network.state_dict()})
        except (KeyError, TypeError, RuntimeError) as error:
            raise ValueError(f"the parameters of {cls.__name__} do not fit together: {error}") from error
        network.source = dict(source or {})
        return network

    @classmethod
    def recurrence(
        cls, parameters: Mapping[str, Tensor], source: Mapping[str, str] | None = None
    ) -> Recurrent | Network:
        """Return the network of a state dict as a system, for which its readout need not be known.

        Arguments and errors are those of `from_parameters`.
        """
        return cls.from_parameters(parameters, source)

    def get_extra_state(self) -> Tensor:
        """Return what a state dict has to hold beside the tensors: which network it is of, its settings, and ties."""
        try:
            settings = self.settings
        except AttributeError:  # of a subclass that nobody will build from a file
            settings = None
        content: dict[str, Any] = {"network": type(self).__name__, "settings": settings}
        if self.every_step:
            content["every_step"] = True
        if ties := ties_of(self):
            content["ties"] = ties
        return extra_state.encoded(content)

    def set_extra_state(self, state: Tensor) -> None:
        """Check that a state dict is of a network of this kind.

        Raises
        ------
        ValueError
            If it is not.
        """
        own, stored = extra_state.decoded(self.get_extra_state()), extra_state.decoded(state)
        network, settings = stored.get("network", own["network"]), stored.get("settings", stored)
        if (network, settings) != (own["network"], own["settings"]):
            raise ValueError(
                f"the state dict is of a {network} with {settings}, this one has {own['settings']}"
                if network == own["network"]
                else f"the state dict is of a {network}, and this is a {own['network']}"
            )

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *arguments: object) -> None:
        """Take state dicts from before networks said what they are."""
        state_dict.setdefault(prefix + extra_state.NAME, self.get_extra_state())
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    @property
    def description(self) -> dict[str, str]:
        """Kind, sizes and the source of the weights."""
        return {"system": str(self), **self.source}

    @abstractmethod
    def read(self, state: Tensor) -> Tensor:
        """Return the outputs (B, O) of last states (B, N)."""

    def states(self, inputs: Tensor) -> Iterator[Tensor]:
        """Yield the states h_1 … h_T, each (B, N), for inputs (B, T, I)."""
        state = self.start(inputs)
        for input in inputs.unbind(1):
            state = self.step(state, input)
            yield state

    def start(self, inputs: Tensor) -> Tensor:
        """Return the states h_0 (B, N) of inputs (B, T, I): zeros, or what a subclass has as its `initial_state`."""
        if type(self).initial_state is Network.initial_state:
            return inputs.new_zeros(len(inputs), self.state_size)
        return self.initial_state(len(inputs), torch.Generator().manual_seed(0)).to(inputs)

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

    @property
    def facts(self) -> dict[str, object]:
        """What a notebook shows of this network."""
        learnt = [parameter.numel() for parameter in self.parameters() if parameter.requires_grad]
        own = next(self.parameters())
        return super().facts | {
            "output": "at every step" if self.every_step else "from the last state",
            "parameters": f"{sum(learnt)} that are learnt, {own.dtype} on {own.device}".replace("torch.", ""),
        }

    def converted(self, dtype: torch.dtype, device: torch.device) -> Self:
        """Return a copy with its weights in `dtype` on `device`."""
        return in_dtype(self, dtype, device)

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

    Examples
    --------
    >>> import lyapkit as lk
    >>> import torch
    >>> model = lk.RecurrentNetwork(torch.nn.LSTM(2, 5), torch.nn.Linear(5, 3))
    >>> model(torch.zeros(4, 7, 2)).shape  # of the last step
    torch.Size([4, 3])
    """

    def __init__(self, recurrent: nn.Module, readout: nn.Module) -> None:
        super().__init__()
        if not isinstance(recurrent, nn.RNNBase | nn.RNNCellBase):
            raise ValueError(f"expected an nn.RNN, nn.GRU, nn.LSTM or a cell of theirs, got {type(recurrent).__name__}")
        if not is_plain(recurrent):
            raise ValueError(
                f"{type(recurrent).__name__} has code of its own, a forward or hooks, that its weights do not tell: "
                "give a subclass of lyapkit.Network with your own step"
            )
        if other := [name for name, _ in recurrent.named_parameters() if not PARAMETER.match(name)]:
            raise ValueError(
                f"weights of {type(recurrent).__name__} are computed from others, {', '.join(other)}: make them plain "
                "first, by torch.nn.utils.parametrize.remove_parametrizations, prune.remove or remove_weight_norm"
            )
        self.recurrent = recurrent
        self.readout = readout
        self.source: dict[str, str] = {}
        nonlinearity = nonlinearity_of(recurrent)
        system = Recurrent.from_parameters(dict(recurrent.named_parameters(remove_duplicate=False)), nonlinearity)
        in_stack = isinstance(recurrent, nn.RNNBase)
        self._layers = [
            (type(layer), {name: f"{name}_l{index}" if in_stack else name for name in layer.weights})
            for index, layer in enumerate(system.layers)
        ]
        self.input_size, self.state_size = system.layers[0].input_size, system.state_size
        sizes = [layer.sizes[0] for layer in system.layers]
        self._output_slice = slice(sum(sizes[:-1]), sum(sizes))
        names = [f"recurrent.{name}" for name, _ in recurrent.named_parameters()]
        self.recurrent_parameters = tuple(name for name in names if name.startswith("recurrent.weight_h"))
        self.readout_parameters = tuple(f"readout.{name}" for name, _ in readout.named_parameters())

    @property
    def settings(self) -> dict[str, Any]:
        """Module and readout; None for one that only its own code can compute, and its class."""
        parts = {"recurrent": self.recurrent, "readout": self.readout}
        described: dict[str, Any] = {name: stored_modules.described(part) for name, part in parts.items()}
        unknown = {f"{name}_class": type(parts[name]).__name__ for name, known in described.items() if known is None}
        return described | unknown

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> RecurrentNetwork:
        """Return an untrained network of these settings."""
        for part in ("recurrent", "readout"):
            if settings[part] is None:
                raise ValueError(
                    f"its {part} is a {settings[f'{part}_class']}, which only its own code can compute: load the state "
                    "dict into the network itself, or give module="
                )
        return cls(stored_modules.built(settings["recurrent"]), stored_modules.built(settings["readout"]))

    @classmethod
    def recurrence(
        cls, parameters: Mapping[str, Tensor], source: Mapping[str, str] | None = None
    ) -> Recurrent | Network:
        """Return the network of a state dict; without its readout, if only its own code can compute that."""
        settings = extra_state.decoded(parameters[extra_state.NAME]).get("settings")
        if not isinstance(settings, dict) or settings.get("readout") is not None or not settings.get("recurrent"):
            return cls.from_parameters(parameters, source)
        own = {name.removeprefix("recurrent."): t for name, t in parameters.items() if name.startswith("recurrent.")}
        nonlinearity = getattr(stored_modules.built(settings["recurrent"]), "nonlinearity", None)
        return Recurrent.from_parameters(own, nonlinearity, source)

    @property
    def layers(self) -> list[Layer]:
        """The recurrent layers, from the input upwards."""
        return self._system().layers

    def _system(self) -> Recurrent:
        parameters = dict(self.recurrent.named_parameters(remove_duplicate=False))
        return Recurrent([kind({own: parameters[name] for own, name in names.items()}) for kind, names in self._layers])

    def step(self, state: Tensor, input: Tensor) -> Tensor:
        """Return the next state."""
        return self._system().step(state, input)

    @torch.no_grad()
    def push(self, state: Tensor, input: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next state and the tangent vectors, by products with the weights themselves; no graph is kept."""
        return self._system().push(state, input, tangent)

    @torch.no_grad()
    def push_in_stages(
        self, state: Tensor, input: Tensor, tangent: Tensor, renew: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return what `push` does, with the tangent vectors made orthonormal between factors of the Jacobian."""
        return self._system().push_in_stages(state, input, tangent, renew)

    def states(self, inputs: Tensor) -> Iterator[Tensor]:
        """Yield the states h_1 … h_T."""
        system = self._system()
        state = self.start(inputs)
        for input in inputs.unbind(1):
            state = system.step(state, input)
            yield state

    def read(self, state: Tensor) -> Tensor:
        """Return the outputs of last states: of the uppermost layer's hidden part of them."""
        return self.readout(state[:, self._output_slice])

    def __str__(self) -> str:
        return str(self._system())
