"""Intervals under a mixture of error distributions of different widths."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

TWO_SIDED = 0.95  # what ± 2 standard errors mean throughout
NORMAL = 1.959963984540054  # half the width of that interval for a normal distribution, in standard deviations
N_BISECTIONS = 12  # to a part in a thousand, which is more than an error bar knows of itself


def posterior(log_weight: np.ndarray) -> np.ndarray:
    """Return weights (model, …) that add up to 1 over the models, from their logarithms up to a constant."""
    weight = np.exp(log_weight - log_weight.max(axis=0))
    return weight / weight.sum(axis=0)


def half_width(weight: np.ndarray, scale: np.ndarray, within: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the h for which an error lies in (−h, h) with probability 0.95.

    The error is, with probability `weight`, `scale` times a variable x for which P(|x| < z) = `within`(z).

    Parameters
    ----------
    weight, scale : ndarray
        (model, …): probabilities that add up to 1 over the models, and positive widths, in any unit.
    within : callable
        Increasing from 0 to 1; 0.95 is reached between 1 and 20.

    Returns
    -------
    ndarray
        (…), in the unit of `scale`.
    """
    largest = scale.max(axis=0)
    scale, weight = (scale / largest).astype(np.float32), weight.astype(np.float32)
    low, high = np.log(scale.min(axis=0)), np.full_like(scale[0], 3.0)
    for _ in range(N_BISECTIONS):
        middle = (low + high) / 2
        enough = (weight * within(np.exp(middle) / scale)).sum(axis=0) > TWO_SIDED
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.exp((low + high) / 2) * largest
