"""ONNX' recurrent nodes in PyTorch's layout: their weights, and what of their attributes has a counterpart here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lyapkit.files.stored_layers import N_GATES, Signal, StoredLayer, in_pytorch_order

_GATE_ORDER = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1)}  # ONNX has (update, reset, new) and (i, o, f, c)
_ACTIVATIONS = {"GRU": ("sigmoid", "tanh"), "LSTM": ("sigmoid", "tanh", "tanh")}
_ELMAN_ACTIVATIONS = ("tanh", "relu")
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
_KNOWN = {"hidden_size", "direction", "activations", "activation_alpha", "activation_beta", "clip", "layout"}
_OF_ONE_KIND = {"GRU": {"linear_before_reset"}, "LSTM": {"input_forget"}}


def recurrent_layer(
    name: str, kind: str, attributes: Mapping[str, Any], constants: Mapping[str, Tensor | None], reads: Signal
) -> StoredLayer:
    """Return the layer that an ONNX node describes.

    Parameters
    ----------
    name : str
        What to call it.
    kind : str
        "RNN", "GRU" or "LSTM".
    attributes : mapping
        The node's attributes.
    constants : mapping
        The inputs that the node has, by their names in ONNX' definition (W, R, B, P, sequence_lens), to their values,
        None where these are computed when the network runs.
    reads : Signal
        Its input.
    """
    refusal = _unknown_attributes(kind, attributes) or _unknown_inputs(constants)
    stored = {role: value for role, value in constants.items() if value is not None}
    if refusal is None:
        refusal = _misfit(kind, attributes, stored)
    if refusal is not None:
        return StoredLayer(name, kind, {}, reads, refusal=refusal)
    order = _GATE_ORDER[kind]
    weights = {
        "weight_ih": in_pytorch_order(stored["W"][0], order),
        "weight_hh": in_pytorch_order(stored["R"][0], order),
    }
    if "B" in stored:
        bias_ih, bias_hh = stored["B"][0].chunk(2)
        weights |= {"bias_ih": in_pytorch_order(bias_ih, order), "bias_hh": in_pytorch_order(bias_hh, order)}
    nonlinearity = _activations(kind, attributes)[0] if kind == "RNN" else None
    reset_after = kind != "GRU" or attributes.get("linear_before_reset", 0) != 0
    return StoredLayer(name, kind, weights, reads, nonlinearity, reset_after)


def _activations(kind: str, attributes: Mapping[str, Any]) -> tuple[str, ...]:
    default = _ACTIVATIONS.get(kind, ("tanh",))
    return tuple(str(name).lower() for name in attributes.get("activations", ())) or default


def _unknown_attributes(kind: str, attributes: Mapping[str, Any]) -> str | None:
    """Return which attribute has no counterpart here, if any."""
    unknown = set(attributes) - _KNOWN - _OF_ONE_KIND.get(kind, set())
    if unknown:
        return f"it has the attribute {min(unknown)!r}, which is not understood"
    direction = attributes.get("direction", "forward")
    if direction == "bidirectional":
        return (
            "it is bidirectional: its backward half reads the sequence from its end, so no state evolves from one step "
            "to the next and there is no Lyapunov spectrum; export the forward half as a network of its own"
        )
    if direction != "forward":
        return f"its direction is {direction!r}: export it forwards and give inputs whose time is reversed"
    activations = _activations(kind, attributes)
    known = [(name,) for name in _ELMAN_ACTIVATIONS] if kind == "RNN" else [_ACTIVATIONS[kind]]
    if activations not in known:
        shown = " or ".join(", ".join(names) for names in known)
        return f"its activations are {', '.join(activations)}, where {shown} is understood"
    if attributes.get("clip"):
        return f"it clips what goes into its activation functions at {attributes['clip']} (clip)"
    if attributes.get("input_forget"):
        return "its input and forget gates are coupled (input_forget)"
    return None


def _unknown_inputs(constants: Mapping[str, Tensor | None]) -> str | None:
    """Return which of a node's inputs has no counterpart here, if any."""
    if "sequence_lens" in constants:
        return "its sequences have lengths of their own (sequence_lens): export it without, and give whole sequences"
    peepholes = constants.get("P")
    if "P" in constants and (peepholes is None or bool(peepholes.any())):
        return "it has peephole weights (P)"
    for name in ("W", "R", "B"):
        if name in constants and constants[name] is None:
            return (
                f"its {name} is computed when the network runs, not stored: export it with constant folding "
                "(do_constant_folding=True)"
            )
    return None


def _misfit(kind: str, attributes: Mapping[str, Any], constants: Mapping[str, Tensor]) -> str | None:
    """Return how weights do not fit a node, if they do not."""
    shapes = {name: tuple(constants[name].shape) for name in ("W", "R", "B") if name in constants}
    if not {"W", "R"} <= shapes.keys() or len(shapes["R"]) != 3 or len(shapes["W"]) != 3:
        return f"its weights have shapes {shapes}, expected W (1, gates · H, I) and R (1, gates · H, H)"
    size = shapes["R"][2]
    rows = N_GATES[kind] * size
    expected = {"W": (1, rows, shapes["W"][2]), "R": (1, rows, size), "B": (1, 2 * rows)}
    for name, shape in shapes.items():
        if shape != expected[name]:
            return f"its {name} has shape {shape} where {expected[name]} was expected of {size} units"
    if attributes.get("hidden_size", size) != size:
        return f"its hidden_size is {attributes['hidden_size']} where R is of {size} units"
    if not all(constants[name].is_floating_point() for name in shapes):
        return "its weights are no floating-point numbers"
    return None
