"""`read_netcdf`: a netCDF file, if the library survives it, which is found out in another process.

The library can crash on a damaged file, or never come back, before Python sees anything. Nothing in a file proves that
it is a sound one, so every file is read in a fork of a child process first. The first file costs a third of a second,
and each a part of the time that reading takes anyway. Files that were read or written here are known.
"""

from __future__ import annotations

import threading
from pathlib import Path

import netCDF4
import xarray as xr
from xarray.backends import NetCDF4DataStore

from lyapkit.files.child import PATIENCE, Child, ChildLostError
from lyapkit.files.limits import COMPRESSION, SMALL, check_repetition, check_size, maximum

TO_OPEN = 2  # seconds of work
READER = Path(__file__).with_name("netcdf_child.py")
READING_RATE = 20e6  # bytes for a second of work

_known: set[tuple[int, int, int, int]] = set()
_lock = threading.Lock()


def check_netcdf(path: Path) -> None:
    """Raise if the netCDF library crashes on a file, hangs, or would take too much memory.

    Raises
    ------
    ValueError
        Saying which.
    """
    identity = _identity(path)
    if identity in _known:
        return
    with _lock:
        child = Child.running(READER)
        memory = (256 << 20) + 2 * min(maximum(), SMALL + COMPRESSION * path.stat().st_size)
        request = {
            "path": str(path.resolve()),
            "seconds_to_open": TO_OPEN,
            "rate": READING_RATE,
            "per_second": PATIENCE,
        }
        try:
            child.send(request, memory=memory, seconds=TO_OPEN, patience=PATIENCE * TO_OPEN)
            n_bytes = child.answer(PATIENCE * TO_OPEN)["bytes"]
            try:
                check_size(path, n_bytes)
                check_repetition(path, n_bytes)
            except ValueError:
                child.stop()  # it is still reading
                raise
            child.answer(PATIENCE * (TO_OPEN + n_bytes / READING_RATE))
        except ChildLostError as error:
            raise ValueError(f"the netCDF library {error}") from None
    _known.add(identity)


def read_netcdf(path: Path) -> xr.Dataset:
    """Return the content of a netCDF file that the library survives.

    The library reads from memory: a damaged file it sometimes keeps open, and gives that again for whatever is written
    there later.

    Raises
    ------
    ValueError
        As `check_netcdf`. What is wrong with the content raises what libraries raise.
    """
    check_netcdf(path)
    with netCDF4.Dataset(path.name, memory=path.read_bytes()) as file:
        ds = xr.open_dataset(NetCDF4DataStore(file)).load()
    ds.set_close(None)  # it is
    return ds


def remember(path: Path) -> None:
    """Take a file for a sound one: it was written here."""
    _known.add(_identity(path))


def _identity(path: Path) -> tuple[int, int, int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
