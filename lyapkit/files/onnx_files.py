"""`read_onnx`: recurrent layers of an ONNX file, from its nodes and what is stored for them; nothing is executed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from lyapkit.files.errors import CheckpointError, reason
from lyapkit.files.limits import check_size
from lyapkit.files.onnx_graph import Graph, as_tensor
from lyapkit.files.stored_layers import StoredNetwork

if TYPE_CHECKING:
    import onnx


class _Beginning(Protocol):
    @property
    def start(self) -> bytes: ...


_FIELDS = bytes(number << 3 | 2 for number in (2, 3, 4, 6, 7, 8, 14, 20)) + bytes([5 << 3])


def begins_onnx(beginning: _Beginning) -> bool:
    """Return whether a file begins as one of ONNX, which has no signature: with its version, then one of its fields."""
    start = beginning.start
    return len(start) > 2 and start[0] == 1 << 3 and 0 < start[1] < 0x80 and start[2] in _FIELDS


def read_onnx(path: str | Path) -> StoredNetwork:
    """Return the recurrent layers of an ONNX file, with what is known of their surroundings.

    Parameters
    ----------
    path : str or Path
        The file. Weights that it keeps in other files must lie in its folder.

    Raises
    ------
    CheckpointError
        If it is no ONNX file, is damaged or too large, or refers to files outside its folder; or if onnx is missing.
    """
    path = Path(path)
    if importlib.util.find_spec("onnx") is None:
        raise CheckpointError(f"{path}: reading ONNX files needs onnx, pip install 'lyapkit[onnx]'")
    import onnx
    from google.protobuf.message import DecodeError

    check_size(path, path.stat().st_size)
    try:
        model = onnx.load_model(path, format="protobuf", load_external_data=False)
    except (DecodeError, RuntimeError, ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is not a readable ONNX file (damaged or truncated?): {reason(error)}") from error
    if not model.graph.node:
        raise CheckpointError(f"{path} is not a readable ONNX file: it holds no graph")
    try:
        return _network(model, path)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (ValueError, RuntimeError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"{path} is a damaged ONNX file: {reason(error)}") from error


def _network(model: onnx.ModelProto, path: Path) -> StoredNetwork:
    """Return what a model holds."""
    constants = _initializers(model.graph, path)
    if model.graph.sparse_initializer:
        raise CheckpointError("it holds sparse weights, which are not read")
    inputs, outputs = ([value.name for value in values] for values in (model.graph.input, model.graph.output))
    network = Graph(list(model.graph.node), constants, inputs, outputs).follow()
    for function in model.functions:
        if any(node.op_type in ("RNN", "GRU", "LSTM") for node in function.node):
            raise CheckpointError(
                f"a recurrent node lies in its function {function.name!r}: inline it before exporting"
            )
    network.tensors = constants
    network.roles = {name: network.roles.get(name, "not explained") for name in constants}
    return network


def _initializers(graph: onnx.GraphProto, path: Path) -> dict[str, Tensor]:
    """Return what the graph stores: numbers by name."""
    import onnx

    found: dict[str, Tensor] = {}
    n_bytes = 0
    for proto in graph.initializer:
        if onnx.external_data_helper.uses_external_data(proto):
            n_bytes += _load_external(proto, path)
            check_size(path, n_bytes)
        values = as_tensor(proto)
        if values is None:
            continue
        if proto.name in found:
            raise CheckpointError(f"it stores two tensors called {proto.name!r}")
        found[proto.name] = values
    return found


def _load_external(proto: onnx.TensorProto, path: Path) -> int:
    """Fill a tensor with what lies in another file of the folder, and return its size; onnx refuses paths out of it."""
    import onnx

    info = {entry.key: entry.value for entry in proto.external_data}
    try:
        location = Path(info.get("location", ""))
        if location.is_absolute() or ".." in location.parts or not (path.parent / location).is_file():
            raise ValueError(f"{str(location)!r} is no file in its folder")
        size = int(info.get("length", (path.parent / location).stat().st_size))
        check_size(path, size)
        onnx.external_data_helper.load_external_data_for_tensor(proto, str(path.parent.resolve()))
    except (ValueError, OSError, RuntimeError, onnx.checker.ValidationError) as error:
        raise CheckpointError(f"the values of {proto.name!r} cannot be read: {reason(error)}") from error
    return size
