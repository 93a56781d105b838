"""`save` and `load`: datasets to and from netCDF files, written whole or not at all; and tables of them."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd
import xarray as xr

from lyapkit.files.errors import CheckpointError, reason
from lyapkit.files.netcdf_check import read_netcdf, remember
from lyapkit.files.writing import replacing, target_of

LARGE = 100_000  # bytes from which compression is worth its time


def save(ds: xr.Dataset, path: str | Path) -> Path:
    """Write a dataset to a netCDF4 file, atomically: a file of that name is replaced only by a complete one.

    Large variables are compressed. Reading the file with `load` gives an identical dataset. A `.csv` file gets a table
    of the dataset's first variable, for other programs: see `table`.

    Parameters
    ----------
    ds : xarray.Dataset
        What to write. Attributes must be text or numbers.
    path : str or Path
        Where, a `.nc` or a `.csv` file; the folder must exist. A link is followed, and a file that is there keeps its
        mode.

    Returns
    -------
    Path
        The path written.

    Raises
    ------
    ValueError
        If the ending is none of these.
    OSError
        If it cannot be written: the folder does not exist or is full, the path is a folder or a device.

    Examples
    --------
    >>> import lyapkit as lk
    >>> import tempfile
    >>> ds = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=1000, n_transient=100)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = lk.load(lk.save(ds, f"{folder}/henon.nc"))
    >>> again.identical(ds)
    True
    """
    path = Path(path)
    target_of(path)
    check_ending(path)
    if path.suffix == ".csv":
        with replacing(path) as temporary:
            table(ds).to_csv(temporary)
        return path
    encoding = {
        name: {"zlib": True, "complevel": 1, "shuffle": True}
        for name, variable in ds.variables.items()
        if variable.nbytes >= LARGE and variable.dtype.kind in "fiu"
    }
    with replacing(path) as temporary:
        ds.to_netcdf(temporary, engine="netcdf4", format="NETCDF4", encoding=encoding)
    remember(path)
    return path


def check_ending(path: Path) -> None:
    """Raise if datasets are not written to files with such an ending, or in such a folder.

    Raises
    ------
    ValueError
        Naming the endings, or saying that the netCDF library takes folders only whose names are UTF-8.
    """
    if path.suffix not in (".nc", ".csv"):
        raise ValueError(f"cannot write {path}: unknown type {path.suffix!r} of results, expected .nc or .csv")
    if path.suffix == ".nc":
        try:
            str(path.parent.resolve()).encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"cannot write {path}: the name of its folder is not UTF-8, and the netCDF library takes no other: "
                "choose another folder"
            ) from error


def table(ds: xr.Dataset) -> pd.DataFrame:
    """Return a dataset's first variable, and all that has no other dimensions, one row per value.

    Of a spectrum: one row per trajectory and exponent. What has other dimensions, `left_out` names.
    """
    main = next(iter(ds.data_vars.values()))
    kept = ds.drop_vars(left_out(ds))
    if not main.dims:
        return pd.DataFrame({str(name): [variable.values] for name, variable in kept.variables.items()})
    return kept.to_dataframe(dim_order=list(main.dims))


def left_out(ds: xr.Dataset) -> list[str]:
    """Return the variables of a dataset that its `table` leaves out."""
    main = next(iter(ds.data_vars.values()))
    return [str(name) for name, variable in ds.variables.items() if not set(variable.dims) <= set(main.dims)]


def load(path: str | Path) -> xr.Dataset:
    """Read a dataset that `save` wrote; the file is closed again.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a netCDF file, or would take more memory than `maximum_size`.

    Examples
    --------
    >>> import lyapkit as lk
    >>> import tempfile
    >>> ds = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=1000, n_transient=100)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = lk.load(lk.save(ds, f"{folder}/henon.nc"))
    >>> again.identical(ds)
    True
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    try:
        return read_netcdf(path)
    except CheckpointError as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # damaged files raise whatever their bytes suggest
        raise ValueError(f"{path} is not a readable netCDF file: {reason(error)}") from error


def open(path: str | Path) -> xr.Dataset:
    """Read a dataset that `save` wrote: the former name of `load`.

    .. deprecated:: 0.2
       It hides Python's `open` where it is imported by name. Use `load`.
    """
    warnings.warn("lyapkit.open is called lyapkit.load now", DeprecationWarning, stacklevel=2)
    return load(path)
