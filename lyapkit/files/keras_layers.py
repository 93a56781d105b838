"""Keras' recurrent layers in PyTorch's layout: their weights, and what of their settings has a counterpart here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lyapkit.files.stored_layers import N_GATES, Signal, StoredLayer, in_pytorch_order

KINDS = {
    "SimpleRNN": "RNN",
    "SimpleRNNCell": "RNN",
    "GRU": "GRU",
    "GRUCell": "GRU",
    "LSTM": "LSTM",
    "LSTMCell": "LSTM",
}
_GATE_ORDER = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 1, 2, 3)}  # Keras' GRU is (update, reset, new)
REVERSED = (
    "it reads the sequence from its end (go_backwards): save it with go_backwards=False and give inputs whose time is "
    "reversed"
)


def recurrent_layer(
    name: str, class_name: str, config: Mapping[str, Any], variables: Mapping[str, Tensor], reads: Signal
) -> StoredLayer:
    """Return a recurrent layer that Keras describes.

    Parameters
    ----------
    name : str
        What to call it.
    class_name : str
        Of the layer, or of the cell of an `RNN`: a key of `KINDS`.
    config : mapping
        As in Keras' `get_config`.
    variables : mapping
        `kernel` (I, gates · H), `recurrent_kernel` (H, gates · H) and, with biases, `bias` (gates · H), or
        (2, gates · H) for a GRU whose reset gate comes after the recurrent weights.
    reads : Signal
        Its input.
    """
    kind = KINDS[class_name]
    reset_after = bool(config.get("reset_after", False)) if kind == "GRU" else True  # Keras 2.1 had no such setting
    refusal = _unknown_settings(kind, config) or (REVERSED if config.get("go_backwards") else None)
    if refusal is None:
        refusal = _misfit(kind, config, variables, reset_after)
    if refusal is not None:
        return StoredLayer(name, kind, {}, reads, refusal=refusal)
    nonlinearity = config.get("activation", "tanh") if kind == "RNN" else None
    return StoredLayer(name, kind, converted(kind, variables), reads, nonlinearity, reset_after)


def converted(kind: str, variables: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a layer's variables under PyTorch's names, in its layout and order of gates."""
    order = _GATE_ORDER[kind]
    weights = {
        "weight_ih": in_pytorch_order(variables["kernel"].mT, order),
        "weight_hh": in_pytorch_order(variables["recurrent_kernel"].mT, order),
    }
    if "bias" in variables:
        bias = variables["bias"]
        bias_ih, bias_hh = bias if bias.ndim == 2 else (bias, torch.zeros_like(bias))
        weights |= {"bias_ih": in_pytorch_order(bias_ih, order), "bias_hh": in_pytorch_order(bias_hh, order)}
    return weights


def _unknown_settings(kind: str, config: Mapping[str, Any]) -> str | None:
    """Return what is set to something that has no counterpart here, if anything."""
    expected = {"activation": ("tanh", "relu") if kind == "RNN" else ("tanh",)}
    if kind != "RNN":
        expected["recurrent_activation"] = ("sigmoid",)
    for setting, known in expected.items():
        value = config.get(setting, known[0])
        if value not in known:
            shown = value.get("config", value) if isinstance(value, Mapping) else value
            return f"its {setting} is {shown!r}, where {' or '.join(map(repr, known))} is understood"
    return None


def _misfit(kind: str, config: Mapping[str, Any], variables: Mapping[str, Tensor], reset_after: bool) -> str | None:
    """Return how variables do not fit a layer's settings, if they do not."""
    units, n_gates = config.get("units"), N_GATES[kind]
    if not isinstance(units, int) or units < 1:
        return f"its number of units is {units!r}"
    wanted = {"kernel", "recurrent_kernel"} | ({"bias"} if config.get("use_bias", True) else set())
    if set(variables) != wanted:
        return f"it has the variables {sorted(variables)} where {sorted(wanted)} were expected"
    shapes = {name: tuple(tensor.shape) for name, tensor in variables.items()}
    expected = {
        "kernel": (*shapes["kernel"][:1], n_gates * units),
        "recurrent_kernel": (units, n_gates * units),
        "bias": (2, n_gates * units) if kind == "GRU" and reset_after else (n_gates * units,),
    }
    for name, shape in shapes.items():
        if shape != expected[name]:
            return f"its {name} has shape {shape} where {expected[name]} was expected of {units} units"
    if not all(tensor.is_floating_point() for tensor in variables.values()):
        return "its variables are no floating-point numbers: save the network as it was before quantisation"
    return None
