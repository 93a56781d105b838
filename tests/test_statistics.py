"""Derived quantities against closed forms; the standard error against the scatter of independent runs."""

import numpy as np
import pytest
import xarray as xr

import lyapkit as lk
from lyapkit.statistics import batch_means_standard_error


def _spectrum(exponents, state_size=None):
    """A dataset with given exponents, (trajectory, exponent)."""
    exponents = np.atleast_2d(np.asarray(exponents, dtype=float))
    n_trajectories, k = exponents.shape
    return xr.Dataset(
        {
            "lyapunov_exponent": (("trajectory", "exponent"), exponents, {"units": "nats per step"}),
            "standard_error": (("trajectory", "exponent"), np.full(exponents.shape, 0.5)),
        },
        coords={
            "trajectory": np.arange(n_trajectories),
            "exponent": np.arange(1, k + 1),
            "end_time": ("interval", [1.0], {"units": "step"}),
        },
        attrs={"state_size": state_size or k},
    )


@pytest.mark.parametrize(
    ("exponents", "state_size", "dimension"),
    [
        ([0.9056, 0.0, -14.5723], 3, 2 + 0.9056 / 14.5723),
        ([-0.1, -0.2], 2, 0.0),
        ([0.2, -0.2], 2, 2.0),
        ([0.3, -0.1], 2, 2.0),
        ([0.5, -0.1, -1.0], 3, 2 + 0.4 / 1.0),
        ([0.0, -1.0], 2, 1.0),
        ([0.3, 0.1], 5, np.nan),
        ([0.3, np.nan], 2, np.nan),
        ([0.3, -np.inf], 2, 1.0),
    ],
)
def test_kaplan_yorke_dimension(exponents, state_size, dimension):
    np.testing.assert_allclose(lk.kaplan_yorke_dimension(_spectrum(exponents, state_size)), [dimension])


@pytest.mark.parametrize(
    ("exponents", "state_size", "rate"),
    [
        ([0.5, 0.2, -3.0], 3, 0.7),
        ([-1.0], 1, 0.0),
        ([0.5, 0.2], 9, np.nan),
        ([0.5, 0.0], 9, 0.5),
        ([np.nan], 1, np.nan),
    ],
)
def test_entropy_rate(exponents, state_size, rate):
    np.testing.assert_allclose(lk.entropy_rate(_spectrum(exponents, state_size)), [rate])


def test_memory_timescale():
    timescale = lk.memory_timescale(_spectrum([0.5, 0.0, -0.1, -2.0, -np.inf, np.nan]))
    np.testing.assert_allclose(timescale[0], [np.inf, np.inf, 10.0, 0.5, 0.0, np.nan])


def test_ensemble_mean_leaves_out_what_diverged():
    ds = _spectrum([[1.0, -1.0], [3.0, -2.0], [np.nan, np.nan], [5.0, -3.0]])
    mean = lk.ensemble_mean(ds)
    np.testing.assert_allclose(mean.lyapunov_exponent, [3.0, -2.0])
    np.testing.assert_allclose(mean.standard_error, [2 / np.sqrt(3), 1 / np.sqrt(3)])
    np.testing.assert_array_equal(mean.n_trajectories, [3, 3])
    np.testing.assert_allclose(lk.ensemble_mean(_spectrum([[1.0]])).standard_error, [0.5])
    assert lk.ensemble_mean(_spectrum([[np.nan]])).standard_error.isnull().all()


def test_running_exponents_end_at_the_exponents():
    ds = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=300, n_trajectories=2)
    running = lk.running_exponents(ds)
    assert running.dims == ("trajectory", "interval", "exponent")
    np.testing.assert_allclose(running[:, -1], ds.lyapunov_exponent, rtol=1e-12)
    first = ds.log_growth[:, 0] / float(ds.duration[0])
    np.testing.assert_allclose(running[:, 0], first, rtol=1e-12)


def test_finite_time_exponents_are_those_of_separate_runs():
    system = lk.classical.henon()
    start = np.array([0.2, 0.1])
    whole = lk.lyapunov_spectrum(system, initial_state=start, n_steps=95, reorthonormalize=5)
    windows = lk.finite_time_exponents(whole, 20)
    assert windows.sizes["window"] == 4
    np.testing.assert_allclose(windows.end_time, [20, 40, 60, 80])
    for window in (0, 3):
        part = lk.lyapunov_spectrum(
            system, initial_state=start, n_transient=20 * window, n_steps=20, reorthonormalize=5
        )
        np.testing.assert_allclose(windows[0, window], part.lyapunov_exponent[0], atol=1e-10)
    with pytest.raises(ValueError, match="between the longest interval, 5, and the length of the run, 95"):
        lk.finite_time_exponents(whole, 3)
    with pytest.raises(ValueError, match="length of the run"):
        lk.finite_time_exponents(whole, 96)


def test_coarsening_loses_nothing_but_detail():
    ds = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=95, n_trajectories=2, reorthonormalize=5)
    coarse = lk.coarsen(ds, 20)
    np.testing.assert_array_equal(coarse.duration, [20, 20, 20, 20, 15])
    np.testing.assert_allclose(coarse.log_growth.sum("interval"), ds.log_growth.sum("interval"), rtol=1e-13)
    np.testing.assert_array_equal(coarse.lyapunov_exponent, ds.lyapunov_exponent)
    np.testing.assert_array_equal(coarse.condition.max("interval"), ds.condition.max("interval"))
    np.testing.assert_allclose(lk.running_exponents(coarse)[:, -1], ds.lyapunov_exponent, rtol=1e-12)
    assert set(coarse.variables) == set(ds.variables)
    assert coarse.duration.attrs == ds.duration.attrs


def test_windows_of_flows_are_in_units_of_time():
    ds = lk.lyapunov_spectrum(lk.classical.lorenz(), n_steps=1000, reorthonormalize=10)
    windows = lk.finite_time_exponents(ds, 2.5)
    np.testing.assert_allclose(windows.end_time, [2.5, 5.0, 7.5, 10.0])
    np.testing.assert_allclose(windows.mean("window"), ds.lyapunov_exponent, atol=1e-12)


@pytest.mark.parametrize("correlation", [0.0, 0.9, -0.6])
def test_standard_error_of_autocorrelated_growth(correlation):
    """AR(1) noise, whose time average has a known standard error; intervals of unequal length."""
    rng = np.random.default_rng(0)
    n_trajectories, n_steps = 300, 4000
    noise = np.zeros((n_trajectories, n_steps))
    for t in range(1, n_steps):
        noise[:, t] = correlation * noise[:, t - 1] + rng.normal(size=n_trajectories)
    edges = np.unique(np.r_[0, rng.choice(n_steps, 1500, replace=False), n_steps])
    growth = np.add.reduceat(noise, edges[:-1], axis=1)[..., None]
    error = batch_means_standard_error(growth, np.diff(edges).astype(float))[:, 0]
    exact = 1 / (1 - correlation) / np.sqrt(n_steps)
    assert error.mean() == pytest.approx(exact, rel=0.12)
    within = np.abs(noise.mean(axis=1)) < 2 * error
    assert 0.9 <= within.mean() <= 0.99


def test_standard_error_of_henon_is_honest():
    """Over 200 independent runs the true exponents lie within 2 standard errors in 90–99 % of them."""
    ds = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=4000, n_transient=50, n_trajectories=200, seed=11)
    within = np.abs(ds.lyapunov_exponent - np.array([0.41922, -1.62319])) < 2 * ds.standard_error
    for fraction in within.mean("trajectory").values:
        assert 0.90 <= fraction <= 0.99


def test_too_few_intervals_have_no_standard_error():
    assert np.isnan(batch_means_standard_error(np.ones((1, 7, 2)), np.ones(7))).all()
    np.testing.assert_allclose(batch_means_standard_error(np.ones((1, 8, 2)), np.ones(8)), 0.0)
