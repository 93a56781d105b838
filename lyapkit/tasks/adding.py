"""ADD: the sum of two marked numbers in a sequence of random ones (Hochreiter & Schmidhuber 1997)."""

from __future__ import annotations

import numpy as np


def adding(n_samples: int, length: int, rng: np.random.Generator | int) -> tuple[np.ndarray, np.ndarray]:
    """Return sequences of the adding problem, and their targets.

    Channel 1 is uniform on [0, 1]; channel 2 is 1 at one random step in each half of the sequence and 0 elsewhere. The
    target is the sum of the two marked values. Always answering 1 has a root-mean-square error of 1/√6 ≈ 0.408.

    Parameters
    ----------
    n_samples, length : int
        How many sequences, and of how many steps, at least 2.
    rng : numpy.random.Generator or int
        Where they come from, or a seed.

    Returns
    -------
    inputs, targets : ndarray
        (sample, time, 2) and (sample, 1).

    Raises
    ------
    ValueError
        If there is no sequence, or one is too short to have two halves.
    """
    if n_samples < 1 or length < 2:
        raise ValueError(f"expected at least 1 sequence of at least 2 steps, got {n_samples} of {length}")
    rng = np.random.default_rng(rng)
    inputs = np.zeros((n_samples, length, 2))
    inputs[:, :, 0] = rng.uniform(size=(n_samples, length))
    samples, half = np.arange(n_samples), length // 2
    for marked in (rng.integers(0, half, n_samples), rng.integers(half, length, n_samples)):
        inputs[samples, marked, 1] = 1.0
    return inputs, (inputs[:, :, 0] * inputs[:, :, 1]).sum(axis=1, keepdims=True)
