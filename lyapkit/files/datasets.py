"""`save` and `load`: datasets to and from netCDF files, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import xarray as xr

from lyapkit.files.errors import CheckpointError, reason
from lyapkit.files.netcdf_check import check_netcdf, remember

LARGE = 100_000  # bytes from which compression is worth its time


def save(ds: xr.Dataset, path: str | Path) -> Path:
    """Write a dataset to a netCDF4 file, atomically: a file of that name is replaced only by a complete one.

    Large variables are compressed. Reading the file with `load` gives an identical dataset.

    Parameters
    ----------
    ds : xarray.Dataset
        What to write. Attributes must be text or numbers.
    path : str or Path
        Where; the folder must exist.

    Returns
    -------
    Path
        The path written.

    Raises
    ------
    OSError
        If the folder does not exist or cannot be written to.
    """
    path = check_writable(path)
    encoding = {
        name: {"zlib": True, "complevel": 1, "shuffle": True}
        for name, variable in ds.variables.items()
        if variable.nbytes >= LARGE and variable.dtype.kind in "fiu"
    }
    with replacing(path) as temporary:
        ds.to_netcdf(temporary, engine="netcdf4", format="NETCDF4", encoding=encoding)
    remember(path)
    return path


def load(path: str | Path) -> xr.Dataset:
    """Read a dataset that `save` wrote; the file is closed again.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a netCDF file, or would take more memory than `maximum_size`.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist" if not path.exists() else f"{path} is not a file")
    try:
        check_netcdf(path)
        with xr.open_dataset(path, engine="netcdf4") as ds:
            return ds.load()
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


def check_writable(path: str | Path) -> Path:
    """Return the path if a file can be written there, so that hours of work do not end in an error.

    Raises
    ------
    OSError
        If the folder does not exist, the path is a folder, or there is no permission to write.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise IsADirectoryError(f"cannot write {path}: it is a folder")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise PermissionError(f"cannot write {path}: permission denied")
    return path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move it there if the block ends well; else delete it."""
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
