"""What `torch.save` wrote, without running any code that the file may hold; or why it is not read."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import torch

from lyapkit.files.errors import CheckpointError, reason
from lyapkit.files.limits import check_size

RESAVE = "save the weights alone, torch.save(model.state_dict(), path) or safetensors.torch.save_file"


def read_torch(path: Path) -> object:
    """Return what `torch.save` wrote, tensors and plain containers only, on the CPU.

    Raises
    ------
    CheckpointError
        If the file is damaged, or holds objects whose reading would run code.
    """
    try:
        if zipfile.is_zipfile(path):
            _check_archive(path)
        with path.open("rb") as file:  # torch takes a path called .safetensors for something else
            return torch.load(file, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # damaged files raise whatever their bytes suggest
        raise CheckpointError(_why_refused(path, error)) from error


def _check_archive(path: Path) -> None:
    """Raise if an archive is TorchScript, is too large unpacked, or does not hold what its checksums say."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.filename.endswith("/constants.pkl") for member in members):
            raise CheckpointError(
                f"{path} is a TorchScript archive, a program, and reading it would run its code, so it was not read: "
                "load it where you trust it, model = torch.jit.load(path), and save its weights, "
                "torch.save(dict(model.state_dict()), other_path)"
            )
        check_size(path, sum(member.file_size for member in members))


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
            + RESAVE
        )
    return f"{path} is not a readable PyTorch file (damaged or truncated?): {reason(error)}"
