"""`read_hdf5`: arrays and attributes of an HDF5 file, by a process that may crash, hang or be refused memory."""

from __future__ import annotations

import importlib.util
import json
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path

import safetensors
from torch import Tensor

from lyapkit.files.child import PATIENCE, Child, ChildLostError
from lyapkit.files.errors import CheckpointError
from lyapkit.files.limits import maximum

SIGNATURE = b"\x89HDF\r\n\x1a\n"
MAX_EXPANSION = 100  # bytes of memory for a byte of the file, from which on it is taken for an attack
_READER = Path(__file__).with_name("hdf5_child.py")
_CPU_SECONDS, _BYTES_PER_SECOND = 2, 20e6
_lock = threading.Lock()


@dataclass(frozen=True)
class Hdf5:
    """What an HDF5 file holds: arrays by their paths, and text attributes of its groups by theirs ("": the file's)."""

    arrays: dict[str, Tensor]
    attributes: dict[str, dict[str, str | list[str]]]
    left_out: dict[str, str]


def read_hdf5(path: Path) -> Hdf5:
    """Return the numeric arrays and the text attributes of an HDF5 file.

    The C library that reads such files can crash, hang or ask for any amount of memory on a damaged one: another
    process reads it, for a few seconds (more for large files) and with limited memory.

    Raises
    ------
    CheckpointError
        If it is not an HDF5 file, is damaged, refers to other files or declares more than it holds; or if h5py is
        missing.
    """
    if importlib.util.find_spec("h5py") is None:
        raise CheckpointError(f"{path}: reading Keras files needs h5py, pip install 'lyapkit[keras]'")
    size = path.stat().st_size
    seconds = _CPU_SECONDS + round(size / _BYTES_PER_SECOND)
    memory = (256 << 20) + 3 * min(maximum(), MAX_EXPANSION * size)
    with tempfile.TemporaryDirectory() as folder, _lock:
        target = Path(folder) / "arrays.safetensors"
        child = Child.running(_READER)
        request = {"source": str(path.resolve()), "target": str(target), "max_bytes": maximum()}
        try:
            child.send(request, memory=memory, seconds=seconds, patience=PATIENCE * seconds)
            child.answer(PATIENCE * seconds)
        except ChildLostError as error:
            raise CheckpointError(f"{path} is damaged: the HDF5 library {error}") from None
        except ValueError as error:
            raise CheckpointError(f"{path} is not a readable HDF5 file: {error}") from None
        with safetensors.safe_open(target, "pt") as file:
            metadata = file.metadata()
            arrays = {name: file.get_tensor(name).clone() for name in sorted(file.keys())}
    return Hdf5(arrays, json.loads(metadata["attributes"]), json.loads(metadata["left_out"]))
