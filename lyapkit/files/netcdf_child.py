"""A program of its own: reads netCDF files whose paths come in on standard input, and says how that went.

The netCDF library can crash on a damaged file, or never come back. It does so here, where nothing else is lost.
Requests and answers are lines of JSON. For each path two answers: the bytes that the variables take, and that they
could be read; or, at either place, the error. Imports nothing of lyapkit, to start fast.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Callable

import netCDF4

SLAB = 32 << 20  # bytes that are read at once


def main() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)

    def answer(**content: object) -> None:
        answers.write(json.dumps(content) + "\n")

    answer(ready=True)
    for request in sys.stdin:
        try:
            examine(**json.loads(request), answer=answer)
        except Exception as error:
            answer(error=f"{type(error).__name__}: {error}")


def examine(path: str, memory: int, answer: Callable[..., None]) -> None:
    """Read everything in a file, as xarray will, in little memory."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # where there is no such limit
        import resource

        with open("/proc/self/statm") as file:
            own = int(file.read().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (own + memory, hard))
    with open(path, "rb") as file:
        content = file.read()
    with netCDF4.Dataset("memory", memory=content) as ds:  # as `read_netcdf` does it
        ds.set_auto_maskandscale(False)
        [ds.getncattr(name) for name in ds.ncattrs()]
        n_bytes = 0
        for variable in ds.variables.values():
            [variable.getncattr(name) for name in variable.ncattrs()]
            variable.filters(), variable.chunking(), variable.endian()
            n_bytes += math.prod(variable.shape) * (8 if variable.dtype is str else variable.dtype.itemsize)
        answer(bytes=n_bytes)
        for variable in ds.variables.values():
            read(variable)
    answer(readable=True)


def read(variable: netCDF4.Variable) -> None:
    """Read a variable, a slab at a time, and forget it."""
    if variable.ndim == 0:
        variable[...]
        return
    row = math.prod(variable.shape[1:]) * (8 if variable.dtype is str else variable.dtype.itemsize)
    step = max(1, SLAB // max(row, 1))
    for start in range(0, variable.shape[0], step):
        variable[start : start + step]


if __name__ == "__main__":
    main()
