"""For `child_server`: reads all of a netCDF file, as xarray will, in little memory. Imports nothing of lyapkit."""

from __future__ import annotations

import contextlib
import math
import re
import signal
from collections.abc import Iterator
from typing import Any

import netCDF4

SLAB = 32 << 20  # bytes that are read at once


def answers(path: str, seconds_to_open: int, rate: float, per_second: int) -> Iterator[dict[str, Any]]:
    """Read everything in a file, and yield the bytes that its variables take, and that they could be read.

    The limits on work that were set are those of opening it; reading may take longer, `rate` bytes for a second. The
    clock may count `per_second` seconds for one of work.
    """
    with open(path, "rb") as file:
        content = file.read()
    open_nothing()
    if is_virtual(content):
        raise ValueError("its values lie in other files (a virtual dataset), which are not followed")
    with netCDF4.Dataset("memory", memory=content) as ds:  # as `read_netcdf` does it
        ds.set_auto_maskandscale(False)
        [ds.getncattr(name) for name in ds.ncattrs()]
        n_bytes = 0
        for variable in ds.variables.values():
            [variable.getncattr(name) for name in variable.ncattrs()]
            variable.filters(), variable.chunking(), variable.endian()
            n_bytes += math.prod(variable.shape) * (8 if variable.dtype is str else variable.dtype.itemsize)
        yield {"bytes": n_bytes}
        with contextlib.suppress(ImportError, AttributeError):  # where there are no such limits
            import resource

            seconds = seconds_to_open + int(n_bytes / rate)
            signal.alarm(per_second * seconds)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        for variable in ds.variables.values():
            read(variable)
    yield {"readable": True}


def open_nothing() -> None:
    """Let this process open no more files: HDF5 can ask for values that lie in others, by any path."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # where there is no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (0, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def is_virtual(content: bytes) -> bool:
    """Return whether a dataset of an HDF5 file is put together from others, which the library fills in with zeros.

    Its layout message is a version, 4 or later, the class 3, and an address at which a global heap, GCOL, lies.
    """
    base = content.find(b"\x89HDF\r\n\x1a\n")
    if base < 0:
        return False
    width = content[base + (13 if content[base + 8] < 2 else 9)]  # of addresses
    layouts = re.finditer(rb"[\x04-\x07]\x03", content[base:])
    addresses = (int.from_bytes(content[(at := base + found.end()) : at + width], "little") for found in layouts)
    return any(content[base + address : base + address + 4] == b"GCOL" for address in addresses)


def read(variable: netCDF4.Variable) -> None:
    """Read a variable, a slab at a time, and forget it."""
    if variable.ndim == 0:
        variable[...]
        return
    row = math.prod(variable.shape[1:]) * (8 if variable.dtype is str else variable.dtype.itemsize)
    step = max(1, SLAB // max(row, 1))
    for start in range(0, variable.shape[0], step):
        variable[start : start + step]
