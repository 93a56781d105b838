"""Keras' files of weights alone: recurrent layers by the shapes of their variables, since no configuration tells."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from lyapkit.files.keras_hdf5 import Hdf5
from lyapkit.files.keras_layers import converted
from lyapkit.files.keras_variables import roles_of_others, variable_name
from lyapkit.files.stored_layers import Signal, StoredEmbedding, StoredLayer, StoredNetwork, StoredReadout

_WITHOUT_EFFECT = ("dropout", "input_layer", "identity", "gaussian_noise", "activity_regularization", "alpha_dropout")
_SAID_BY_CLASS = {"lstm": "LSTM", "gru": "GRU", "simple_rnn": "RNN"}
_REMEDY = "save the whole model, model.save('name.keras'), which tells"
_ACTIVATIONS = (
    "a file of weights does not tell activation functions: those of gates were taken to be Keras' defaults, tanh and "
    f"sigmoid; {_REMEDY}"
)


def read_weights(content: Hdf5) -> StoredNetwork:
    """Return the recurrent layers in a file of weights.

    A recurrent layer is known by its kernels, (I, gates · H) and (H, gates · H), and a GRU's form by the shape of its
    bias. That activation functions are Keras' defaults, and what runs between layers, is not in the file.
    """
    network = StoredNetwork(tensors=dict(content.arrays), order_is_known=False)
    numbered = any("/vars/" in f"/{name}" for name in content.arrays)
    groups = _numbered_groups(content) if numbered else _named_groups(content)
    others = []
    for name, own in groups.items():
        variables = {variable: content.arrays[path] for path, variable in own.items()}
        layer = _layer(name, variables)
        if layer is not None:
            network.layers.append(layer)
            network.roles |= {path: f"recurrent layer {name!r}: {variable}" for path, variable in own.items()}
        else:
            others.append((name, own))
    unexplained = _unexplained(network, others, content) + (_silent_groups(content, groups) if numbered else [])
    network.layers = [_reading(layer, unexplained) for layer in network.layers]
    network.roles |= roles_of_others(content.arrays, network.roles)
    return network


def _numbered_groups(content: Hdf5) -> dict[str, dict[str, str]]:
    """Return layers, by path, and their variables: name in the file to kernel, recurrent_kernel, bias or a number."""
    groups: dict[str, dict[str, str]] = {}
    for path in content.arrays:
        owner, _, number = path.rpartition("/")
        if owner.startswith("optimizer/"):
            continue
        groups.setdefault(owner.removesuffix("vars").rstrip("/"), {})[path] = number
    named = {}
    for owner, own in groups.items():
        is_cell = re.search(r"(^|/)cell$", owner) is not None or len(own) == 3
        variables = ("kernel", "recurrent_kernel", "bias") if is_cell else ("kernel", "bias")
        ordered = [path for path, _ in sorted(own.items(), key=lambda item: (len(item[1]), item[1]))]
        names = [*variables, *map(str, range(len(variables), len(own)))]
        named[re.sub(r"/?cell$", "", owner).removeprefix("layers/")] = dict(zip(ordered, names, strict=False))
    return named


def _named_groups(content: Hdf5) -> dict[str, dict[str, str]]:
    """Return the same for files of Keras 2: layers by the names of theirs and their variables by their own."""
    groups: dict[str, dict[str, str]] = {}
    for layer, attributes in content.attributes.items():
        for weight in attributes.get("weight_names", []):
            path = f"{layer}/{weight}".lstrip("/")
            if path not in content.arrays or path.startswith("optimizer_weights/"):
                continue
            inner = re.sub(r"(^|/)[a-z_0-9]*cell[a-z_0-9]*$", "", weight.rpartition("/")[0])
            name = layer if inner in ("", layer) else f"{layer}/{inner}"
            groups.setdefault(name.removeprefix("model_weights/"), {})[path] = variable_name(weight)
    return groups


def _layer(name: str, variables: Mapping[str, Tensor]) -> StoredLayer | None:
    """Return a recurrent layer, refused or not, or None if the variables are none's."""
    if not {"kernel", "recurrent_kernel"} <= set(variables) <= {"kernel", "recurrent_kernel", "bias"}:
        return None
    kernel, recurrent, bias = variables["kernel"], variables["recurrent_kernel"], variables.get("bias")
    reads = Signal()
    if recurrent.ndim != 2 or kernel.ndim != 2:
        return StoredLayer(name, "RNN", {}, reads, refusal="its kernels have more dimensions than two (a ConvLSTM?)")
    units, columns = recurrent.shape
    n_gates = columns // max(units, 1)
    kind = {1: "RNN", 3: "GRU", 4: "LSTM"}.get(n_gates)
    if kind is None or columns != n_gates * units or kernel.shape[1] != columns:
        refusal = f"kernels of shapes {tuple(kernel.shape)} and {tuple(recurrent.shape)} are those of no known kind"
        return StoredLayer(name, "RNN", {}, reads, refusal=refusal)
    said = _SAID_BY_CLASS.get(re.sub(r"_\d+$", "", name.rpartition("/")[2]))
    shapes = [(columns,), (2, columns)] if kind == "GRU" else [(columns,)]
    refusal = None
    if said not in (None, kind):
        refusal = f"its name says {said}, its shapes {kind}"
    elif re.search(r"(^|/)(backward_layer|backward_[a-z_0-9]+)(/|$)", name):
        refusal = "it is the backward half of a Bidirectional layer, which reads the sequence from its end"
    elif kind == "GRU" and bias is None:
        refusal = f"without a bias, whose shape would tell, its form (reset_after) is not known: {_REMEDY}"
    elif bias is not None and tuple(bias.shape) not in shapes:
        refusal = f"its bias has shape {tuple(bias.shape)} where {' or '.join(map(str, shapes))} was expected"
    elif not all(tensor.is_floating_point() for tensor in variables.values()):
        refusal = "its variables are no floating-point numbers"
    if refusal is not None:
        return StoredLayer(name, kind, {}, reads, refusal=refusal)
    reset_after = kind != "GRU" or (bias is not None and bias.ndim == 2)
    assumption = None if kind == "RNN" else _ACTIVATIONS  # an RNN's is asked for
    return StoredLayer(name, kind, converted(kind, variables), reads, None, reset_after, assumption=assumption)


def _unexplained(network: StoredNetwork, others: list[tuple[str, dict[str, str]]], content: Hdf5) -> list[str]:
    """Note readouts down, and return the names of layers that may lie anywhere."""
    names = []
    widths = {layer.weights["weight_hh"].shape[1]: layer.name for layer in network.layers if layer.weights}
    inputs = {layer.weights["weight_ih"].shape[1] for layer in network.layers if layer.weights}
    for name, own in others:
        shapes = [tuple(content.arrays[path].shape) for path in own]
        role = "not explained"
        is_dense = set(own.values()) <= {"kernel", "bias"} and len(shapes[0]) == 2
        if is_dense and shapes[0][0] in widths and shapes[0][1] not in inputs:  # else it may as well lie in front
            source = widths[shapes[0][0]]
            variables = {variable: content.arrays[path] for path, variable in own.items()}
            weight, reads = variables["kernel"].mT.contiguous(), Signal(source=source, is_last=True)
            network.readouts.append(StoredReadout(name, weight, variables.get("bias"), reads))
            role = f"linear layer {name!r}, taken to read {source!r}"
        elif len(shapes) == 1 and len(shapes[0]) == 2 and shapes[0][1] in inputs and "embedding" in name:
            role = f"embedding {name!r}, taken to lie in front"
            (tensor,) = own
            network.embeddings.append(StoredEmbedding(name, content.arrays[tensor], tensor))
        elif "seed_generator" in name:
            role = "state of a random number generator"
        else:
            names.append(name)
        network.roles |= dict.fromkeys(own, role)
    return names


def _silent_groups(content: Hdf5, groups: Mapping[str, object]) -> list[str]:
    """Return layers without variables of their own that the file names, other than those without effect."""
    top = {path.split("/")[1] for path in content.attributes if path.startswith("layers/")}
    used = {name.split("/")[0] for name in groups}
    return sorted(
        n for n in top - used if re.sub(r"(_\d+|\dd)$", "", n).removeprefix("spatial_") not in _WITHOUT_EFFECT
    )


def _reading(layer: StoredLayer, unexplained: list[str]) -> StoredLayer:
    """Return a layer with what may lie in front of it."""
    between = tuple(f"possibly {name!r}" for name in unexplained)
    if "forward_layer" in layer.name or "forward_" in layer.name.rpartition("/")[2]:
        between = (*between, "a Bidirectional layer whose forward half it is")
    return replace(layer, reads=Signal(between=between))
