"""An ONNX graph followed from its inputs to its outputs, to see what each recurrent node reads.

Nothing is computed: what runs through the graph are `Signal` objects, which say where they come from, what changed them
and what their dimensions are; and constants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lyapkit.files.errors import CheckpointError
from lyapkit.files.onnx_layers import INPUTS, recurrent_layer
from lyapkit.files.stored_layers import Signal, StoredEmbedding, StoredLayer, StoredNetwork, StoredReadout

RECURRENT = ("RNN", "GRU", "LSTM")
_ALSO_RECURRENT = ("DynamicQuantizeLSTM", "AttnLSTM", "Scan", "Loop")
_OF_ZEROS = ("Expand", "Slice", "Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Concat", "Gather", "Tile")
_AXES = {0: ("time", "direction", "batch", "unit"), 1: ("batch", "time", "direction", "unit")}  # by layout
_LAST_AXES = {0: ("direction", "batch", "unit"), 1: ("batch", "direction", "unit")}


class Graph:
    """What a graph holds: nodes in order, constants by name, and what runs along its edges, as it is followed."""

    def __init__(
        self, nodes: list[Any], constants: Mapping[str, Tensor], inputs: list[str], outputs: list[str]
    ) -> None:
        self.nodes, self.constants, self.outputs = nodes, dict(constants), outputs
        self.inputs = [name for name in inputs if name not in constants]
        self.signals = {name: Signal() for name in self.inputs}
        self.zeros = {name for name, values in constants.items() if not bool(values.any())}
        self.network = StoredNetwork()
        self.joined: dict[str, list[Signal]] = {}  # last states of several layers, one after the other
        self.readers: dict[str, str] = {}  # by what a constant is used

    def follow(self) -> StoredNetwork:
        """Return the recurrent layers, and what is around them."""
        for index, node in enumerate(self.nodes):
            if len(node.output) == 0:
                continue
            name = node.name or f"{node.op_type}_{index}"
            for position, given in enumerate(node.input):
                if given in self.constants:
                    input_name = INPUTS[position] if node.op_type in RECURRENT and position < len(INPUTS) else "input"
                    self.readers.setdefault(given, f"{input_name} of {node.op_type} {name!r}")
            if node.op_type in RECURRENT and node.domain in ("", "ai.onnx"):
                self._recurrent(node, name)
            else:
                self._other(node, name)
        self.network.readouts = list(self._readouts())
        self.network.roles = dict(self.readers)
        return self.network

    def _recurrent(self, node: Any, name: str) -> None:
        attributes = attributes_of(node)
        given = {role: value for role, value in zip(INPUTS, node.input, strict=False) if value}
        constants = {role: self.constants.get(value) for role, value in given.items() if role in (*INPUTS[1:5], "P")}
        reads = self.signals.get(given.get("X", ""), Signal(between=("a constant",)))
        layout = attributes.get("layout", 0)
        if layout not in (0, 1):
            raise CheckpointError(f"{node.op_type} {name!r} has the unknown layout {layout!r}")
        expected = tuple(axis for axis in _AXES[layout] if axis != "direction")
        if reads.source is not None and not reads.between and not reads.is_last and reads.axes != expected:
            reads = reads.through(f"a permutation of its dimensions to ({', '.join(reads.axes)})")
        assumption = None
        for role in ("initial_h", "initial_c"):
            if role in given and given[role] not in self.zeros:
                if given[role] in self.inputs:
                    assumption = f"{name!r} starts from a state that the model is given: zeros were taken"
                else:
                    reads = reads.through(f"a start state that is not zero ({role})")
        layer = recurrent_layer(name, node.op_type, attributes, constants, reads)
        self.network.layers.append(replace(layer, assumption=assumption))
        kinds = [Signal(name, axes=_AXES[layout])] + 2 * [Signal(name, is_last=True, axes=_LAST_AXES[layout])]
        for position, output in enumerate(node.output):
            if output:
                self.signals[output] = kinds[min(position, 2)]
                if position == 2:
                    self.signals[output] = kinds[2].through("being the cell state")

    def _other(self, node: Any, name: str) -> None:
        """Follow the signals through a node that is not recurrent."""
        kind, inputs = node.op_type, [given for given in node.input if given]
        if kind == "Constant":
            value = constant_of(node)
            if value is not None:
                self.constants[node.output[0]] = value
                if not bool(value.any()):
                    self.zeros.add(node.output[0])
            return
        if kind == "Identity" and inputs and inputs[0] in self.constants:
            self.constants[node.output[0]] = self.constants[inputs[0]]
        if self._is_zero(node, inputs):
            self.zeros.add(node.output[0])
        if kind in _ALSO_RECURRENT or _has_graph(node):
            refusal = f"a node {kind}, which is not understood, may be recurrent"
            if _may_be_recurrent(node):
                self.network.layers.append(StoredLayer(name, kind, {}, Signal(), refusal=refusal))
        carried = [self.signals[given] for given in inputs if given in self.signals]
        if not carried or kind == "Shape":
            return
        if kind == "Concat" and all(signal.axes[:1] == ("direction",) for signal in carried):
            self.joined[node.output[0]] = carried  # h_n of several layers
        if kind == "Gather" and self._is_embedding(node, carried[0]):
            table = StoredEmbedding(name, self.constants[node.input[0]], node.input[0])
            self.network.embeddings.append(table)
            changed = replace(carried[0], embedding=name)
        else:
            changed = self._through(node, name, carried)
        for output in node.output:
            self.signals[output] = changed

    def _is_zero(self, node: Any, inputs: list[str]) -> bool:
        """Return whether a node's output is zero whatever the network is given."""
        if node.op_type == "ConstantOfShape":
            value = attributes_of(node).get("value")
            return value is None or not bool(value.any())
        moved = inputs if node.op_type == "Concat" else inputs[:1]
        return node.op_type in _OF_ZEROS and bool(moved) and all(given in self.zeros for given in moved)

    def _is_embedding(self, node: Any, indices: Signal) -> bool:
        """Return whether a node looks up rows of a stored matrix by the network's inputs."""
        table = self.constants.get(node.input[0])
        by_rows = attributes_of(node).get("axis", 0) == 0
        return indices == Signal() and by_rows and table is not None and table.ndim == 2 and table.is_floating_point()

    def _through(self, node: Any, name: str, carried: list[Signal]) -> Signal:
        """Return what becomes of a signal in a node: dimensions that move, or another change."""
        signal, kind, attributes = carried[0], node.op_type, attributes_of(node)
        others = [given for given in node.input[1:] if given]
        values = [self.constants.get(given) for given in others]
        title = f"{kind} {name!r}"
        if kind == "Gather" and attributes.get("axis", 0) == 0 and signal.axes[:1] == ("direction",):
            of_layers = self.joined.get(node.input[0], [signal] if not signal.between else [])
            index = values[0].tolist() if len(values) == 1 and values[0] is not None and values[0].ndim == 0 else None
            if isinstance(index, int) and -len(of_layers) <= index < len(of_layers):
                return replace(of_layers[index], axes=signal.axes[1:])
        if len(carried) == 1 and node.input[0] in self.signals:
            if kind == "Identity":
                return signal
            if kind == "Dropout" and (len(values) < 2 or (values[1] is not None and not bool(values[1]))):
                return signal
            if kind == "Cast" and attributes.get("to") in (1, 11):  # float32, float64: rounding alone
                return signal
            if signal.source is None and not signal.between and kind in ("Transpose", "Squeeze", "Unsqueeze"):
                return signal  # how the inputs are laid out is for who runs the model
            axes = _moved(kind, signal.axes, attributes, values)
            if axes is not None:
                return replace(signal, axes=axes)
            if kind in ("Gather", "Slice") and _takes_last(kind, signal.axes, attributes, values):
                remaining = tuple(axis for axis in signal.axes if axis != "time" or kind == "Slice")
                return replace(signal, axes=remaining, is_last=True)
        return signal.through(title if len(carried) == 1 else f"{title} with other signals")

    def _readouts(self) -> Iterator[StoredReadout]:
        """Yield the linear layers directly on top of recurrent ones: Gemm, or MatMul with Add."""
        users: dict[str, list[Any]] = {}
        for node in self.nodes:
            for given in node.input:
                users.setdefault(given, []).append(node)
        for index, node in enumerate(self.nodes):
            if node.op_type not in ("Gemm", "MatMul") or len(node.input) < 2:
                continue
            reads, weight = self.signals.get(node.input[0]), self.constants.get(node.input[1])
            if reads is None or reads.source is None or reads.between or weight is None or weight.ndim != 2:
                continue
            attributes, output, bias = attributes_of(node), node.output[0], None
            if node.op_type == "Gemm":
                if (attributes.get("alpha", 1.0), attributes.get("beta", 1.0)) != (1.0, 1.0) or attributes.get(
                    "transA"
                ):
                    continue
                bias = self.constants.get(node.input[2]) if len(node.input) > 2 and node.input[2] else None
            weight = weight if attributes.get("transB") else weight.mT.contiguous()
            following = users.get(output, [])
            if bias is None and len(following) == 1 and following[0].op_type == "Add":
                added = [self.constants.get(given) for given in following[0].input if given != output]
                if len(added) == 1 and added[0] is not None and added[0].ndim <= 1:
                    bias, output = added[0], following[0].output[0]
            if bias is not None:
                bias = bias.expand(len(weight)).contiguous()
            after = None if output in self.outputs else ", ".join(user.op_type for user in users.get(output, []))
            yield StoredReadout(node.name or f"{node.op_type}_{index}", weight, bias, reads, after)


def _moved(
    kind: str, axes: tuple[str, ...], attributes: Mapping[str, Any], values: list[Tensor | None]
) -> tuple[str, ...] | None:
    """Return the dimensions after a node that only moves them or drops one of a single entry, None if it does more."""
    if kind == "Transpose":
        order = attributes.get("perm") or list(range(len(axes)))[::-1]
        return tuple(axes[position] for position in order) if sorted(order) == list(range(len(axes))) else None
    if kind == "Squeeze":
        positions = attributes.get("axes") or (values[0].tolist() if values and values[0] is not None else None)
        if positions is None:
            return None
        dropped = {position % max(len(axes), 1) for position in positions}
        is_one = dropped == {axes.index("direction")} if "direction" in axes else False
        return tuple(axis for axis in axes if axis != "direction") if is_one else None
    if kind == "Reshape" and values and values[0] is not None and "direction" in axes:
        shape = values[0].tolist()  # (0, 0, -1) puts direction and unit, which must be neighbours, into one
        if axes[-2:] == ("direction", "unit") and shape == [0] * (len(axes) - 2) + [-1]:
            return (*axes[:-2], "unit")
    return None


def _takes_last(kind: str, axes: tuple[str, ...], attributes: Mapping[str, Any], values: list[Tensor | None]) -> bool:
    """Return whether a node takes the last step of what it is given."""
    known = [value for value in values if value is not None]
    if "time" not in axes or len(known) < len(values) or not values:
        return False
    time = axes.index("time")
    if kind == "Gather":
        return attributes.get("axis", 0) % len(axes) == time and known[0].flatten().tolist() == [-1]
    if len(known) < 3:
        return False
    starts, ends, taken = (value.tolist() for value in known[:3])
    step = known[3].tolist() if len(known) > 3 else [1]
    return [axis % len(axes) for axis in taken] == [time] and starts == [-1] and ends[0] >= 2**31 - 1 and step == [1]


def attributes_of(node: Any) -> dict[str, Any]:
    """Return a node's attributes; tensors as tensors, graphs left out."""
    import onnx

    found: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
            continue
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.type == onnx.AttributeProto.TENSOR:
            value = as_tensor(value)
        elif attribute.type == onnx.AttributeProto.STRING:
            value = value.decode("utf-8", errors="replace")
        elif attribute.type == onnx.AttributeProto.STRINGS:
            value = [text.decode("utf-8", errors="replace") for text in value]
        elif attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
            value = list(value)
        found[attribute.name] = value
    return found


def constant_of(node: Any) -> Tensor | None:
    """Return the value of a Constant node, None if it is no number."""
    attributes = attributes_of(node)
    value = next((attributes[name] for name in ("value", "value_float", "value_int") if name in attributes), None)
    if value is None:
        value = next((attributes[name] for name in ("value_floats", "value_ints") if name in attributes), None)
    return value if value is None or isinstance(value, Tensor) else torch.as_tensor(value)


def as_tensor(proto: Any) -> Tensor | None:
    """Return an ONNX tensor, whose data are in the file, as PyTorch's; None if it holds no numbers of a usual type.

    Raises
    ------
    CheckpointError
        If it is damaged.
    """
    import onnx

    if proto.data_location == onnx.TensorProto.EXTERNAL or proto.data_type == onnx.TensorProto.STRING:
        return None
    try:
        values = onnx.numpy_helper.to_array(proto)
    except (ValueError, TypeError, RuntimeError, KeyError, OverflowError, MemoryError) as error:
        raise CheckpointError(f"tensor {proto.name!r} is damaged: {error}") from error
    if values.dtype.kind == "f" or values.dtype.name == "bfloat16":
        return torch.from_numpy(np.array(values, dtype=np.float32 if values.dtype.itemsize < 4 else values.dtype))
    return torch.from_numpy(np.array(values)) if values.dtype.kind in "iub" and values.dtype.name in _NUMBERS else None


_NUMBERS = {"int8", "uint8", "int16", "int32", "int64", "bool", "uint16", "uint32", "uint64"}


def _has_graph(node: Any) -> bool:
    import onnx

    return any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute)


def _may_be_recurrent(node: Any) -> bool:
    """Return whether a node loops, or a graph inside it does or holds recurrent nodes."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if one.op_type in RECURRENT + _ALSO_RECURRENT:
            return True
        for attribute in one.attribute:
            for graph in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
                waiting += graph.node
    return False
