"""`read_tensors`: the named tensors of a checkpoint file of any kind, without running any code that it may hold.

What a file is, its first bytes tell (and the names in it, if it is a zip archive), never its name. A new kind of file
is one entry in `FORMATS`.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from lyapkit.files.containers import find_state_dict
from lyapkit.files.errors import CheckpointError, CheckpointWarning, listed
from lyapkit.files.keras_files import begins_keras, read_keras
from lyapkit.files.limits import check_size
from lyapkit.files.lone_shards import refuse_lone_shard
from lyapkit.files.onnx_files import begins_onnx, read_onnx
from lyapkit.files.other_files import what_else
from lyapkit.files.safetensors_files import read_index, read_safetensors
from lyapkit.files.stored_layers import StoredNetwork
from lyapkit.files.torch_files import read_torch
from lyapkit.files.values import plain

__all__ = ["FORMATS", "Beginning", "CheckpointError", "CheckpointWarning", "Format", "NamedTensors", "read_tensors"]


MOST_MEMBERS = 50_000  # of an archive: PyTorch's have one for each tensor


class NamedTensors(dict[str, Tensor]):
    """The named tensors of a file, as they are stored, and what was assumed in reading them.

    Attributes
    ----------
    format : str
        What kind of file it is.
    notes : list of str
        What had to be assumed, one sentence without a full stop each; for people.
    files : list of Path
        The files that were read: one, or an index and its shards.
    network : StoredNetwork or None
        The layers, if the file describes them (Keras, ONNX); names alone tell nothing then.
    """

    def __init__(self, tensors: Mapping[str, Tensor] | None = None, notes: Iterable[str] = ()) -> None:
        super().__init__(tensors or {})
        self.format = ""
        self.notes = list(notes)
        self.files: list[Path] = []
        self.network: StoredNetwork | None = None


class Beginning(NamedTuple):
    """What tells a file's kind: its first bytes, and the names of its members if it is a zip archive."""

    start: bytes
    members: tuple[str, ...]


@dataclass(frozen=True)
class Format:
    """A kind of checkpoint file.

    Attributes
    ----------
    name : str
        What people call it.
    recognises : callable
        Whether a file that begins so is of this kind.
    read : callable
        The content of the file at a path: `NamedTensors`, with torch's names for recurrent layers; a `StoredNetwork`,
        if the file describes its layers; or tensors in plain containers, among which the state dict is then sought.
        Raises `CheckpointError` only.
    """

    name: str
    recognises: Callable[[Beginning], bool]
    read: Callable[[Path], object]


def read_tensors(path: str | Path, key: str | None = None) -> NamedTensors:
    """Return the named tensors of a checkpoint file, on the CPU, in the dtypes in which they are stored.

    Parameters
    ----------
    path : str or Path
        A file of one of the `FORMATS`; its suffix does not matter.
    key : str, optional
        Which state dict to take of a file that holds several, by the keys that lead to it, separated by "/".

    Returns
    -------
    NamedTensors
        Names to tensors, with `notes` on what was assumed; what is assumed about the place of the state dict is
        warned of, too.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, of an unknown kind or holds something else, or needs code to be run; if it
        holds several state dicts and no `key` is given.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    refuse_lone_shard(path)
    kind = _format(path)
    content = kind.read(path)
    if isinstance(content, NamedTensors | StoredNetwork):
        if key is not None:
            raise CheckpointError(f"{path} is one {kind.name} model and has no keys to choose from, got {key!r}")
        tensors = content if isinstance(content, NamedTensors) else _described(content)
    else:
        tensors = _from_containers(path, content, key)
    tensors.format = kind.name
    tensors.files = tensors.files or [path]
    return tensors


def _described(network: StoredNetwork) -> NamedTensors:
    """Return the tensors of a file that describes its layers."""
    notes = dict.fromkeys([*network.assumptions, *(layer.assumption for layer in network.layers if layer.assumption)])
    tensors = NamedTensors(network.tensors, notes)
    tensors.network = network
    return tensors


def _format(path: Path) -> Format:
    """Return the kind of a file."""
    try:
        with path.open("rb") as file:
            start = file.read(1024)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    if not start:
        raise CheckpointError(f"{path} is not a readable checkpoint: it is empty")
    members: tuple[str, ...] = ()
    if start.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                members = tuple(archive.namelist())
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise CheckpointError(
                f"{path} is not a readable archive, as PyTorch and Keras write them (damaged or truncated?): {error}"
            ) from error
    if len(members) > MOST_MEMBERS:
        raise CheckpointError(
            f"{path} is an archive of {len(members)} files, more than the {MOST_MEMBERS} that it may have"
        )
    beginning = Beginning(start, members)
    kind = next((kind for kind in FORMATS if kind.recognises(beginning)), None)
    if kind is None:
        known = f"its content is of no known kind, which are {', '.join(kind.name for kind in FORMATS)}"
        raise CheckpointError(f"{path} is not a readable checkpoint: {what_else(start, members) or known}")
    return kind


def _from_containers(path: Path, content: object, key: str | None) -> NamedTensors:
    """Return the state dict among tensors in plain containers."""
    try:
        found = find_state_dict(content, key)
    except CheckpointError as error:
        raise CheckpointError(f"{path} {error}") from error
    tensors = NamedTensors(*plain(path, found.tensors, path.stat().st_size))
    if key is None and not found.is_usual:
        tensors.notes.insert(0, f"took its only state dict, under the key {found.place!r}")
        warnings.warn(f"{path}: {tensors.notes[0]}", CheckpointWarning, stacklevel=2)  # here, so said once
    if found.others:
        tensors.notes.append(f"left out what is no tensor: {listed(found.others)}")
    return tensors


def _read_shards(path: Path) -> NamedTensors:
    """Return the tensors of all shards that an index lists."""
    weight_map, shards = read_index(path)
    check_size(path, sum(shard.stat().st_size for shard in shards))
    tensors = NamedTensors()
    for shard in shards:
        kind = _format(shard)
        if kind.read not in (read_safetensors, read_torch):
            raise CheckpointError(f"{path} lists {shard.name!r}, which is no shard but a file of the kind {kind.name}")
        content = _from_containers(shard, kind.read(shard), "")
        tensors.update({name: tensor for name, tensor in content.items() if weight_map.get(name) == shard.name})
    if missing := [name for name in weight_map if name not in tensors]:
        raise CheckpointError(f"{path} lists tensors that its shards do not hold: {listed(missing)}")
    tensors.files = [path, *shards]
    return tensors


FORMATS = [
    Format(
        "safetensors", lambda beginning: b"\0" in beginning.start[:8] and beginning.start[8:9] == b"{", read_safetensors
    ),
    Format("index of shards (.index.json)", lambda beginning: beginning.start.lstrip()[:1] == b"{", _read_shards),
    Format("PyTorch", lambda beginning: any(name.endswith("data.pkl") for name in beginning.members), read_torch),
    Format("PyTorch (legacy)", lambda beginning: beginning.start[:1] == b"\x80", read_torch),
    Format("Keras", begins_keras, read_keras),
    Format("ONNX", begins_onnx, read_onnx),
]
