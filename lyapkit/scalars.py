"""Numbers that callers give: Python's own, whatever kind of scalar they were given as, and within range."""

from __future__ import annotations

import math
import operator
import sys
from typing import Any

import numpy as np
from torch import Tensor


def whole(name: str, value: object, minimum: int) -> int:
    """Return a whole number as an int; it may be a NumPy or torch scalar, and 1e5 is one.

    Raises
    ------
    ValueError
        If it is none, or below the minimum.
    """
    value = plain(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be a whole number, got {value!r}") from None
    if isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number, got {value}")
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")
    return number


def whole_numbers(**given: object) -> tuple[Any, ...]:
    """Return whole numbers of any size as ints, and None as it is, in this order; raise ValueError if one is none."""
    return tuple(None if value is None else whole(name, value, -sys.maxsize) for name, value in given.items())


def real(name: str, value: object) -> float:
    """Return a number as a float; it may be a NumPy or torch scalar.

    Raises
    ------
    ValueError
        If it is none, or not finite.
    """
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number, got {value!r}")
    return value


def plain(value: object) -> Any:
    """Return NumPy's and torch's scalars and arrays as Python's numbers and lists."""
    if isinstance(value, Tensor):
        return value.detach().cpu().tolist()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value
