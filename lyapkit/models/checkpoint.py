"""`load_checkpoint`: a recurrent network from a file of tensors, without running any code that the file may hold."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from lyapkit.models.recurrent import Recurrent
from lyapkit.models.wcrnn import WCRNN

TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")
_WRAPPINGS = ("state_dict", "model_state_dict", "model")
_RECURRENT = re.compile(
    r"^(?P<prefix>(?:.*\.)?)(?P<name>(?:weight_(?:ih|hh|hr)|bias_(?:ih|hh))(?:_l\d+)?(?:_reverse)?)$"
)
_RESIDUAL = "residual.values"  # by which a WCRNN is known
_OF_WCRNN = re.compile(r"^((recurrent|input|readout)\.(weight|bias)|residual\.values|coupling|_extra_state)$")


class CheckpointError(ValueError):
    """A file that cannot be read, is unsafe to read, or does not hold the one recurrent network asked for."""


def load_checkpoint(
    path: str | Path, *, prefix: str | None = None, nonlinearity: str | None = None
) -> Recurrent | WCRNN:
    """Return the recurrent network in a checkpoint file.

    What it is, an RNN, a GRU, an LSTM or a WCRNN, its sizes, layers, biases and projection, is read off the names and
    shapes of the tensors. Nothing in the file can run code: pickled files are read with ``weights_only=True``.

    Parameters
    ----------
    path : str or Path
        A `.safetensors` file, or a `.pt`, `.pth`, `.ckpt` or `.bin` file with a state dict, plain or under
        `state_dict`, `model_state_dict` or `model`.
    prefix : str, optional
        Which recurrent module to take, by the beginning of its tensors' names ("encoder.lstm."). Needed only if
        the file has several.
    nonlinearity : "tanh" or "relu", optional
        An Elman network's activation function, which its parameters do not tell.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, of an unknown type, or unsafe; if it holds no recurrent network, several and
        no `prefix`, or one that has no Lyapunov spectrum (a bidirectional one).
    """
    path = Path(path)
    modules = recurrent_modules(read_tensors(path))
    if not modules:
        raise CheckpointError(
            f"{path} holds no recurrent layer: no tensor is called weight_hh_l0 or weight_hh, as in nn.RNN, nn.GRU, "
            f"nn.LSTM and their cells, or residual.values, as in a WCRNN; 'lyapkit inspect {path}' lists what it holds"
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
    source = {"checkpoint": path.name, "checkpoint_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    try:
        return _network(modules[wanted], nonlinearity, source)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def inspect_checkpoint(path: str | Path) -> dict[str, str]:
    """Return the recurrent modules in a checkpoint file: prefix to a line that describes the module.

    Raises
    ------
    CheckpointError
        If the file cannot be read.
    """
    descriptions = {}
    for prefix, parameters in recurrent_modules(read_tensors(Path(path))).items():
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
    for prefix in [name.removesuffix(_RESIDUAL) for name in tensors if ("." + name).endswith("." + _RESIDUAL)]:
        own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        modules[prefix] = {name: tensor for name, tensor in own.items() if _OF_WCRNN.match(name)}
    return modules


def _network(
    parameters: Mapping[str, Tensor], nonlinearity: str | None, source: Mapping[str, str] | None = None
) -> Recurrent | WCRNN:
    """Return the network that a recurrent module's parameters describe."""
    if _RESIDUAL in parameters:
        return WCRNN.from_parameters(parameters, source)
    return Recurrent.from_parameters(parameters, nonlinearity, source)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the named tensors of a checkpoint file, on the CPU.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, of an unknown type or holds something else, or needs code to be run.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    if path.suffix == ".safetensors":
        try:
            return safetensors.torch.load_file(path)
        except (safetensors.SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{path} is not a readable safetensors file: {error}") from error
    if path.suffix not in TORCH_SUFFIXES:
        raise CheckpointError(
            f"{path}: unknown type {path.suffix!r}, expected .safetensors or {', '.join(TORCH_SUFFIXES)}"
        )
    return _state_dict(read_torch(path), path)


def read_torch(path: Path) -> object:
    """Return what `torch.save` wrote, tensors and plain containers only, on the CPU.

    Raises
    ------
    CheckpointError
        If the file is damaged, or holds objects whose reading would run code.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise whatever their bytes suggest
        raise CheckpointError(_why_refused(path, error)) from error


def _why_refused(path: Path, error: Exception) -> str:
    """Return what is wrong with a file that torch.load refused and what to do about it."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # not an archive that torch can look into
        names = re.findall(r"Unsupported (?:global|operand).*?GLOBAL (\S+)|GLOBAL (\S+)", str(error))
        names = sorted({name for pair in names for name in pair if name})
    if names:
        return (
            f"{path} holds Python objects ({', '.join(names)}) and reading them could run code, so it was not read: "
            "save the weights alone, torch.save(model.state_dict(), path) or safetensors.torch.save_file"
        )
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"{path} is not a readable PyTorch file (damaged or truncated?): {reason}"


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    """Return the state dict in what a file holds, unwrapped; what else lies beside a wrapped one does not matter."""
    for _ in range(3):
        if not isinstance(content, Mapping):
            break
        inner = next((content[name] for name in _WRAPPINGS if isinstance(content.get(name), Mapping)), None)
        if inner is not None:
            content = inner
            continue
        named = {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
        if named:
            return named
        break
    raise CheckpointError(f"{path} holds no state dict, a mapping of names to tensors, but a {type(content).__name__}")


def _listed(modules: Mapping[str, object]) -> str:
    return ", ".join(repr(prefix) for prefix in sorted(modules))
