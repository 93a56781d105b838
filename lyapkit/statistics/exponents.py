"""What derives from a spectrum: running and windowed exponents, dimensions, rates, timescales.

All functions take the dataset that `lyapunov_spectrum` returns. Where it has the boolean variable `is_bound`
(trajectory, exponent), which marks exponents that are only upper bounds, what derives from them has the boolean
coordinate `is_bound`: dimension, entropy rate and timescale never fall when an exponent rises, so that an upper bound
on an exponent gives an upper bound on them, or does not matter.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from lyapkit.given_datasets import takes


@takes("log_growth", of="lyapunov_spectrum")
def running_exponents(ds: xr.Dataset) -> xr.DataArray:
    """Return the exponents up to the end of each interval, (trajectory, interval, exponent).

    Examples
    --------
    >>> import lyapkit as lk
    >>> ds = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=1000, n_transient=100)
    >>> running = lk.running_exponents(ds)
    >>> bool(abs(running[0, -1] - ds.lyapunov_exponent[0]).max() < 1e-12)  # at the end, all of it
    True
    """
    running = ds["log_growth"].cumsum("interval") / ds["end_time"]
    return running.assign_coords(ds["log_growth"].coords).assign_attrs(
        units=ds["lyapunov_exponent"].units, long_name="running Lyapunov exponent"
    )


@takes("log_growth", of="lyapunov_spectrum")
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
        If the window is shorter than an interval or longer than the run, or trajectories differ in length.

    Examples
    --------
    >>> import lyapkit as lk
    >>> ds = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=1000, n_transient=100)
    >>> coarse = lk.coarsen(ds, window=100)
    >>> coarse.sizes["interval"] < ds.sizes["interval"]
    True
    """
    ds = _of_one_length(ds)
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


@takes("log_growth", of="lyapunov_spectrum")
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

    Examples
    --------
    >>> import lyapkit as lk
    >>> ds = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=1000, n_transient=100)
    >>> lk.finite_time_exponents(ds, window=100).dims
    ('trajectory', 'window', 'exponent')
    """
    windows = coarsen(ds, window).rename(interval="window")
    complete = math.floor(float(windows["end_time"][-1]) / window + 1e-9)
    windows = windows.isel(window=slice(complete))
    exponents = (windows["log_growth"] / windows["duration"]).rename("finite_time_exponent")
    return exponents.assign_attrs(units=ds["lyapunov_exponent"].units, long_name="finite-time Lyapunov exponent")


def _of_one_length(ds: xr.Dataset) -> xr.Dataset:
    """Return a spectrum whose intervals are the same for all trajectories, or say that they are not."""
    if ds["duration"].ndim == 1:
        return ds
    duration = ds["duration"].values
    if not np.array_equal(duration, np.broadcast_to(duration[:1], duration.shape), equal_nan=True):
        raise ValueError(
            "the trajectories differ in length, so their intervals end at different times: choose those of one length, "
            "ds.isel(trajectory=ds.n_steps.values == …)"
        )
    first = {name: ds[name].isel(trajectory=0, drop=True) for name in ("duration", "end_time")}
    return ds.drop_vars(first).assign_coords(first).isel(interval=np.isfinite(duration[0]))


@takes("lyapunov_exponent", of="lyapunov_spectrum", leading=True)
def kaplan_yorke_dimension(ds: xr.Dataset) -> xr.DataArray:
    """Return the Kaplan–Yorke (Lyapunov) dimension of each trajectory, (trajectory,).

    `D = j + (λ_1 + … + λ_j) / |λ_{j+1}|`, j the largest number of leading exponents whose sum is not negative. 0 if
    λ_1 < 0, N if all N exponents add up to 0 or more, NaN if more exponents than were computed would be needed.

    If the spectrum says which exponents are only upper bounds (`is_bound`), the coordinate `is_bound` (trajectory,)
    says where D is one: where such a bound is among λ_1, …, λ_{j+1}, because D is where the curve through the sums
    λ_1 + … + λ_i comes down to 0, and lowering an exponent lowers the curve. D = 0 is exact all the same.

    Examples
    --------
    >>> import lyapkit as lk
    >>> ds = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=1000, n_transient=100)
    >>> round(float(lk.kaplan_yorke_dimension(ds)[0]), 1)
    1.3
    """
    exponents = ds["lyapunov_exponent"].values
    dimension, n_used = dimensions_of(exponents, ds.attrs["state_size"])
    result = xr.DataArray(
        dimension,
        dims=("trajectory",),
        coords={"trajectory": ds["trajectory"]},
        name="kaplan_yorke_dimension",
        attrs={"units": "1", "long_name": "Kaplan–Yorke dimension"},
    )
    used = np.arange(exponents.shape[1]) < n_used[:, None]
    return _with_bounds(result, ds, xr.DataArray(used, dims=("trajectory", "exponent")))


def dimensions_of(exponents: np.ndarray, state_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Kaplan–Yorke dimensions (trajectory,) of spectra (trajectory, exponent), and how many made each."""
    dimension = np.full(len(exponents), np.nan)
    n_used = np.zeros(len(exponents), dtype=int)
    for trajectory, spectrum in enumerate(exponents):
        if np.isnan(spectrum).any():
            continue
        negative = np.flatnonzero(spectrum.cumsum() < 0)
        if len(negative):
            j = negative[0]
            dimension[trajectory] = j + (spectrum[:j].sum() / -spectrum[j] if j else 0.0)
            n_used[trajectory] = j + 1 if j else 0
        elif len(spectrum) == state_size:
            dimension[trajectory] = n_used[trajectory] = len(spectrum)
    return dimension, n_used


@takes("lyapunov_exponent", of="lyapunov_spectrum", leading=True)
def entropy_rate(ds: xr.Dataset) -> xr.DataArray:
    """Return the sum of the positive exponents of each trajectory, (trajectory,), in nats per step or unit of time.

    An upper bound on the Kolmogorov–Sinai entropy rate (Ruelle), and equal to it where Pesin's identity holds. If
    all computed exponents are positive and there are more, the sum is not known: NaN.

    If the spectrum says which exponents are only upper bounds (`is_bound`), the coordinate `is_bound` (trajectory,)
    says where the sum is one: where a positive exponent is. An exponent with a bound of at most 0 adds nothing.

    Examples
    --------
    >>> import lyapkit as lk
    >>> ds = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=1000, n_transient=100)
    >>> bool(lk.entropy_rate(ds)[0] == ds.lyapunov_exponent[0, 0])  # the sum of those above 0
    True
    """
    exponents = ds["lyapunov_exponent"]
    complete = (exponents.sizes["exponent"] == ds.attrs["state_size"]) | (exponents <= 0).any("exponent")
    rate = exponents.clip(min=0.0).sum("exponent", skipna=False).where(complete)
    rate = rate.rename("entropy_rate").assign_attrs(units=exponents.units, long_name="entropy rate")
    return _with_bounds(rate, ds, (exponents > 0) & rate.notnull())


@takes("lyapunov_exponent", of="lyapunov_spectrum")
def memory_timescale(ds: xr.Dataset) -> xr.DataArray:
    """Return −1/λ, the time in which a perturbation shrinks to 1/e, (trajectory, exponent).

    Of an `ensemble_mean`, that of the mean exponents, (exponent,).

    Infinite for λ ≥ 0: such a perturbation is not forgotten. 0 for λ = −∞: it is forgotten in one step.

    If the spectrum says which exponents are only upper bounds (`is_bound`), the coordinate `is_bound`, of the same
    dimensions, says which timescales are: λ ≤ b < 0 means −1/λ ≤ −1/b. A bound of 0 or more says nothing: infinite.

    Examples
    --------
    >>> import lyapkit as lk
    >>> ds = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=1000, n_transient=100)
    >>> lk.memory_timescale(ds)[0].values.round(1).tolist()  # what grows is not forgotten
    [inf, 0.6]
    """
    exponents = ds["lyapunov_exponent"]
    timescale = xr.where(exponents < 0, -1.0 / exponents.where(exponents < 0), np.inf).where(exponents.notnull())
    unit = exponents.units.removeprefix("nats per ")
    timescale = timescale.rename("memory_timescale").assign_attrs(units=unit, long_name="memory timescale")
    return _with_bounds(timescale, ds, exponents.notnull())


def upper_bounds(ds: xr.Dataset | xr.DataArray) -> np.ndarray:
    """Return where a spectrum, its mean, or what derives from it are only upper bounds, booleans in their shape.

    Nowhere if the data do not say, as older files do not.
    """
    if isinstance(ds, xr.DataArray):
        return ds["is_bound"].values if "is_bound" in ds.coords else np.zeros(ds.shape, dtype=bool)
    return ds["is_bound"].values.astype(bool) if "is_bound" in ds else np.zeros(ds["lyapunov_exponent"].shape, bool)


def _with_bounds(result: xr.DataArray, ds: xr.Dataset, used: xr.DataArray) -> xr.DataArray:
    """Return a result with the coordinate `is_bound` if the spectrum says which of the exponents `used` are bounds."""
    if "is_bound" not in ds:
        return result
    bound = ds["is_bound"].variable.astype(bool) & used.variable
    if "exponent" not in result.dims:
        bound = bound.any("exponent")
    attributes = {"units": "1", "long_name": f"the {result.attrs['long_name']} is only an upper bound"}
    return result.assign_coords(is_bound=(result.dims, bound.transpose(*result.dims).values, attributes))
