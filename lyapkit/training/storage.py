"""Files of a training run: tensors with a description, written whole or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from lyapkit.files.writing import replacing

_CHECKPOINT = re.compile(r"network_(\d+)_step_(\d+)\.safetensors")


def save_tensors(tensors: Mapping[str, Tensor], path: Path, about: Mapping[str, object]) -> None:
    """Write tensors to a safetensors file, atomically, with `about` as JSON texts in its metadata.

    Raises
    ------
    OSError
        If it cannot be written, because the disk is full for instance; the file is then as it was.
    """
    content = safetensors.torch.save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
        {name: json.dumps(value, sort_keys=True) for name, value in about.items()},
    )
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise OSError(f"{error}; what was there before is kept") from error


def read_state(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Return the tensors and the configuration of a run.

    Raises
    ------
    ValueError
        If the file is not one that `save_tensors` wrote.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            configuration = json.loads(file.metadata()["configuration"])
            return {name: file.get_tensor(name) for name in file.keys()}, configuration  # noqa: SIM118
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not the state of a training run: {error}") from error


def checkpoint_path(folder: Path, network: int, iteration: int) -> Path:
    """Return where the checkpoint of a network at an iteration is kept."""
    return folder / f"network_{network:02d}_step_{iteration:07d}.safetensors"


def checkpoints(folder: str | Path, network: int = 0) -> dict[int, Path]:
    """Return the checkpoints of a network in the folder of a run: iteration to path, for `over_training`.

    Raises
    ------
    FileNotFoundError
        If there are none.
    """
    found = {}
    for path in sorted(Path(folder).glob("network_*_step_*.safetensors")):
        match = _CHECKPOINT.fullmatch(path.name)
        if match and int(match[1]) == network:
            found[int(match[2])] = path
    if not found:
        raise FileNotFoundError(f"{folder} holds no checkpoints of network {network}")
    return found
