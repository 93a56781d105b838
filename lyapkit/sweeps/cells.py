"""The cells of a sweep as files, and as one dataset."""

from __future__ import annotations

import itertools
import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from lyapkit.files.datasets import load, save
from lyapkit.provenance import provenance

Cell = Mapping[str, Any]  # what distinguishes a cell: dimension to value


def cell_path(folder: Path, cell: Cell) -> Path:
    """Return where a cell is kept."""
    name = "_".join(str(value).replace(" ", "-") for value in cell.values() if not isinstance(value, list))
    return folder / f"{name.replace('/', '-')}.nc"


def is_done(cell: Cell, path: Path) -> bool:
    """Return whether a file is that of a cell."""
    return path.is_file() and load(path).attrs.get("cell") == json.dumps(dict(cell))


def save_cell(cell: Cell, ds: xr.Dataset, path: Path) -> None:
    """Write a cell's dataset to its file, with where it comes from and which cell it is."""
    save(ds.assign_attrs(provenance() | ds.attrs | {"cell": json.dumps(dict(cell))}), path)


def join_cells(paths: list[Path], dims: list[str]) -> xr.Dataset:
    """Return the cells' datasets as one, with `dims` in front; NaN where there is no cell, or a cell has no value.

    Parameters
    ----------
    paths : list of Path
        What `run_cells` returned.
    dims : list of str
        Which of the cells' parameters become dimensions, in this order. Along them numbers ascend, and names come as
        they first appear; along the cells' own dimensions values are placed by coordinate.
    """
    parts = [(json.loads(part.attrs["cell"]), part) for part in map(load, paths)]
    commits = sorted({commit for _, part in parts for commit in part.attrs["git_commit"].split(", ")})
    return joined(parts, dims).assign_attrs(git_commit=", ".join(commits), n_cells=len(parts))


def joined(parts: list[tuple[Cell, xr.Dataset]], dims: list[str]) -> xr.Dataset:
    """Return datasets as one, as `join_cells` does, each with what distinguishes it."""
    values = {dim: list(dict.fromkeys(cell[dim] for cell, _ in parts)) for dim in dims}
    values = {dim: found if isinstance(found[0], str) else sorted(found) for dim, found in values.items()}
    inner = {
        dim: sorted({value for _, part in parts if dim in part.dims for value in part[dim].values.tolist()})
        for dim in dict.fromkeys(dim for _, part in parts for dim in part.dims)
    }
    attributes = {dim: part[dim].attrs for _, part in parts for dim in part.dims}
    variables: dict[Hashable, tuple[list[Hashable], np.ndarray, dict[Any, Any]]] = {}
    for cell, part in parts:
        place = [[values[dim].index(cell[dim])] for dim in dims]
        for name, variable in part.data_vars.items():
            if name not in variables:
                shape = [len(values[dim]) for dim in dims] + [len(inner[dim]) for dim in variable.dims]
                variables[name] = ([*dims, *variable.dims], _blank(shape, variable.dtype), variable.attrs)
            within = [np.searchsorted(inner[dim], part[dim].values) for dim in variable.dims]
            variables[name][1][np.ix_(*place, *within)] = variable.values
    coords = {dim: (dim, values[dim], {"long_name": dim.replace("_", " "), "units": "1"}) for dim in dims}
    within = {dim: (dim, inner[dim], attributes[dim]) for dim in inner}
    return xr.Dataset(variables, coords | within)


def parted(ds: xr.Dataset, dims: list[str]) -> list[tuple[dict[str, Any], xr.Dataset]]:
    """Return the datasets that were joined along `dims`, each with its values of them, in order of `dims`.

    Left out are cells and variables without any number, and variables without all of `dims`, which were no cell's.
    """
    ds = ds[[name for name, variable in ds.data_vars.items() if set(dims) <= set(variable.dims)]]
    parts = []
    for values in itertools.product(*(ds[dim].values.tolist() for dim in dims)):
        place = dict(zip(dims, values, strict=True))
        part = ds.sel(place, drop=True)
        part = part.drop_vars([name for name, variable in part.data_vars.items() if bool(variable.isnull().all())])
        if any(variable.dtype.kind == "f" for variable in part.data_vars.values()):
            unused = [dim for dim in part.dims if not any(dim in variable.dims for variable in part.data_vars.values())]
            parts.append((place, part.drop_vars(unused)))
    return parts


def _blank(shape: list[int], dtype: np.dtype) -> np.ndarray:
    """Return an array of what stands where there is nothing: NaN, False, or no text."""
    if dtype.kind in "UO":  # texts differ in length
        return np.full(shape, "", object)
    return np.zeros(shape, bool) if dtype.kind == "b" else np.full(shape, np.nan, dtype)
