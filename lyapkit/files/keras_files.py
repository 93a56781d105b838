"""`read_keras`: recurrent layers of a `.keras`, `.weights.h5` or `.h5` file; neither Keras nor any code is run."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any, Protocol

from lyapkit.files.errors import CheckpointError, reason
from lyapkit.files.keras_graph import follow
from lyapkit.files.keras_hdf5 import SIGNATURE, Hdf5, read_hdf5
from lyapkit.files.keras_variables import NamedVariables, NumberedVariables, roles_of_others
from lyapkit.files.keras_weights import read_weights
from lyapkit.files.limits import maximum
from lyapkit.files.stored_layers import StoredNetwork

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"
_MAX_CONFIG = 8 * 2**20  # bytes; ten thousand layers
_FREE_EXPANSION, _MAX_EXPANSION = 64 * 2**20, 100


class _Beginning(Protocol):
    @property
    def start(self) -> bytes: ...

    @property
    def members(self) -> tuple[str, ...]: ...


def begins_keras(beginning: _Beginning) -> bool:
    """Return whether a file begins as one of Keras: as HDF5, or as an archive with a configuration."""
    return beginning.start.startswith(SIGNATURE) or _CONFIG in beginning.members


def read_keras(path: str | Path) -> StoredNetwork:
    """Return the recurrent layers of a file that Keras wrote, with what is known of their surroundings.

    Parameters
    ----------
    path : str or Path
        A model of Keras 3 (`.keras`) or of Keras 2 and 3 (`.h5`), or weights alone (`.weights.h5`, `.h5` of Keras 2).

    Raises
    ------
    CheckpointError
        If it is none of these, is damaged or too large, or describes a model whose structure cannot be followed.
    """
    path = Path(path)
    try:
        config, content = _archive(path) if zipfile.is_zipfile(path) else _hdf5(path)
        if config is None:
            return read_weights(content)
        root = "model_weights" if "model_weights" in content.attributes else ""
        legacy = root or any("layer_names" in attributes for attributes in content.attributes.values())
        network = follow(config, NamedVariables(content, root) if legacy else NumberedVariables(content))
    except CheckpointError as error:
        raise CheckpointError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    except RecursionError as error:
        raise CheckpointError(f"{path}: its configuration is nested too deep") from error
    network.tensors = dict(content.arrays)
    network.roles |= roles_of_others(content.arrays, network.roles)
    return network


def _hdf5(path: Path) -> tuple[dict[str, Any] | None, Hdf5]:
    content = read_hdf5(path)
    text = content.attributes[""].get("model_config")
    return (_parsed(text) if isinstance(text, str) else None), content


def _archive(path: Path) -> tuple[dict[str, Any], Hdf5]:
    """Return configuration and weights of a `.keras` file."""
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            entries = {entry.filename: entry for entry in archive.infolist()}
            missing = [name for name in (_CONFIG, _WEIGHTS) if name not in entries]
            if missing:
                raise CheckpointError(f"it is an archive without {' and '.join(missing)}, so not one of Keras")
            config = _parsed(_extracted(archive, entries[_CONFIG], Path(folder), _MAX_CONFIG).read_bytes())
            weights = _extracted(archive, entries[_WEIGHTS], Path(folder), maximum())
            try:
                return config, read_hdf5(weights)
            except CheckpointError as error:
                raise CheckpointError(str(error).replace(str(weights), f"{path}, {_WEIGHTS} in it,")) from error
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, NotImplementedError, EOFError) as error:
        raise CheckpointError(
            f"{path} is not a readable Keras file (damaged or truncated?): {reason(error)}"
        ) from error


def _extracted(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, limit: int) -> Path:
    """Return a copy of one file of an archive, which may not be far larger than what the archive stores."""
    size = entry.file_size
    if size > limit or (size > _FREE_EXPANSION and size > _MAX_EXPANSION * entry.compress_size):
        raise CheckpointError(
            f"{entry.filename} in it would unpack from {entry.compress_size} to {size} bytes, which no real one does"
        )
    target = folder / Path(entry.filename).name
    with archive.open(entry) as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy)
    return target


def _parsed(text: str | bytes) -> dict[str, Any]:
    """Return a model's configuration."""
    if len(text) > _MAX_CONFIG:
        raise CheckpointError(f"its configuration would take {len(text)} bytes, which no real one does")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"its configuration is not JSON: {reason(error)}") from error
    if not isinstance(config, dict) or "class_name" not in config:
        raise CheckpointError("its configuration describes no model")
    return config
