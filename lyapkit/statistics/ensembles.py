"""Means over trajectories, and how certain they are."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.special import stdtrit

from lyapkit.given_datasets import takes
from lyapkit.statistics.mixtures import NORMAL, TWO_SIDED


@takes("lyapunov_exponent", of="lyapunov_spectrum", along="trajectory")
def ensemble_mean(ds: xr.Dataset) -> xr.Dataset:
    """Return the mean spectrum over trajectories and its standard error.

    With one trajectory the error is that along it. With several it is that between them, whatever makes them differ.
    ± 2 standard errors are meant as a 95 % interval, so the error of a mean of few is wider than their scatter, by the
    quantile of Student's t over that of a normal distribution: 6.5 times for two trajectories, 1.2 times for eight.

    Trajectories that diverged are left out. One that has an exponent of −∞ makes the mean −∞, without an error; one
    whose exponent is only an upper bound makes the mean an upper bound.

    Parameters
    ----------
    ds : xarray.Dataset
        A spectrum: `lyapunov_exponent` and `standard_error` (trajectory, exponent), and `is_bound` (likewise, boolean)
        if some of its exponents are only upper bounds; or a sweep of spectra, with its parameters as more dimensions.

    Returns
    -------
    xarray.Dataset
        `lyapunov_exponent` and `standard_error` (…, exponent), in the unit of the spectrum; how many trajectories were
        averaged, `n_trajectories`, how many left out, `n_left_out`, and how many of those averaged had −∞, `n_dead`
        (…, exponent); `is_bound` (…, exponent) if the spectrum has it.

    Examples
    --------
    >>> import lyapkit as lk
    >>> ds = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=1000, n_trajectories=4)
    >>> mean = lk.ensemble_mean(ds)
    >>> mean.lyapunov_exponent.shape, int(mean.n_left_out.max())
    ((2,), 0)
    """
    exponents, errors = ds["lyapunov_exponent"], ds["standard_error"]
    valid = exponents.notnull()
    count = valid.sum("trajectory")
    dead = (exponents == -np.inf).sum("trajectory")
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = exponents.where(valid, 0.0).sum("trajectory") / count
    error = xr.apply_ufunc(
        _standard_error,
        exponents,
        errors,
        input_core_dims=[["trajectory", "exponent"]] * 2,
        output_core_dims=[["exponent"]],
    )
    variables = {
        "lyapunov_exponent": mean.assign_attrs(exponents.attrs),
        "standard_error": error.assign_attrs(units=exponents.units, long_name="standard error of the mean"),
        "n_trajectories": count.assign_attrs(units="1", long_name="trajectories averaged"),
        "n_left_out": (~valid).sum("trajectory").assign_attrs(units="1", long_name="trajectories left out"),
        "n_dead": dead.assign_attrs(units="1", long_name="averaged trajectories with an exponent of −∞"),
    }
    if "is_bound" in ds:
        bound = (ds["is_bound"].astype(bool) & valid).any("trajectory")
        variables["is_bound"] = bound.assign_attrs(units="1", long_name="the mean is only an upper bound")
    return xr.Dataset(variables, attrs=ds.attrs)


def _standard_error(exponents: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return the standard errors (…, exponent) of means of exponents (…, trajectory, exponent), from errors of each."""
    valid = ~np.isnan(exponents)
    count = valid.sum(axis=-2)
    is_finite = ~np.isneginf(exponents).any(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(valid, exponents, 0.0).sum(axis=-2) / count
        scatter = np.where(valid, (exponents - mean[..., None, :]) ** 2, 0.0).sum(axis=-2)
        several = np.sqrt(scatter / (count - 1) / count) * stdtrit(count - 1.0, (1 + TWO_SIDED) / 2) / NORMAL
    along = np.where(valid, errors, 0.0).sum(axis=-2)  # of the only one, where there is but one
    return np.where(is_finite & (count > 0), np.where(count > 1, several, along), np.nan)
