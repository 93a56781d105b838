"""`load_system`: a recurrent network from a file of tensors, without running any code that the file may hold."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from lyapkit.files.tensors import CheckpointError, read_tensors
from lyapkit.models.layers import GRULayer, LSTMLayer
from lyapkit.models.network import Network, RecurrentNetwork
from lyapkit.models.recurrent import Recurrent
from lyapkit.models.refined_lstm import RefinedLSTM
from lyapkit.models.s4 import S4
from lyapkit.models.wcrnn import WCRNN

_RECURRENT = re.compile(
    r"^(?P<prefix>(?:.*\.)?)(?P<name>(?:weight_(?:ih|hh|hr)|bias_(?:ih|hh))(?:_l\d+)?(?:_reverse)?)$"
)
_OWN = {  # lyapkit's networks, by a tensor that no other has; and the names of all their tensors
    "residual.values": (
        WCRNN,
        re.compile(r"((recurrent|input|readout)\.(weight|bias)|residual\.values|coupling|_extra_state)"),
    ),
    "gates.recurrent.weight": (RefinedLSTM, re.compile(r"(gates\.(input|recurrent)|readout)\.(weight|bias)")),
    "log_step": (S4, re.compile(r"A|log_step|(in|out)put_weight|(input|readout)\.(weight|bias)")),
}

T = TypeVar("T")


def load_system(
    path: str | Path, *, prefix: str | None = None, nonlinearity: str | None = None, key: str | None = None
) -> Recurrent | Network:
    """Return the recurrent network in a checkpoint file.

    What it is, an RNN, a GRU, an LSTM or a network of lyapkit's own (WCRNN, UR-LSTM, S4), its sizes, layers, biases and
    projection, is read off the names and shapes of the tensors. Nothing in the file can run code: pickled files are
    read with ``weights_only=True``.

    Parameters
    ----------
    path : str or Path
        A file of any of the kinds in `lyapkit.files.tensors.FORMATS`, whatever its suffix.
    prefix : str, optional
        Which recurrent module to take, by the beginning of its tensors' names ("encoder.lstm."). Needed only if
        the file has several.
    nonlinearity : "tanh" or "relu", optional
        An Elman network's activation function, which its parameters do not tell.
    key : str, optional
        Which state dict to take, by the keys that lead to it, "ema/model" for instance. Needed only if the file holds
        several.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, of an unknown type, or unsafe; if it holds no recurrent network, several and
        no `prefix`, or one that has no Lyapunov spectrum (a bidirectional one).
    """
    path = Path(path)
    return _from_file(
        path, lambda: _network(_chosen(path, read_tensors(path, key), prefix)[1], nonlinearity, _source(path))
    )


def load_checkpoint(path: str | Path, **options: str | None) -> Recurrent | Network:
    """Return what `load_system` does. Deprecated: the old name of it."""
    warnings.warn("load_checkpoint is called load_system now", DeprecationWarning, stacklevel=2)
    return load_system(path, **options)


def load_network(
    path: str | Path,
    *,
    prefix: str | None = None,
    nonlinearity: str | None = None,
    readout: str | None = None,
    key: str | None = None,
) -> Network:
    """Return the recurrent network in a checkpoint file together with its readout, for what needs a loss.

    Parameters
    ----------
    path, prefix, nonlinearity, key
        As for `load_system`.
    readout : str, optional
        The linear layer that reads the uppermost layer's last hidden state, by the beginning of its tensors' names
        ("decoder."). Needed only if several would fit.

    Raises
    ------
    CheckpointError
        As `load_system`; or if there is no readout, or several and none is chosen.
    """
    path = Path(path)
    tensors = read_tensors(path, key)
    wanted, parameters = _chosen(path, tensors, prefix)

    def build() -> Network:
        if (kind := _own_kind(parameters)) is not None:
            return kind.from_parameters(parameters, _source(path))
        recurrent = _module(parameters, nonlinearity)
        others = {name: tensor for name, tensor in tensors.items() if not name.startswith(wanted) or not wanted}
        network = RecurrentNetwork(recurrent, _readout(others, recurrent.proj_size or recurrent.hidden_size, readout))
        network.source = _source(path)
        return network

    return _from_file(path, build)


def _from_file(path: Path, build: Callable[[], T]) -> T:
    """Return what `build` makes of a file; what is wrong with it names the file."""
    try:
        return build()
    except CheckpointError:
        raise
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def _source(path: Path) -> dict[str, str]:
    return {"checkpoint": path.name, "checkpoint_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def _chosen(path: Path, tensors: Mapping[str, Tensor], prefix: str | None) -> tuple[str, dict[str, Tensor]]:
    """Return the prefix and the parameters of the one recurrent module, or of the one asked for."""
    modules = recurrent_modules(tensors)
    if not modules:
        raise CheckpointError(
            f"{path} holds no recurrent layer: no tensor is called weight_hh_l0 or weight_hh, as in nn.RNN, nn.GRU, "
            f"nn.LSTM and their cells, or as in lyapkit's own networks; 'lyapkit inspect {path}' lists what it holds"
        )
    wanted = prefix if prefix is None or prefix.endswith(".") or not prefix else prefix + "."
    if wanted is None:
        if len(modules) > 1:
            raise CheckpointError(
                f"{path} holds several recurrent modules, {_listed(modules)}: choose one with prefix="
            )
        wanted = next(iter(modules))
    elif wanted not in modules:
        raise CheckpointError(f"{path} holds no recurrent module with prefix {prefix!r}, only {_listed(modules)}")
    return wanted, modules[wanted]


def _module(parameters: Mapping[str, Tensor], nonlinearity: str | None) -> nn.RNNBase:
    """Return the PyTorch module that a recurrent module's parameters, or a cell's, belong to."""
    layers = Recurrent.from_parameters(parameters, nonlinearity).layers
    named = {
        name if name.rpartition("_l")[2].isdigit() else f"{name}_l0": tensor for name, tensor in parameters.items()
    }
    first = layers[0]
    options = {"num_layers": len(layers), "bias": "bias_ih_l0" in named, "dtype": first.weight_hh.dtype}
    if isinstance(first, LSTMLayer) and first.weight_hr is not None:
        options["proj_size"] = first.sizes[0]
    kind = nn.LSTM if isinstance(first, LSTMLayer) else nn.GRU if isinstance(first, GRULayer) else nn.RNN
    if kind is nn.RNN:
        options["nonlinearity"] = nonlinearity
    module = kind(first.input_size, first.hidden_size, **options)
    module.load_state_dict(named)
    return module


def _readout(tensors: Mapping[str, Tensor], size: int, wanted: str | None) -> nn.Linear:
    """Return the linear layer among tensors that takes `size` features, or the one asked for."""
    wanted = wanted if wanted is None or wanted.endswith(".") or not wanted else wanted + "."
    found = {
        name.removesuffix("weight"): tensor
        for name, tensor in tensors.items()
        if ("." + name).endswith(".weight") and tensor.ndim == 2 and tensor.shape[1] == size
    }
    if wanted is not None and wanted not in found:
        raise ValueError(f"no linear layer {wanted!r} takes {size} features; these do: {_listed(found) or 'none'}")
    if wanted is None and len(found) != 1:
        raise ValueError(
            f"several linear layers take the network's {size} features, {_listed(found)}: choose the readout"
            if found
            else f"there is no readout: no linear layer takes the network's {size} features"
        )
    prefix = next(iter(found)) if wanted is None else wanted
    weight, bias = found[prefix], tensors.get(f"{prefix}bias")
    readout = nn.Linear(size, len(weight), bias=bias is not None, dtype=weight.dtype)
    readout.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    return readout


def inspect_checkpoint(path: str | Path, *, key: str | None = None) -> dict[str, str]:
    """Return the recurrent modules in a checkpoint file: prefix to a line that describes the module.

    `path` and `key` are those of `load_checkpoint`.

    Raises
    ------
    CheckpointError
        If the file cannot be read.
    """
    descriptions = {}
    for prefix, parameters in recurrent_modules(read_tensors(path, key)).items():
        try:
            descriptions[prefix] = str(_network(parameters, "tanh")).replace("tanh RNN", "RNN")
        except ValueError as error:
            descriptions[prefix] = f"not usable: {error}"
    return descriptions


def recurrent_modules(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the recurrent modules among named tensors: prefix to the module's parameters by their own names."""
    modules: dict[str, dict[str, Tensor]] = {}
    for full_name, tensor in tensors.items():
        if match := _RECURRENT.match(full_name):
            modules.setdefault(match["prefix"], {})[match["name"]] = tensor
    modules = {prefix: module for prefix, module in modules.items() if any(n.startswith("weight_hh") for n in module)}
    for known_by, (_, names) in _OWN.items():
        for prefix in [name.removesuffix(known_by) for name in tensors if ("." + name).endswith("." + known_by)]:
            own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            modules[prefix] = {name: tensor for name, tensor in own.items() if names.fullmatch(name)}
    return modules


def _own_kind(parameters: Mapping[str, Tensor]) -> type[WCRNN | RefinedLSTM | S4] | None:
    """Return which of lyapkit's own networks the parameters are of, if any."""
    return next((kind for known_by, (kind, _) in _OWN.items() if known_by in parameters), None)


def _network(
    parameters: Mapping[str, Tensor], nonlinearity: str | None, source: Mapping[str, str] | None = None
) -> Recurrent | Network:
    """Return the network that a recurrent module's parameters describe."""
    if (kind := _own_kind(parameters)) is not None:
        return kind.from_parameters(parameters, source)
    return Recurrent.from_parameters(parameters, nonlinearity, source)


def _listed(modules: Mapping[str, object]) -> str:
    return ", ".join(repr(prefix) for prefix in sorted(modules))
