"""`takes`: functions of datasets say which they expected, if they are given another."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np
import xarray as xr

from lyapkit.labels import swept_parameters

OF_STEPS = "attributes_of_steps"  # of what `over_training` returns
P = ParamSpec("P")
Result = TypeVar("Result")


def takes(
    *variables: str, of: str, along: str | None = None, single: bool = False, leading: bool = False
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
    leading : bool
        Whether its exponents must be the first ones, as `check_leading` says.
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
            if leading:
                check_leading(held, name)
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
    swept = "swept" in ds.attrs and ("remark" in ds or any(dim in ds.dims for dim in swept_parameters(ds)))
    return "a sweep, expected a spectrum; lyapkit.table and plot_sweep show a sweep" if swept else ""


def of_its_step(ds: xr.Dataset) -> xr.Dataset:
    """Return a dataset of one step of `over_training` with the attributes that it had at that step."""
    if OF_STEPS not in ds.attrs or "step" not in ds.coords or ds["step"].size != 1:
        return ds
    of_steps = json.loads(ds.attrs[OF_STEPS])
    place = of_steps.pop("step").index(ds["step"].item())
    return ds.assign_attrs({name: values[place] for name, values in of_steps.items()})


def of_last_step(ds: xr.Dataset) -> tuple[xr.Dataset, str]:
    """Return a dataset of the last of several steps, and in words which that is; another as it is, and nothing."""
    if "step" not in ds.dims:
        return of_its_step(ds), ""
    last = of_its_step(ds.isel(step=-1))
    return last, f"step {last['step'].item()}{', the last' if ds.sizes['step'] > 1 else ''}"


def check_whole(ds: xr.Dataset, function: str) -> None:
    """Raise ValueError if a dataset lost a dimension that its kind has, or some of its exponents."""
    for dim in ("trajectory", "exponent", "sample", "eigenvalue", "network", "model"):
        if dim in ds.coords and dim not in ds.dims:
            raise ValueError(
                f"{function} got a dataset without its dimension {dim}: keep it where you select one entry, "
                f"ds.isel({dim}=[0])"
            )
    check_leading(ds, function)


def check_leading(ds: xr.Dataset | xr.DataArray, function: str) -> None:
    """Raise ValueError if exponents before others were left out, which would be taken for the first ones."""
    if "exponent" not in ds.coords or "exponent" not in ds.dims:
        return
    ranks = ds["exponent"].values
    if not len(ranks) or (ranks != np.arange(1, len(ranks) + 1)).any():
        shown = ", ".join(map(str, ranks[:5])) or "none"
        raise ValueError(
            f"{function} needs the largest exponents, from the first on without gaps, and got {shown}: "
            "select them as ds.isel(exponent=slice(k))"
        )


def described(ds: object) -> str:
    """Return in words what was given in place of a dataset that was expected."""
    if isinstance(ds, xr.Dataset):
        return f"a dataset of {', '.join(map(str, ds.data_vars)) or 'nothing'}"
    return type(ds).__name__
