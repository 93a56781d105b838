"""The mean power spectrum of a task's sequences, and the frequency that stands out of it."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lyapkit.provenance import provenance
from lyapkit.tasks.task import Task


def power_spectrum(task: Task, n_samples: int | None = None) -> xr.Dataset:
    """Return the mean power spectrum of a task's test sequences, their means taken away.

    Parameters
    ----------
    task : Task
        Which.
    n_samples : int, optional
        How many sequences. Default: all of the test set.

    Returns
    -------
    xarray.Dataset
        `power` (feature, frequency): mean squared modulus of the discrete Fourier transform over the number of steps,
        at the frequencies 2πk/T, k = 1 … T/2, in rad per step; `characteristic_frequency` (feature): where it is
        largest. For MNIST read pixel by pixel that is 2π/28, once per row; in a random order no frequency stands out.

    Examples
    --------
    >>> import lyapkit as lk
    >>> ds = lk.power_spectrum(lk.task("digits"), n_samples=50)
    >>> bool(ds.power.min() >= 0)
    True
    """
    inputs = task.test_samples(n_samples)[0].astype(np.float64)
    inputs = inputs - inputs.mean(1, keepdims=True)
    power = (np.abs(np.fft.rfft(inputs, axis=1)) ** 2).mean(0)[1:].T / task.n_steps  # (feature, frequency)
    frequency = 2 * np.pi * np.arange(1, power.shape[1] + 1) / task.n_steps
    dims = ("feature", "frequency")
    ds = xr.Dataset(
        {
            "power": (dims, power, {"units": "1", "long_name": "mean power of the input sequences"}),
            "characteristic_frequency": (
                "feature",
                frequency[power.argmax(1)],
                {"units": "rad per step", "long_name": "frequency of largest power"},
            ),
        },
        {
            "feature": ("feature", np.arange(task.input_size), {"units": "1", "long_name": "input feature"}),
            "frequency": ("frequency", frequency, {"units": "rad per step", "long_name": "frequency ω"}),
        },
    )
    return ds.assign_attrs(provenance(n_samples=len(inputs)) | task.description)
