"""The numbers a run is called with: Python's own, whatever kind of scalar they were given as, and within range."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Number = float | np.number | np.ndarray | Tensor


def whole(name: str, value: object, minimum: int) -> int:
    """Return a whole number as an int; it may be a NumPy or torch scalar.

    Raises
    ------
    ValueError
        If it is none, or below the minimum.
    """
    value = _plain(value)
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be a whole number, got {value!r}") from None
    if isinstance(value, bool) or number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")
    return number


def real(name: str, value: object) -> float:
    """Return a number as a float; it may be a NumPy or torch scalar.

    Raises
    ------
    ValueError
        If it is none, or not finite.
    """
    value = _plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a number, got {value!r}")
    return value


def learning_rates(value: Number | Sequence[Number], n_networks: int) -> float | list[float]:
    """Return one learning rate, or one per network.

    Raises
    ------
    ValueError
        If a rate is not positive, or there is another number of them.
    """
    refused = ValueError(
        f"learning_rate must be a positive number or {n_networks} of them, one per network, got {value}"
    )
    plain = _plain(value)
    several = isinstance(plain, list | tuple | range)
    try:
        rates = [real("learning_rate", rate) for rate in (plain if several else [plain])]
    except ValueError:
        raise refused from None
    if not all(rate > 0 for rate in rates) or (several and len(rates) != n_networks):
        raise refused
    return rates if several else rates[0]


def _plain(value: object) -> Any:
    """Return NumPy's and torch's scalars and arrays as Python's numbers and lists."""
    if isinstance(value, Tensor):
        return value.detach().cpu().tolist()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value


def dtype_name(dtype: torch.dtype) -> str:
    """Return a dtype's name, without "torch."."""
    return str(dtype).removeprefix("torch.")
