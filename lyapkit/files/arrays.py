"""NumPy arrays from `.npy` and `.npz` files: no objects, and no more memory than a file may take."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

import numpy as np

from lyapkit.files.limits import check_repetition, check_size

MOST_DIMENSIONS = 64  # of NumPy's arrays


def read_npy(path: Path) -> np.ndarray:
    """Return the array in a `.npy` file.

    Raises
    ------
    ValueError
        If it holds objects or something else, is cut off, or would take more memory than a file may.
    """
    check_size(path, path.stat().st_size)
    with path.open("rb") as file:
        shape, _, dtype = _header(file)
        if len(shape) > MOST_DIMENSIONS:
            raise ValueError(f"its array has {len(shape)} dimensions")
        n_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
        rest = path.stat().st_size - file.tell()
        if not dtype.hasobject and n_bytes > rest:
            raise ValueError(f"it is cut off: its array of shape {shape} takes {n_bytes} bytes and {rest} are there")
        file.seek(0)
        return np.load(file, allow_pickle=False)


def read_npz(path: Path, choose: Callable[[list[str]], Iterable[str]]) -> dict[str, np.ndarray]:
    """Return the arrays of an `.npz` file that `choose` picks among their names.

    Raises
    ------
    ValueError
        As `read_npy`.
    """
    with zipfile.ZipFile(path) as archive:
        n_bytes = sum(member.file_size for member in archive.infolist())
    check_size(path, n_bytes)
    check_repetition(path, n_bytes)
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in choose(list(arrays.files))}


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, order and dtype."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)
