"""`read_inputs` and `read_targets`: sequences and targets from the files that people keep them in."""

from __future__ import annotations

import csv
import itertools
from array import array
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from lyapkit.files.arrays import read_npy, read_npz
from lyapkit.files.errors import CheckpointError, reason
from lyapkit.files.limits import check_size
from lyapkit.files.netcdf_check import read_netcdf
from lyapkit.files.torch_files import read_torch
from lyapkit.files.values import plain


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
    return _read(Path(path), "inputs", _csv_sequences)


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
    return np.asarray(_read(Path(path), "targets", _csv_rows))


def _read(path: Path, name: str, read_csv: Callable[[Path], np.ndarray]) -> np.ndarray | xr.DataArray:
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
    return plain(path, {"it": content}, path.stat().st_size)[0]["it"].numpy()


def _csv_table(path: Path) -> tuple[list[str] | None, np.ndarray]:
    """Return header, if there is one, and values."""
    check_size(path, path.stat().st_size)
    with path.open(newline="", encoding="utf-8") as file:
        rows = (row for row in csv.reader(file) if row)
        first = next(rows, None)
        if first is None:
            raise ValueError("it is empty")
        header = None if _is_number(first[0]) else [name.strip() for name in first]
        values = array("d")  # not a list of lists, which would take many times the memory
        for number, row in enumerate(rows if header else itertools.chain([first], rows), start=1):
            if len(row) != len(first):
                raise ValueError(f"its row {number} has {len(row)} columns where the first has {len(first)}")
            values.extend(map(float, row))
    if not values:
        raise ValueError("it has a header and no rows")
    return header, np.array(values).reshape(-1, len(first))


def _csv_rows(path: Path) -> np.ndarray:
    values = _csv_table(path)[1]
    if values.shape[1] == 1 and (values == values.round()).all():
        return values[:, 0].astype(np.int64)
    return values


def _csv_sequences(path: Path) -> np.ndarray:
    header, values = _csv_table(path)
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


def _only(names: list[str], preferred: str) -> str:
    if preferred in names:
        return preferred
    if len(names) != 1:
        raise ValueError(f"it holds the arrays {names}: expected one, or one called {preferred!r}")
    return names[0]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
