"""What derives from a spectrum's log-growth: running and windowed exponents, errors, dimensions, rates, timescales.

All functions take the dataset that `lyapunov_spectrum` returns.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

N_BATCHES = 32
MIN_BATCHES = 8


def batch_means_standard_error(log_growth: np.ndarray, duration: np.ndarray) -> np.ndarray:
    """Return the standard error of time-averaged growth rates along each trajectory, by batch means.

    Consecutive intervals are joined into at most 32 batches of similar duration, long enough that the means of
    neighbouring batches are hardly correlated; the error follows from how much they scatter, and is corrected for
    the correlation that is left between neighbours.

    Parameters
    ----------
    log_growth : ndarray
        (trajectory, interval, exponent), in nats.
    duration : ndarray
        (interval,), in steps or units of time.

    Returns
    -------
    ndarray
        (trajectory, exponent), in nats per step or unit of time. NaN with fewer than 8 intervals.
    """
    n_trajectories, n_intervals, k = log_growth.shape
    if n_intervals < MIN_BATCHES:
        return np.full((n_trajectories, k), np.nan)
    middle = duration.cumsum() - duration / 2
    batch = np.minimum((middle / duration.sum() * N_BATCHES).astype(int), N_BATCHES - 1)
    starts = np.flatnonzero(np.diff(batch, prepend=-1))
    time = np.add.reduceat(duration, starts)
    growth = np.add.reduceat(log_growth, starts, axis=1)
    n_batches = len(starts)
    with np.errstate(invalid="ignore"):  # dead directions: −inf − −inf
        deviation = growth - time[:, None] * (log_growth.sum(axis=1) / duration.sum())[:, None]
        variance = (deviation**2).sum(axis=1)
        neighbours = (deviation[:, 1:] * deviation[:, :-1]).sum(axis=1)
        # what is left of the correlation can widen the error, not narrow it below what independence would give
        total = (variance + 2 * np.maximum(neighbours, 0.0)) * n_batches / (n_batches - 1)
        return np.sqrt(total) / duration.sum()


def ensemble_mean(ds: xr.Dataset) -> xr.Dataset:
    """Return the mean spectrum over trajectories and its standard error.

    With several trajectories the error is that between them; with one it is the one along it. Trajectories that
    diverged are left out.

    Returns
    -------
    xarray.Dataset
        `lyapunov_exponent` and `standard_error` (exponent), and `n_trajectories` (exponent), how many were averaged.
    """
    exponents, errors = ds["lyapunov_exponent"], ds["standard_error"]
    valid = exponents.notnull()
    count = valid.sum("trajectory")
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = exponents.where(valid, 0.0).sum("trajectory") / count
        between = np.sqrt(((exponents - mean).where(valid, 0.0) ** 2).sum("trajectory") / (count - 1) / count)
    along = errors.where(valid, 0.0).sum("trajectory")  # of the only valid trajectory, where there is but one
    error = between.where(count > 1, along).where(count > 0)
    return xr.Dataset(
        {
            "lyapunov_exponent": mean.assign_attrs(exponents.attrs),
            "standard_error": error.assign_attrs(units=exponents.units, long_name="standard error of the mean"),
            "n_trajectories": count.assign_attrs(units="1", long_name="trajectories averaged"),
        }
    )


def running_exponents(ds: xr.Dataset) -> xr.DataArray:
    """Return the exponents up to the end of each interval, (trajectory, interval, exponent)."""
    running = ds["log_growth"].cumsum("interval") / ds["end_time"]
    return running.assign_coords(ds["log_growth"].coords).assign_attrs(
        units=ds["lyapunov_exponent"].units, long_name="running Lyapunov exponent"
    )


def coarsen(ds: xr.Dataset, window: float) -> xr.Dataset:
    """Return the spectrum with its intervals joined into longer ones; the exponents stay as they are.

    Parameters
    ----------
    ds : xarray.Dataset
        A spectrum.
    window : float
        Length of the new intervals, in steps (flows: units of time). They end where old ones do, so they are exact
        if the spectrum was computed with an interval that divides them. The last one may be shorter.

    Returns
    -------
    xarray.Dataset

    Raises
    ------
    ValueError
        If the window is shorter than an interval or longer than the run.
    """
    duration, end_time = ds["duration"].values, ds["end_time"].values
    if not duration.max() <= window * (1 + 1e-9) <= end_time[-1] * (1 + 2e-9):
        raise ValueError(
            f"window={window} must be between the longest interval, {duration.max():g}, and the length of the run, "
            f"{end_time[-1]:g}; for shorter windows compute the spectrum with a smaller reorthonormalize="
        )
    index = np.ceil(end_time / window - 1e-9).astype(int) - 1
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    joined = np.add.reduceat(duration, starts)
    return (
        ds.drop_dims("interval")
        .assign(
            log_growth=(
                ds["log_growth"].dims,
                np.add.reduceat(ds["log_growth"].values, starts, axis=1),
                ds["log_growth"].attrs,
            ),
            condition=(
                ds["condition"].dims,
                np.maximum.reduceat(ds["condition"].values, starts, axis=1),
                ds["condition"].attrs,
            ),
        )
        .assign_coords(
            interval=("interval", np.arange(len(starts)), ds["interval"].attrs),
            duration=("interval", joined, ds["duration"].attrs),
            end_time=("interval", joined.cumsum(), ds["end_time"].attrs),
        )
    )


def finite_time_exponents(ds: xr.Dataset, window: float) -> xr.DataArray:
    """Return the exponents of consecutive windows of time, an incomplete last one left out.

    Parameters
    ----------
    ds : xarray.Dataset
        A spectrum.
    window : float
        Length of a window, as in `coarsen`.

    Returns
    -------
    xarray.DataArray
        (trajectory, window, exponent), with the coordinates `duration` and `end_time` of the windows.

    Raises
    ------
    ValueError
        As `coarsen`.
    """
    windows = coarsen(ds, window).rename(interval="window")
    complete = math.floor(float(windows["end_time"][-1]) / window + 1e-9)
    windows = windows.isel(window=slice(complete))
    exponents = (windows["log_growth"] / windows["duration"]).rename("finite_time_exponent")
    return exponents.assign_attrs(units=ds["lyapunov_exponent"].units, long_name="finite-time Lyapunov exponent")


def kaplan_yorke_dimension(ds: xr.Dataset) -> xr.DataArray:
    """Return the Kaplan–Yorke (Lyapunov) dimension of each trajectory, (trajectory,).

    D = j + (λ_1 + … + λ_j) / |λ_{j+1}|, j the largest number of leading exponents whose sum is not negative. 0 if
    λ_1 < 0, N if all N exponents add up to 0 or more, NaN if more exponents than were computed would be needed.
    """
    exponents = ds["lyapunov_exponent"].values
    dimension = np.full(len(exponents), np.nan)
    for trajectory, spectrum in enumerate(exponents):
        if np.isnan(spectrum).any():
            continue
        negative = np.flatnonzero(spectrum.cumsum() < 0)
        if len(negative):
            j = negative[0]
            dimension[trajectory] = j + (spectrum[:j].sum() / -spectrum[j] if j else 0.0)
        elif len(spectrum) == ds.attrs["state_size"]:
            dimension[trajectory] = len(spectrum)
    return xr.DataArray(
        dimension,
        dims=("trajectory",),
        coords={"trajectory": ds["trajectory"]},
        name="kaplan_yorke_dimension",
        attrs={"units": "1", "long_name": "Kaplan–Yorke dimension"},
    )


def entropy_rate(ds: xr.Dataset) -> xr.DataArray:
    """Return the sum of the positive exponents of each trajectory, (trajectory,), in nats per step or unit of time.

    An upper bound on the Kolmogorov–Sinai entropy rate (Ruelle), and equal to it where Pesin's identity holds. If
    all computed exponents are positive and there are more, the sum is not known: NaN.
    """
    exponents = ds["lyapunov_exponent"]
    complete = (exponents.sizes["exponent"] == ds.attrs["state_size"]) | (exponents <= 0).any("exponent")
    rate = exponents.clip(min=0.0).sum("exponent", skipna=False).where(complete)
    return rate.rename("entropy_rate").assign_attrs(units=exponents.units, long_name="entropy rate")


def memory_timescale(ds: xr.Dataset) -> xr.DataArray:
    """Return −1/λ, the time in which a perturbation shrinks to 1/e, (trajectory, exponent).

    Of an `ensemble_mean`, that of the mean exponents, (exponent,).

    Infinite for λ ≥ 0: such a perturbation is not forgotten. 0 for λ = −∞: it is forgotten in one step.
    """
    exponents = ds["lyapunov_exponent"]
    timescale = xr.where(exponents < 0, -1.0 / exponents.where(exponents < 0), np.inf).where(exponents.notnull())
    unit = exponents.units.removeprefix("nats per ")
    return timescale.rename("memory_timescale").assign_attrs(units=unit, long_name="memory timescale")
