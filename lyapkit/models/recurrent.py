"""`Recurrent`: the system made of a recurrent network's weights."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from lyapkit.labels import counted
from lyapkit.models.layers import GRULayer, Layer, LSTMLayer, ReluLayer, ResetFirstGRULayer, TanhLayer
from lyapkit.systems import System
from lyapkit.systems.system import Stage, push_through_stages

PARAMETER = re.compile(
    r"^(?P<name>weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)(_l(?P<layer>0|[1-9]\d*))?(?P<reverse>_reverse)?$"
)
_ELMAN_LAYERS = {"tanh": TanhLayer, "relu": ReluLayer}


class Recurrent(System):
    """A stack of recurrent layers as a dynamical system, dropout off.

    The state is everything that recurs, in PyTorch's order: the hidden states of all layers, then, for LSTMs, the
    cell states of all layers: (h_0, …, h_{L−1}, c_0, …, c_{L−1}), which is (h_n, c_n) flattened per trajectory.

    Parameters
    ----------
    layers : list of Layer
        From the input upwards.
    source : dict, optional
        What a result file should say about where the weights come from.
    """

    treats_trajectories_alike = True
    input_size: int

    def __init__(self, layers: list[Layer], source: Mapping[str, str] | None = None) -> None:
        self.layers = layers
        self.source = dict(source or {})
        self.input_size = layers[0].input_size
        # a layer's parts of the state: its h among the hidden states and, if it has one, its c among the cells
        n_parts = len(layers[0].sizes)
        self._sizes = [layer.sizes[part] for part in range(n_parts) for layer in layers]
        self.state_size = sum(self._sizes)

    @property
    def maps_to_zero(self) -> bool:
        """Whether it has relu units; slopes of the others are never zero."""
        return any(isinstance(layer, ReluLayer) for layer in self.layers)

    def step(self, state: Tensor, input: Tensor) -> Tensor:
        """Return the next state."""
        outputs = []
        signal = input
        for layer, layer_state in zip(self.layers, self._by_layer(state), strict=True):
            outputs.append(layer.step(signal, layer_state))
            signal = outputs[-1][0]
        return self._joined(outputs)

    def push(self, state: Tensor, input: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next state and the tangent vectors, by products with the weights themselves."""
        if len(self.layers) == 1:
            output, pushed = self.layers[0].push_all(input, self._by_layer(state)[0], tangent)
            return self._joined([output]), pushed
        return self.push_driven(state, input, tangent, None)

    def push_driven(
        self, state: Tensor, input: Tensor, tangent: Tensor, input_tangent: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return what `push` returns where the input is perturbed, too."""
        outputs, pushed = [], []
        signal, signal_tangent = input, input_tangent
        for layer, layer_state, layer_tangent in zip(
            self.layers, self._by_layer(state), self._by_layer(tangent), strict=True
        ):
            output, output_tangent = layer.push(signal, layer_state, signal_tangent, layer_tangent)
            outputs.append(output)
            pushed.append(output_tangent)
            signal, signal_tangent = output[0], output_tangent[0]
        return self._joined(outputs), self._joined(pushed)

    def push_along(self, state: Tensor, inputs: Tensor, tangent: Tensor, n_steps: int) -> tuple[Tensor, Tensor]:
        """Return state and tangent vectors after several steps."""
        if len(self.layers) > 1:
            return super().push_along(state, inputs, tangent, n_steps)
        output, tangent = self.layers[0].push_along(inputs, self._by_layer(state)[0], tangent)
        return self._joined([output]), tangent

    def push_in_stages(
        self, state: Tensor, input: Tensor, tangent: Tensor, renew: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the next state and the tangent vectors, made orthonormal between the factors of every layer."""
        return push_through_stages(self.stages(state, input), tangent, renew)

    def stages(self, state: Tensor, input: Tensor) -> tuple[Tensor, list[Stage]]:
        """Return the next state and the factors of all layers, from the input upwards."""
        outputs, signal = [], input
        stages: list[Stage] = []
        for index, (layer, layer_state) in enumerate(zip(self.layers, self._by_layer(state), strict=True)):
            output, of_layer = layer.stages(signal, layer_state)
            outputs.append(output)
            stages += [partial(self._stage, index, stage) for stage in of_layer]
            signal = output[0]
        return self._joined(outputs), stages

    def _stage(self, index: int, stage: Callable[..., Any], input_tangent: Tensor | None, tangent: Tensor) -> Tensor:
        tangents = self._by_layer(tangent)
        below = tangents[index - 1][0] if index else input_tangent
        tangents[index] = stage(below, tangents[index])
        return self._joined(tangents)

    def output(self, state: Tensor) -> Tensor:
        """Return the uppermost layer's hidden state."""
        return self._by_layer(state)[-1][0]

    def _by_layer(self, values: Tensor) -> list[tuple[Tensor, ...]]:
        parts = values.split(self._sizes, dim=-1)
        return [parts[layer :: len(self.layers)] for layer in range(len(self.layers))]

    def _joined(self, by_layer: list[tuple[Tensor, ...]]) -> Tensor:
        if len(self._sizes) == 1:
            return by_layer[0][0]
        return torch.cat([part for parts in zip(*by_layer, strict=True) for part in parts], dim=-1)

    def initial_state(self, n_trajectories: int, generator: torch.Generator) -> Tensor:
        """Return zeros, where PyTorch's recurrent modules start."""
        return torch.zeros(n_trajectories, self.state_size, dtype=torch.float64)

    def converted(self, dtype: torch.dtype, device: torch.device) -> Recurrent:
        """Return this network with its weights in `dtype` on `device`."""
        network = copy.copy(self)
        network.layers = [layer.converted(dtype, device) for layer in self.layers]
        return network

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.layers[0].weight_hh.device

    @property
    def description(self) -> dict[str, str]:
        """Kind, sizes and the source of the weights."""
        return {**super().description, **self.source}

    def __str__(self) -> str:
        first = self.layers[0]
        hidden = " + ".join(str(layer.hidden_size) for layer in self.layers)
        projection = f", projected to {first.sizes[0]}" if first.sizes[0] != first.hidden_size else ""
        units = "unit" if hidden == "1" else "units"
        inputs = counted(first.input_size, "input")
        return f"{first.kind} ({inputs}, {hidden} {units}{projection}, state size {self.state_size})"

    def pytorch_module(self) -> nn.RNNBase:
        """Return an nn.RNN, nn.GRU or nn.LSTM with these weights.

        Raises
        ------
        ValueError
            If there is no such module: layers of different sizes, or GRUs whose reset gate comes before the weights.
        """
        first = self.layers[0]
        if len({(layer.hidden_size, frozenset(layer.weights)) for layer in self.layers}) > 1:
            raise ValueError(
                "layers that differ in size or biases make no module of PyTorch's, which a loss needs here"
            )
        if isinstance(first, ResetFirstGRULayer):
            raise ValueError(
                "a GRU whose reset gate comes before the weights is no module of PyTorch's, as a loss needs here"
            )
        options = {"num_layers": len(self.layers), "bias": "bias_ih" in first.weights, "dtype": first.weight_hh.dtype}
        if isinstance(first, LSTMLayer) and first.weight_hr is not None:
            options["proj_size"] = first.sizes[0]
        kind = {LSTMLayer: nn.LSTM, GRULayer: nn.GRU, TanhLayer: nn.RNN, ReluLayer: nn.RNN}.get(type(first))
        if kind is None:
            raise ValueError(f"PyTorch has no {first.kind}, so that it cannot be a part of a PyTorch module")
        if kind is nn.RNN:
            options["nonlinearity"] = "relu" if isinstance(first, ReluLayer) else "tanh"
        module = kind(first.input_size, first.hidden_size, **options)
        named = {
            f"{name}_l{i}": tensor for i, layer in enumerate(self.layers) for name, tensor in layer.weights.items()
        }
        module.load_state_dict(named)
        return module

    @classmethod
    def from_parameters(
        cls,
        parameters: Mapping[str, Tensor],
        nonlinearity: str | None = None,
        source: Mapping[str, str] | None = None,
        *,
        reset_after: bool = True,
    ) -> Recurrent:
        """Return the network that a recurrent module's parameters describe.

        Kind, sizes, number of layers, biases and projection are read off the names and shapes.

        Parameters
        ----------
        parameters : mapping
            `weight_ih_l0`, `weight_hh_l0`, … as in the state dict of an `nn.RNN`, `nn.GRU`, `nn.LSTM`, or without
            `_l0` as in that of a cell. Other names are not allowed.
        nonlinearity : "tanh" or "relu", optional
            Needed for an Elman network, whose parameters do not tell.
        source : mapping, optional
            As for `Recurrent`.
        reset_after : bool
            Whether a GRU's reset gate multiplies what the recurrent weights make of h, as in PyTorch, or h itself.
            Default: True.

        Raises
        ------
        ValueError
            If the network is bidirectional, the shapes do not fit together, values are not finite, or the
            nonlinearity is needed and missing.
        """
        by_layer: dict[int, dict[str, Tensor]] = {}
        for full_name, tensor in parameters.items():
            match = PARAMETER.match(full_name)
            if match is None:
                raise ValueError(f"{full_name!r} is not a parameter of a recurrent layer")
            if match["reverse"]:
                raise ValueError(
                    "the network is bidirectional: its backward half reads the sequence from its end, so no state "
                    "evolves from one step to the next and there is no Lyapunov spectrum; analyse the forward half "
                    "as a unidirectional network of its own"
                )
            if tensor.is_complex():
                raise ValueError(f"{full_name} holds complex numbers, and PyTorch's recurrent layers have none")
            if not tensor.is_floating_point():
                raise ValueError(
                    f"{full_name} holds {str(tensor.dtype).removeprefix('torch.')} numbers, which are no weights "
                    "without their scale: save the weights of the network before it was quantised"
                )
            if not bool(tensor.isfinite().all()):
                raise ValueError(f"{full_name} holds values that are not finite floating-point numbers")
            weights = by_layer.setdefault(int(match["layer"] or 0), {})
            if match["name"] in weights:
                raise ValueError(f"{match['name']} and {match['name']}_l0 are both there: a cell's, and a layer's")
            weights[match["name"]] = tensor
        missing = [index for index in range(len(by_layer)) if index not in by_layer]  # a number may be of any size
        if missing:
            raise ValueError(
                f"the parameters of layer(s) {missing[:9]} are missing; there is one numbered {max(by_layer)}"
            )
        layers = [_layer(weights, nonlinearity, index, reset_after) for index, weights in sorted(by_layer.items())]
        for index, (below, above) in enumerate(pairwise(layers), start=1):
            if below.weights.keys() != above.weights.keys():
                odd = ", ".join(sorted(below.weights.keys() ^ above.weights.keys()))
                raise ValueError(f"of layers {index - 1} and {index} one has {odd} and the other has not")
            if above.input_size != below.sizes[0] or type(above) is not type(below):
                raise ValueError(f"layer {index} does not fit on layer {index - 1}: their kinds or sizes differ")
        return cls(layers, source)


def _layer(weights: dict[str, Tensor], nonlinearity: str | None, index: int, reset_after: bool) -> Layer:
    """Return the layer that these weights belong to, checking that they belong together."""
    for name in ("weight_ih", "weight_hh"):
        if name not in weights:
            raise ValueError(f"layer {index} has no {name}")
    if ("bias_ih" in weights) != ("bias_hh" in weights):
        raise ValueError(f"layer {index} has one of bias_ih and bias_hh, PyTorch's layers have both or none")
    if any(tensor.ndim != (1 if name.startswith("bias") else 2) for name, tensor in weights.items()):
        raise ValueError(f"the parameters of layer {index} do not have the dimensions of a recurrent layer's")
    rows, columns = weights["weight_hh"].shape
    output_size, hidden_size = weights["weight_hr"].shape if "weight_hr" in weights else (columns, columns)
    n_gates = rows // max(hidden_size, 1)
    if rows != n_gates * hidden_size or columns != output_size or n_gates not in (1, 3, 4):
        raise ValueError(
            f"weight_hh of layer {index} has shape ({rows}, {columns}), which is none of an RNN (H, H), a GRU (3H, H) "
            "and an LSTM (4H, H)"
        )
    for name, tensor in weights.items():
        if name != "weight_hr" and len(tensor) != rows:
            raise ValueError(f"{name} of layer {index} has {len(tensor)} rows where weight_hh has {rows}")
    if n_gates > 1:
        kind = LSTMLayer if n_gates == 4 else GRULayer if reset_after else ResetFirstGRULayer
        return kind(weights)
    if nonlinearity not in _ELMAN_LAYERS:
        raise ValueError(
            "an RNN's parameters do not tell its activation function: say nonlinearity='tanh' or 'relu'"
            + (f", not {nonlinearity!r}" if nonlinearity else "")
        )
    return _ELMAN_LAYERS[nonlinearity](weights)
