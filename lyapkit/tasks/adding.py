"""ADD: the sum of two marked numbers in a sequence of random ones (Hochreiter & Schmidhuber 1997)."""

from __future__ import annotations

import numpy as np

from lyapkit.tasks.task import Task

N_TEST = 10_000
_TRAIN, _TEST = 0, 1  # which stream of random numbers


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


class AddingTask(Task):
    """The adding problem of one length, with new samples at every iteration.

    Parameters
    ----------
    length : int
        Steps of a sequence.
    """

    input_size, output_size = 2, 1
    kind = "regression"
    samples_per_epoch = 12_800  # chosen: 100 batches of 128

    def __init__(self, length: int) -> None:
        adding(1, length, 0)  # raises if it is too short
        self.name, self.n_steps = f"add{length}", length

    def batch(self, iteration: int, batch_size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return the samples of an iteration."""
        return adding(batch_size, self.n_steps, np.random.default_rng([_TRAIN, seed, iteration]))

    def test_samples(self, n_samples: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return the first of 10 000 samples that are always the same."""
        inputs, targets = adding(N_TEST, self.n_steps, np.random.default_rng([_TEST]))
        return inputs[:n_samples], targets[:n_samples]
