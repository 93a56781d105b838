"""`read_inputs`: input sequences from the files that people keep them in."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from lyapkit.models.checkpoint import CheckpointError, read_torch

SUFFIXES = (".npy", ".npz", ".nc", ".pt", ".csv")
PREFERRED_NAME = "inputs"


def read_inputs(path: str | Path) -> np.ndarray | xr.DataArray:
    """Return the input sequences in a file, (trajectory, time, feature).

    Parameters
    ----------
    path : str or Path
        `.npy`: the array. `.npz`, `.nc`: the only array, or the one called `inputs`; in `.nc` with the dimensions
        trajectory, time and feature, in any order. `.pt`: a tensor. `.csv`: one row per time step, one column per
        feature, with or without a header; several trajectories need a header with a column `trajectory`. Rows are in
        the order of time; a column `time` is not a feature.

    Raises
    ------
    ValueError
        If the file is missing, damaged, of another type, or does not hold one array.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: unknown type {path.suffix!r} of inputs, expected one of {', '.join(SUFFIXES)}")
    try:
        return _READERS[path.suffix](path)
    except CheckpointError as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # damaged files raise whatever their bytes suggest
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is not a readable {path.suffix} file of inputs: {reason}") from error


def _read_npy(path: Path) -> np.ndarray:
    array = np.load(path, allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError("it is an archive, not an array")
    return array


def _read_npz(path: Path) -> np.ndarray:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return archive[_only(list(archive.files))]


def _read_nc(path: Path) -> xr.DataArray:
    with xr.open_dataset(path, engine="netcdf4") as ds:
        return ds[_only([str(name) for name in ds.data_vars])].load()


def _read_pt(path: Path) -> np.ndarray:
    content = read_torch(path)
    if not isinstance(content, torch.Tensor):
        raise ValueError(f"it holds a {type(content).__name__}, expected a tensor")
    return content.numpy()


def _read_csv(path: Path) -> np.ndarray:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row]
    if not rows:
        raise ValueError("it is empty")
    header = None if _is_number(rows[0][0]) else [name.strip() for name in rows.pop(0)]
    if not rows:
        raise ValueError("it has a header and no rows")
    values = np.array(rows, dtype=float)
    if header is None:
        return values[None]
    features = values[:, [index for index, name in enumerate(header) if name not in ("trajectory", "time")]]
    if "trajectory" not in header:
        return features[None]
    owners = values[:, header.index("trajectory")]
    trajectories = [features[owners == owner] for owner in dict.fromkeys(owners)]
    if len({len(trajectory) for trajectory in trajectories}) > 1:
        raise ValueError("its trajectories differ in length")
    return np.stack(trajectories)


_READERS = {".npy": _read_npy, ".npz": _read_npz, ".nc": _read_nc, ".pt": _read_pt, ".csv": _read_csv}


def _only(names: list[str]) -> str:
    if PREFERRED_NAME in names:
        return PREFERRED_NAME
    if len(names) != 1:
        raise ValueError(f"it holds the arrays {names}: expected one, or one called {PREFERRED_NAME!r}")
    return names[0]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
