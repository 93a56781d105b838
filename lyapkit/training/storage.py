"""Files of a training run: tensors with a description, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from lyapkit.files.errors import reason
from lyapkit.files.writing import replacing

DIGEST = "sha256"
_CHECKPOINT = re.compile(r"network_(\d+)_step_(\d+)\.safetensors")


def save_tensors(tensors: Mapping[str, Tensor], path: Path, about: Mapping[str, object]) -> None:
    """Write tensors to a safetensors file, atomically, with a digest, and `about` as JSON texts.

    Raises
    ------
    OSError
        If it cannot be written, because the disk is full for instance; the file is then as it was.
    """
    own = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    if len({tensor.untyped_storage().data_ptr() for tensor in own.values()}) < len(own):  # tied: each as often as named
        own = {name: tensor.clone() for name, tensor in own.items()}
    metadata = {name: json.dumps(value, sort_keys=True) for name, value in about.items()}
    content = safetensors.torch.save(own, metadata | {DIGEST: digest(own)})
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise OSError(f"{error}; what was there before is kept") from error


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of tensors with their names, types and shapes."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the configuration of a run.

    Raises
    ------
    ValueError
        If the file is not one that `save_tensors` wrote, or is damaged.
    """
    try:
        tensors, metadata = _read(path)
        configuration = json.loads(metadata["configuration"])
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not the state of a training run: {error}") from error
    if metadata.get(DIGEST, "") not in ("", digest(tensors)):
        raise ValueError(
            f"{path} is damaged: its tensors are not those it was written with. The run cannot go on from it; train "
            "anew in another folder"
        )
    return tensors, configuration


def damage(path: Path) -> str:
    """Return in words what is wrong with a file that `save_tensors` wrote; "" if nothing is."""
    try:
        tensors, metadata = _read(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        return f"not readable: {reason(error)}"
    return "" if metadata.get(DIGEST, "") in ("", digest(tensors)) else "its tensors are not those it was written with"


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safetensors.safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def checkpoint_path(folder: Path, network: int, iteration: int) -> Path:
    """Return where the checkpoint of a network at an iteration is kept."""
    return folder / f"network_{network:02d}_step_{iteration:07d}.safetensors"


def checkpoints(folder: str | Path, network: int = 0, *, check: bool = True) -> dict[int, Path]:
    """Return the checkpoints of a network in the folder of a run: iteration to path, for `over_training`.

    Parameters
    ----------
    folder : str or Path
        Of the run.
    network : int
        Number of the network.
    check : bool
        Whether to compare each file with the digest it was written with.

    Raises
    ------
    FileNotFoundError
        If there are none.
    ValueError
        If some are damaged: which.

    Examples
    --------
    >>> import lyapkit as lk
    >>> import tempfile
    >>> network = lk.build_network("lstm", 1, 8, 10)
    >>> options = {"batch_size": 16, "n_test_samples": 20, "checkpoints": [0, 4]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = lk.train([network], lk.task("digits"), 4, folder=folder, **options)
    ...     list(lk.checkpoints(folder))
    [0, 4]
    """
    found = {}
    for path in sorted(Path(folder).glob("network_*_step_*.safetensors")):
        match = _CHECKPOINT.fullmatch(path.name)
        if match and int(match[1]) == network:
            found[int(match[2])] = path
    if not found:
        raise FileNotFoundError(f"{folder} holds no checkpoints of network {network}")
    if damaged := [f"{path.name} ({word})" for path in found.values() if check and (word := damage(path))]:
        raise ValueError(f"{folder} holds damaged checkpoints: {', '.join(damaged)}; remove them to use the others")
    return found
