"""Tensors from `.safetensors` files, alone or as shards that an index lists."""

from __future__ import annotations

import json
from pathlib import Path

import safetensors.torch
from torch import Tensor

from lyapkit.files.errors import CheckpointError, listed, reason
from lyapkit.files.limits import check_size

MOST_TENSORS = 50_000
HEADER_LIMIT = 32 << 20  # bytes; a header of 100 000 tensors takes 10 MB
INDEX_LIMIT = 64 << 20
MOST_CONTAINERS = 1000  # in an index, which is one mapping, and a few words about it


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Raises
    ------
    CheckpointError
        If it is damaged.
    """
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    try:
        if header > HEADER_LIMIT:
            raise ValueError(f"its header would take {header} bytes")
        check_size(path, path.stat().st_size)
        with path.open("rb") as file:
            n_tensors = file.read(8 + header).count(b'"dtype"')
        if n_tensors > MOST_TENSORS:
            raise ValueError(f"it holds {n_tensors} tensors, more than the {MOST_TENSORS} that a file may")
        return safetensors.torch.load_file(path)
    except CheckpointError:
        raise
    except Exception as error:  # damaged files raise whatever their bytes suggest
        raise CheckpointError(f"{path} is not a readable safetensors file: {reason(error)}") from error


def read_index(path: Path) -> tuple[dict[str, str], list[Path]]:
    """Return an index of shards: the tensors' names to the files that hold them, and those files.

    Raises
    ------
    CheckpointError
        If it is damaged, or a shard is missing or lies in another folder.
    """
    try:
        if path.stat().st_size > INDEX_LIMIT:
            raise ValueError(f"it takes {path.stat().st_size} bytes")
        content = path.read_bytes()
        if content.count(b"{") + content.count(b"[") > MOST_CONTAINERS:
            raise ValueError(f"it holds more than {MOST_CONTAINERS} lists and mappings")
        weight_map = json.loads(content)["weight_map"]
        if not all(isinstance(shard, str) for shard in weight_map.values()):
            raise TypeError("its weight_map does not map names to files")
    except Exception as error:  # as above
        raise CheckpointError(
            f"{path} is not a readable index of shards, a JSON file with a weight_map: {reason(error)}"
        ) from error
    names = sorted(set(weight_map.values()))
    if elsewhere := [name for name in names if Path(name).name != name or name in ("", ".", "..")]:
        raise CheckpointError(f"{path} names shards outside its folder, which are not read: {listed(elsewhere)}")
    shards = [path.with_name(name) for name in names]
    if missing := [shard.name for shard in shards if not shard.is_file()]:
        raise CheckpointError(f"{path} lists shards that are not beside it: {listed(missing)}")
    return weight_map, shards
