"""Derived quantities against closed forms; the standard error against the scatter of independent runs."""

import numpy as np
import pytest
import xarray as xr

import lyapkit as lk
from lyapkit.statistics import time_average_standard_error


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
    same = lk.ensemble_mean(ds.isel(trajectory=[0, 1, 3]))
    np.testing.assert_array_equal(mean.standard_error, same.standard_error)
    np.testing.assert_array_equal(mean.n_trajectories, [3, 3])
    np.testing.assert_array_equal(mean.n_left_out, [1, 1])
    np.testing.assert_array_equal(mean.n_dead, [0, 0])
    assert lk.ensemble_mean(_spectrum([[np.nan]])).standard_error.isnull().all()


def test_error_of_one_trajectory_is_that_along_it():
    np.testing.assert_allclose(lk.ensemble_mean(_spectrum([[1.0]])).standard_error, [0.5])
    unknown = _spectrum([[1.0]])
    unknown["standard_error"][:] = np.nan
    assert lk.ensemble_mean(unknown).standard_error.isnull().all()


def test_error_between_trajectories_is_students():
    """12.706, 4.303 and 2.365: the 97.5 % quantiles of Student's t with one, two and seven degrees of freedom."""
    for exponents, quantile in (([-1.0, 1.0], 12.706), ([-1.0, 0.0, 1.0], 4.303), (list(range(8)), 2.365)):
        ds = _spectrum(np.array(exponents)[:, None])
        expected = np.std(exponents, ddof=1) / np.sqrt(len(exponents)) * quantile / 1.96
        np.testing.assert_allclose(lk.ensemble_mean(ds).standard_error, [expected], rtol=1e-3)


@pytest.mark.parametrize("between", [0.0, 1.0, 10.0, 1e4])
@pytest.mark.parametrize("n_trajectories", [2, 3, 4, 8])
def test_error_of_the_mean_of_few_trajectories_is_honest(n_trajectories, between):
    """Coverage over 4000 ensembles, each an "exponent"; `between` is in units of the variance along trajectories."""
    rng = np.random.default_rng(1)
    ds = _spectrum(rng.normal(size=(n_trajectories, 4000)) * np.sqrt(1 + between))
    mean = lk.ensemble_mean(ds)
    coverage = float((np.abs(mean.lyapunov_exponent) < 2 * mean.standard_error).mean())
    assert 0.94 < coverage < 0.97


def test_error_of_the_mean_of_two_trajectories_of_henon_is_honest():
    ds = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=500, n_transient=50, n_trajectories=400, seed=12)
    pairs = [lk.ensemble_mean(ds.isel(trajectory=[i, i + 1])) for i in range(0, 400, 2)]
    within = [np.abs(mean.lyapunov_exponent[0] - 0.41922) < 2 * mean.standard_error[0] for mean in pairs]
    assert 0.9 <= np.mean(within) <= 0.99


def test_mean_with_dead_directions_is_minus_infinity():
    mean = lk.ensemble_mean(_spectrum([[1.0, -np.inf], [2.0, -1.0], [3.0, -np.inf], [np.nan, np.nan]]))
    np.testing.assert_array_equal(mean.lyapunov_exponent, [2.0, -np.inf])
    np.testing.assert_array_equal(mean.n_dead, [0, 2])
    np.testing.assert_array_equal(mean.n_trajectories, [3, 3])
    np.testing.assert_array_equal(mean.standard_error.isnull(), [False, True])


def test_mean_of_a_bound_is_a_bound():
    exponents = [[1.0, -1.0, -2.0], [1.0, -1.0, -3.0], [1.0, np.nan, -4.0]]
    bounds = [[False, False, True], [False, False, False], [False, True, False]]
    ds = _bounded(exponents, bounds)
    mean = lk.ensemble_mean(ds)
    np.testing.assert_array_equal(mean.is_bound, [False, False, True])
    assert mean.is_bound.dims == ("exponent",)
    np.testing.assert_array_equal(lk.memory_timescale(mean).is_bound, [False, False, True])
    assert "is_bound" not in lk.ensemble_mean(_spectrum(exponents))


def _bounded(exponents, bounds, state_size=None):
    return _spectrum(exponents, state_size).assign(is_bound=(("trajectory", "exponent"), np.atleast_2d(bounds)))


@pytest.mark.parametrize(
    ("exponents", "rank", "dimension", "entropy"),
    [
        ([0.9, 0.0, -14.5, -20.0], 3, True, False),  # λ_{j+1}
        ([0.9, 0.0, -14.5, -20.0], 4, False, False),  # below the crossing
        ([0.9, 0.5, -14.5, -20.0], 2, True, True),
        ([0.9, 0.0, -14.5, -20.0], 2, True, False),
        ([-0.1, -0.2], 1, False, False),  # 0, whatever λ_1 < 0 is
        ([0.2, -0.2], 2, True, False),  # all of them add up to 0
    ],
)
def test_what_a_bound_makes_a_bound(exponents, rank, dimension, entropy):
    """And in the right direction: the true values, with a smaller exponent, are not larger."""
    bounds = np.arange(1, len(exponents) + 1) == rank
    ds = _bounded(exponents, bounds)
    results = {lk.kaplan_yorke_dimension: dimension, lk.entropy_rate: entropy}
    lower = _spectrum(np.sort(np.array(exponents) - 0.3 * bounds)[::-1])
    for function, expected in results.items():
        assert function(ds).is_bound.dims == ("trajectory",)
        assert bool(function(ds).is_bound[0]) == expected
        change = float(function(lower)[0] - function(ds)[0])
        assert change < 0 if expected else change == 0
        assert "is_bound" not in function(lower).coords
    timescale = lk.memory_timescale(ds)
    np.testing.assert_array_equal(timescale.is_bound[0], bounds)
    assert "is_bound" not in lk.memory_timescale(lower).coords


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
    error = time_average_standard_error(growth, np.diff(edges).astype(float))[:, 0]
    exact = 1 / (1 - correlation) / np.sqrt(n_steps)
    assert error.mean() == pytest.approx(exact, rel=0.12)
    within = np.abs(noise.mean(axis=1)) < 2 * error
    assert 0.9 <= within.mean() <= 0.99


def _bounded_growth(rng, n_trajectories, n_intervals, correlation):
    """Growth f(x_t) − f(x_0), f an AR(1) process of unit variance, whose time average has an error like 1/T."""
    potential = rng.normal(size=(n_trajectories, n_intervals + 1))
    for t in range(1, n_intervals + 1):
        potential[:, t] = correlation * potential[:, t - 1] + np.sqrt(1 - correlation**2) * potential[:, t]
    return np.diff(potential, axis=1)


@pytest.mark.parametrize("correlation", [0.0, 0.8])
@pytest.mark.parametrize("n_intervals", [320, 5000])
def test_standard_error_of_bounded_growth(n_intervals, correlation):
    """The error falls like 1/T; the error of independent growth would be many times too large."""
    growth = _bounded_growth(np.random.default_rng(2), 1000, n_intervals, correlation)
    error = time_average_standard_error(growth[..., None], np.ones(n_intervals))[:, 0]
    scatter = np.sqrt(2) / n_intervals
    assert 0.9 <= (np.abs(growth.mean(axis=1)) < 2 * error).mean() <= 0.99
    assert 0.9 < np.median(error) / scatter < 1.3
    assert error.mean() / scatter < 1.5


@pytest.mark.parametrize("walk", [0.1, 1.0, 10.0])
def test_standard_error_of_bounded_growth_on_top_of_a_random_walk(walk):
    """`walk`: the random walk's part of the total variance, in units of the bounded part's."""
    rng = np.random.default_rng(3)
    growth = _bounded_growth(rng, 1000, 33, 0.0) + rng.normal(size=(1000, 33)) * np.sqrt(2 * walk / 33)
    error = time_average_standard_error(growth[..., None], np.ones(33))[:, 0]
    assert 0.9 <= (np.abs(growth.mean(axis=1)) < 2 * error).mean() <= 0.99


def test_standard_error_scales_with_growth_and_time():
    growth = np.random.default_rng(4).normal(size=(2, 40, 3))
    error = time_average_standard_error(growth, np.ones(40))
    np.testing.assert_allclose(time_average_standard_error(growth * 1e-9 + 7.0, np.ones(40)), error * 1e-9, rtol=1e-4)
    np.testing.assert_allclose(time_average_standard_error(growth, np.full(40, 0.01)), error * 100, rtol=1e-9)
    np.testing.assert_allclose(time_average_standard_error(growth[:1, :, 1:2], np.ones(40)), error[:1, 1:2], rtol=1e-9)


def test_growth_that_is_not_finite_has_no_standard_error():
    growth = np.random.default_rng(5).normal(size=(2, 100, 3))
    expected = time_average_standard_error(growth, np.ones(100))
    growth[0, 50:, 1] = -np.inf
    growth[1, 99, 2] = np.nan
    expected[0, 1] = expected[1, 2] = np.nan
    np.testing.assert_allclose(time_average_standard_error(growth, np.ones(100)), expected)


def test_standard_error_of_the_logistic_map_is_honest():
    """log|f'| is nearly a difference there: the exponent converges like 1/T."""
    ds = lk.lyapunov_spectrum(lk.classical.logistic(), n_steps=2000, n_transient=50, n_trajectories=400, seed=13)
    deviation = ds.lyapunov_exponent[:, 0] - np.log(2)
    assert 0.9 <= float((np.abs(deviation) < 2 * ds.standard_error[:, 0]).mean()) <= 0.99
    assert float(ds.standard_error.mean() / deviation.std()) < 1.6


def test_standard_error_of_lorenz_is_honest():
    ds = lk.lyapunov_spectrum(lk.classical.lorenz(), n_steps=4000, n_transient=500, n_trajectories=300, seed=14)
    within = np.abs(ds.lyapunov_exponent - np.array([0.9055, 0.0, -14.5721])) < 2 * ds.standard_error
    for fraction in within.mean("trajectory").values:
        assert 0.90 <= fraction <= 0.99


def test_standard_error_of_henon_is_honest():
    """Over 200 independent runs the true exponents lie within 2 standard errors in 90–99 % of them."""
    ds = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=4000, n_transient=50, n_trajectories=200, seed=11)
    within = np.abs(ds.lyapunov_exponent - np.array([0.41922, -1.62319])) < 2 * ds.standard_error
    for fraction in within.mean("trajectory").values:
        assert 0.90 <= fraction <= 0.99


def test_too_few_intervals_have_no_standard_error():
    assert np.isnan(time_average_standard_error(np.ones((1, 7, 2)), np.ones(7))).all()


def test_constant_growth_has_no_error():
    assert (time_average_standard_error(np.ones((1, 8, 2)), np.ones(8)) == 0.0).all()
    duration = np.r_[np.full(33, 3.0), 1.0]
    rates = np.log(np.random.default_rng(6).uniform(size=50))
    error = time_average_standard_error(duration[None, :, None] * rates, duration)
    assert (error <= 1e-14 * np.abs(rates)).all()
