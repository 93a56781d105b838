"""`read_tensors`: the named tensors of a checkpoint file, without running any code that the file may hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from lyapkit.files.datasets import reason

TORCH_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin")
_WRAPPINGS = ("state_dict", "model_state_dict", "model")


class CheckpointError(ValueError):
    """A file that cannot be read, is unsafe to read, or does not hold the one recurrent network asked for."""


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
    return f"{path} is not a readable PyTorch file (damaged or truncated?): {reason(error)}"


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
