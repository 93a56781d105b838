"""`takes`: functions of datasets say which they expected, if they are given another."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import xarray as xr

from lyapkit.labels import swept_parameters

P = ParamSpec("P")
Result = TypeVar("Result")


def takes(
    *variables: str, of: str, along: str | None = None, single: bool = False
) -> Callable[[Callable[P, Result]], Callable[P, Result]]:
    """Return a decorator of functions whose first argument, `ds`, is a dataset that another function returns.

    Parameters
    ----------
    *variables : str
        By which it is known: it has to hold one of them.
    of : str
        The function that returns it.
    along : str, optional
        A dimension that it must have.
    single : bool
        Whether it must be of one checkpoint, not of several, as `over_training` returns, and of no sweep.
    """

    def decorator(function: Callable[P, Result]) -> Callable[P, Result]:
        @functools.wraps(function)
        def checked(*arguments: P.args, **options: P.kwargs) -> Result:
            ds = arguments[0] if arguments else options.get("ds")
            held = ds if isinstance(ds, xr.Dataset) else None
            name = function.__name__
            if held is None or not set(variables) & set(map(str, held.variables)):
                raise ValueError(f"{name} got {described(ds)}, expected what lyapkit.{of} returns")
            if single and (several := _several(held)):
                raise ValueError(f"{name} got {several}")
            if along is not None and along not in held.dims:
                raise ValueError(
                    f"{name} got {described(ds)} without a dimension {along}, expected what lyapkit.{of} returns"
                )
            return function(*arguments, **options)

        return checked

    return decorator


def _several(ds: xr.Dataset) -> str:
    """Return of what a dataset holds several, and the way to one; nothing if it is of one."""
    if "step" in ds.dims:
        return (
            f"{ds.sizes['step']} checkpoints, along the dimension step, expected one, "
            f"ds.sel(step={ds['step'].values[-1]}); for spectra of several there are plot_comparison and "
            "comparison_table"
        )
    swept = [dim for dim in swept_parameters(ds) if dim in ds.dims] if "swept" in ds.attrs else []
    one = ", ".join(f"{dim}={ds[dim].values[0]:g}" for dim in swept)
    return f"a sweep, expected one of its cells, ds.sel({one}), or plot_sweep" if swept else ""


def described(ds: object) -> str:
    """Return in words what was given in place of a dataset that was expected."""
    if isinstance(ds, xr.Dataset):
        return f"a dataset of {', '.join(map(str, ds.data_vars)) or 'nothing'}"
    return type(ds).__name__
