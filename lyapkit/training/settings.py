"""Settings of a run: the numbers it is called with, made Python's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lyapkit.scalars import plain, real

Number = float | np.number | np.ndarray | Tensor


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
    given = plain(value)
    several = isinstance(given, list | tuple | range)
    try:
        rates = [real("learning_rate", rate) for rate in (given if several else [given])]
    except ValueError:
        raise refused from None
    if not all(rate > 0 for rate in rates) or (several and len(rates) != n_networks):
        raise refused
    return rates if several else rates[0]


def dtype_name(dtype: torch.dtype) -> str:
    """Return a dtype's name, without "torch."."""
    return str(dtype).removeprefix("torch.")
