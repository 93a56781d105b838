"""Directions that rounding hides, rows that change order, companies of trajectories: what attacks found."""

import mpmath
import numpy as np
import pytest
import torch
from extended_precision import exponents, recurrent_step
from torch import nn

import lyapkit as lk

pytestmark = pytest.mark.filterwarnings("ignore:inputs are (whole )?numbers from:lyapkit.ReliabilityWarning")


def _products(n):
    """Products of the Jacobians that are the inputs; the step is a mere clock."""
    return lk.Map(
        lambda s, x: 0 * s,
        n,
        lambda s, x: x.unflatten(-1, (n, n)),
        input_size=n * n,
        batched=True,
        initial_state=np.zeros(n),
    )


def _spectrum(matrices, **options):
    matrices = np.asarray(matrices)
    n = matrices.shape[-1]
    return lk.lyapunov_spectrum(_products(n), matrices.reshape(1, len(matrices), n * n), **options)


@pytest.mark.filterwarnings("ignore::lyapkit.LostDirectionWarning")
@pytest.mark.parametrize("reorthonormalize", ["adaptive", 1])
def test_directions_that_change_order_at_every_step(reorthonormalize):
    """Three matrices in turn, each of which scales other variables: logs of their product's eigenvalues, over 3."""
    turn = [
        np.diag([0.03, 1e-23, 5e-26]),
        np.array([[2e-19, 0, 0], [0, 0, 1e-15], [0, 2e16, 0]]),
        np.array([[-0.4, 1, 0.2], [0.8, -1, -3], [0.8, 0.4, 0.7]]),
    ]
    with mpmath.workdps(100):
        product = mpmath.eye(3)
        for matrix in turn:
            product = mpmath.matrix(matrix.tolist()) * product
        right = np.sort([float(mpmath.log(abs(value))) / 3 for value in mpmath.eig(product)[0]])[::-1]
    ds = _spectrum(turn * 400, reorthonormalize=reorthonormalize)
    known = ~ds.is_bound[0].values
    np.testing.assert_allclose(ds.lyapunov_exponent[0][known], right[known], atol=0.1)
    assert (ds.lyapunov_exponent[0].values >= right - 0.1).all()


@pytest.mark.parametrize("seed", range(4))
def test_what_cancels_in_any_column_is_lost(seed):
    """Two perturbations of a matrix of rank one to rounding: the second growth is far smaller than rounding."""
    matrix = np.array([[1.0, 0, 0], [0, 1e-60, 0], [1e-4, 0, 1e-46]])
    frame = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0][:2]
    with pytest.warns(lk.LostDirectionWarning):
        ds = _spectrum([matrix], initial_frame=frame, n_exponents=2)
    np.testing.assert_array_equal(ds.is_bound, [[False, True]])
    assert float(ds.lyapunov_exponent[0, 1]) > -105


@pytest.mark.filterwarnings("ignore::lyapkit.LostDirectionWarning")
@pytest.mark.parametrize("seed", [1, 103, 115, 127, 130])
def test_lstm_on_raw_pixels(seed):
    """Every step saturates every gate: what is not labelled is right, what is labelled is not too small."""
    torch.manual_seed(seed)
    module = nn.LSTM(4, 3).double()
    inputs = np.random.default_rng(seed).integers(0, 256, (1, 12, 4)).astype(float)[:, :8]
    exact, _ = exponents(recurrent_step(module), 6, inputs[0], 1500)
    ds = lk.lyapunov_spectrum(lk.from_module(module), inputs)
    measured, is_bound = ds.lyapunov_exponent[0].values, ds.is_bound[0].values
    assert (np.abs(measured - exact)[~is_bound] < 1e-5).all()
    assert (measured[is_bound] > exact[is_bound] - 1e-5).all()
    assert np.isfinite(measured).all()


def test_directions_that_die_in_company():
    """One trajectory loses all directions but one, exactly; the other is contracted hard. Each is as it is alone."""
    dying = [np.eye(3)] * 2 + [np.diag([0.5, 0.0, 0.0])] + [np.eye(3)] * 5
    hard = [np.eye(3)] * 4 + [np.diag([1.0, 1e-30, 1e-60])] + [np.eye(3)] * 3
    inputs = np.array([dying, hard]).reshape(2, 8, 9)
    with pytest.warns(lk.LostDirectionWarning, match="mapped to zero exactly, first in trajectory 0 at step 2"):
        ds = lk.lyapunov_spectrum(_products(3), inputs)
    expected = [[np.log(0.5) / 8, -np.inf, -np.inf], [0.0, np.log(1e-30) / 8, np.log(1e-60) / 8]]
    np.testing.assert_allclose(ds.lyapunov_exponent, expected, atol=1e-12)


def test_a_fixed_interval_that_hides_a_direction_is_not_a_failed_self_check():
    companion = np.diag(np.ones(2), 1)
    companion[2] = [1e-8, 1, -0.5]
    with pytest.warns(lk.DivergenceWarning, match="fell below rounding between re-orthonormalisations"):
        ds = _spectrum([companion] * 14, reorthonormalize=7)
    assert np.isnan(ds.lyapunov_exponent[0, 2])


def test_all_trajectories_may_diverge():
    torch.manual_seed(0)
    module = nn.RNN(1, 6, nonlinearity="relu")
    with torch.no_grad():
        module.weight_hh_l0.abs_().mul_(1e8)
    with pytest.warns(lk.DivergenceWarning, match="trajectory 0 at step .*, trajectory 2 at step"):
        ds = lk.lyapunov_spectrum(lk.from_module(module), np.random.default_rng(0).normal(size=(3, 60, 1)))
    assert ds.lyapunov_exponent.isnull().all()


def test_smooth_networks_never_map_to_zero():
    """What underflows is a bound, not −∞."""
    torch.manual_seed(0)
    module = nn.LSTM(1, 4)
    inputs = np.zeros((1, 10, 1))
    inputs[0, 5] = 1e4
    with pytest.warns(lk.LostDirectionWarning, match="upper bounds"):
        ds = lk.lyapunov_spectrum(lk.from_module(module), inputs)
    assert np.isfinite(ds.lyapunov_exponent).all()
    assert ds.is_bound.any()
