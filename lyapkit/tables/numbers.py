"""How numbers are written: bounds, errors, and what is not known."""

from __future__ import annotations

import math
from collections.abc import Iterable

import xarray as xr

from lyapkit.statistics import upper_bounds

FIXED, SMALL = ".5f", 5e-4  # and below which that would leave less than two digits


def number(value: float, is_bound: bool = False, form: str = FIXED, missing: str = "n/a") -> str:
    """Return a number as text, with "≤" if it is only an upper bound; nothing is below −inf."""
    if math.isnan(value):
        return missing
    if value == -math.inf:
        return "−inf"
    if value == math.inf:
        return "∞"
    if form == FIXED and 0 < abs(value) < SMALL:
        form = ".2e"
    return ("≤" if is_bound else "") + f"{value:{form}}"


def exponent_with_error(mean: xr.Dataset, rank: int) -> str:
    """Return a mean exponent with its error, to the digits that the error leaves."""
    value, error = float(mean["lyapunov_exponent"][rank]), float(mean["standard_error"][rank])
    return "–" if math.isnan(value) else with_error(value, error, bool(upper_bounds(mean)[rank]))


def with_error(value: float, error: float, is_bound: bool = False) -> str:
    """Return a number with its error, to the digits that the error leaves."""
    if value == -math.inf:
        return "−∞"
    sign = "≤ " if is_bound else ""
    if not math.isfinite(error) or error == 0:
        return f"{sign}{value:.4g}"
    digits = min(12, max(0, 1 - math.floor(math.log10(error))))
    return f"{sign}{value:.{digits}f} ± {error:.{digits}f}"


def mean_text(values: xr.DataArray) -> str:
    """Return the mean of those values that are known, "≤" before it if any is a bound."""
    valid = values.notnull().values
    if not valid.any():
        return "n/a"
    return number(values.values[valid].mean(), bool(upper_bounds(values)[valid].any()), ".4g")


def short_unit(unit: str) -> str:
    """Return a unit of time as the heads of columns have it."""
    return "step" if unit == "step" else "time unit"


def memories(timescales: Iterable[float], are_bounds: Iterable[bool], form: str = ".3g") -> list[str]:
    """Return memory timescales as text; no bound is needed where nothing is remembered."""
    return [number(time, is_bound and time > 0, form) for time, is_bound in zip(timescales, are_bounds, strict=True)]
