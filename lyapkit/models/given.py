"""`as_system`: what a user gives, a system, a module or the path of a checkpoint, as a system; the one place for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from lyapkit.models.checkpoint import load_system
from lyapkit.models.modules import from_module
from lyapkit.systems import System


def as_system(given: System | nn.Module | str | Path, **reading: Any) -> System:
    """Return a system itself, a module as `from_module` makes it one, what is in a file as `load_system` reads it.

    Parameters
    ----------
    given : System, nn.Module, str or Path
        What the user gave.
    **reading
        Options of `load_system`, for the path of a file only.

    Raises
    ------
    TypeError
        If it is something else, or if there are options for it.
    """
    if reading and not isinstance(given, str | Path):
        raise TypeError(
            f"unexpected arguments {', '.join(reading)}: those of load_system are for the path of a checkpoint, got a "
            + type(given).__name__
        )
    if isinstance(given, System):
        return given
    if isinstance(given, nn.Module):
        return from_module(given)
    if isinstance(given, str | Path):
        return load_system(given, **reading)
    raise TypeError(
        f"system is a {type(given).__name__}, expected a lyapkit System, a PyTorch module or the path of a checkpoint: "
        "wrap a function in Map or Flow"
    )
