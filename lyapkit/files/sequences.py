"""`read_inputs` and `read_targets`: sequences and targets from the files that people keep them in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from lyapkit.files.arrays import read_npy, read_npz
from lyapkit.files.csv_tables import csv_rows, csv_sequences
from lyapkit.files.errors import CheckpointError, reason
from lyapkit.files.netcdf_check import read_netcdf
from lyapkit.files.torch_files import read_torch
from lyapkit.files.values import plain


def read_inputs(path: str | Path) -> np.ndarray | xr.DataArray | list[np.ndarray]:
    """Return the input sequences in a file, (trajectory, time, feature); a list of (time, feature) if lengths differ.

    Parameters
    ----------
    path : str or Path
        `.npy`: the array. `.npz`, `.nc`: the only array, or the one called `inputs`; in `.nc` with the dimensions
        trajectory, time and feature, in any order. `.pt`: a tensor. `.csv`: one row per time step, one column per
        feature, with or without a header; several trajectories need a header with a column `trajectory`, and may differ
        in length. Rows are in the order of time; a column `time`, which must say so, is not a feature. A column that
        looks like an index under another name is refused; one called `feature …` is always a feature.

    Raises
    ------
    ValueError
        If the file is missing, damaged, of another type, or does not hold one array.

    Examples
    --------
    >>> import lyapkit as lk
    >>> _, inputs = lk.examples.digits()
    >>> lk.read_inputs(inputs).shape  # (trajectory, time, feature)
    (8, 360, 8)
    """
    return _read(Path(path), "inputs", csv_sequences)


def read_targets(path: str | Path) -> np.ndarray:
    """Return the targets in a file, one per sample: (sample,) classes, or (sample, …) values.

    Parameters
    ----------
    path : str or Path
        `.npy`: the array. `.npz`, `.nc`: the only array, or the one called `targets`. `.pt`: a tensor. `.csv`: one row
        per sample, with or without a header; one column of whole numbers gives classes.

    Raises
    ------
    ValueError
        As `read_inputs`.
    """
    return np.asarray(_read(Path(path), "targets", csv_rows))


def _read(path: Path, name: str, read_csv: Callable[[Path], Any]) -> np.ndarray | xr.DataArray | list[Any]:
    if not path.is_file():
        raise ValueError(f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    readers = {
        ".npy": read_npy,
        ".npz": lambda path: next(iter(read_npz(path, lambda names: [_only(names, name)]).values())),
        ".nc": lambda path: _read_nc(path, name),
        ".pt": _read_pt,
        ".csv": read_csv,
    }
    if path.suffix not in readers:
        raise ValueError(f"{path}: unknown type {path.suffix!r} of {name}, expected one of {', '.join(readers)}")
    try:
        return readers[path.suffix](path)
    except CheckpointError as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # damaged files raise whatever their bytes suggest
        raise ValueError(f"{path} is not a readable {path.suffix} file of {name}: {reason(error)}") from error


def _read_nc(path: Path, name: str) -> xr.DataArray:
    ds = read_netcdf(path)
    return ds[_only([str(variable) for variable in ds.data_vars], name)]


def _read_pt(path: Path) -> np.ndarray:
    content = read_torch(path)
    if not isinstance(content, torch.Tensor):
        raise ValueError(f"it holds a {type(content).__name__}, expected a tensor")
    values = plain(path, {"it": content}, path.stat().st_size)[0]["it"]
    return (values.float() if values.is_floating_point() and values.dtype.itemsize < 4 else values).numpy()


def _only(names: list[str], preferred: str) -> str:
    if preferred in names:
        return preferred
    if len(names) != 1:
        raise ValueError(f"it holds the arrays {names}: expected one, or one called {preferred!r}")
    return names[0]
