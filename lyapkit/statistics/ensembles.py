"""Means over trajectories, and how certain they are."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.special import stdtr, stdtrit

from lyapkit.statistics.mixtures import NORMAL, TWO_SIDED, half_width, posterior

FREEDOM = 4.0  # degrees of freedom that an assumed variance counts for
# The variance of an exponent over trajectories may be its variance along one, 4, 16, … times that, because the
# trajectories differ, or a little less, because errors along trajectories tend to be too large rather than too small.
FACTORS = 4.0 ** np.arange(-2, 20)
WEIGHTS = np.where(FACTORS < 1, 0.1, np.where(FACTORS == 1, 1.0, 0.2))
FAR_ABOVE = 1e6  # times the variance along trajectories: from there on it says nothing


def ensemble_mean(ds: xr.Dataset) -> xr.Dataset:
    """Return the mean spectrum over trajectories and its standard error.

    With one trajectory the error is that along it. With several, their scatter and the errors along them say together
    how much an exponent varies: the scatter wins where it is larger, as among trajectories with different inputs or on
    different attractors, and always where there are many. ± 2 standard errors are meant as a 95 % interval, so the
    error of a mean of two or three is wider than their scatter.

    Trajectories that diverged are left out. One that has an exponent of −∞ makes the mean −∞, without an error; one
    whose exponent is only an upper bound makes the mean an upper bound.

    Parameters
    ----------
    ds : xarray.Dataset
        A spectrum: `lyapunov_exponent` and `standard_error` (trajectory, exponent), and `is_bound` (likewise, boolean)
        if some of its exponents are only upper bounds.

    Returns
    -------
    xarray.Dataset
        `lyapunov_exponent` and `standard_error` (exponent), in the unit of the spectrum; how many trajectories were
        averaged, `n_trajectories`, how many left out, `n_left_out`, and how many of those averaged had −∞, `n_dead`
        (exponent); `is_bound` (exponent) if the spectrum has it.
    """
    exponents, errors = ds["lyapunov_exponent"], ds["standard_error"]
    valid = exponents.notnull()
    count = valid.sum("trajectory")
    dead = np.isneginf(exponents).sum("trajectory")
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
    return xr.Dataset(variables)


def _standard_error(exponents: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return the standard errors (exponent,) of means of exponents (trajectory, exponent) with errors along each.

    The variance v of an exponent over trajectories is taken to be one of `FACTORS` times the geometric mean of those
    along them, each known as well as from `FREEDOM` observations (a scaled inverse χ² distribution). The scatter
    updates how plausible each is, and its value; the mean is then distributed as a mixture of Student's t.
    """
    valid = ~np.isnan(exponents)
    count = valid.sum(axis=0)
    result = np.full(exponents.shape[1], np.nan)
    known = valid & np.isfinite(errors)
    finite = ~np.isneginf(exponents).any(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        # the geometric mean: single errors may be much too large; NaN where no error is known
        along = np.exp(2 * np.log(np.where(known, errors, 1.0)).sum(axis=0) / known.sum(axis=0))
        mean = np.where(valid, exponents, 0.0).sum(axis=0) / count
        scatter = np.where(valid, (exponents - mean) ** 2, 0.0).sum(axis=0)

    single = finite & (count == 1)
    result[single] = np.sqrt(along[single])

    several = finite & (count > 1)
    n = np.maximum(count, 2)
    student = stdtrit(n - 1.0, (1 + TWO_SIDED) / 2) / NORMAL
    result[several] = (np.sqrt(scatter / (n - 1) / n) * student)[several]

    pooled = several & (along > 0)
    pooled[pooled] = scatter[pooled] < FAR_ABOVE * along[pooled] * (n[pooled] - 1)
    if pooled.any():
        n, scatter, assumed = n[pooled], scatter[pooled], FREEDOM * FACTORS[:, None] * along[pooled]
        freedom = FREEDOM + n - 1.0
        weight = posterior(
            np.log(WEIGHTS)[:, None] + FREEDOM / 2 * np.log(assumed) - freedom / 2 * np.log(assumed + scatter)
        )
        scale = np.sqrt((assumed + scatter) / freedom / n)
        result[pooled] = half_width(weight, scale, lambda z: 2 * stdtr(freedom, z) - 1) / NORMAL
    return result
