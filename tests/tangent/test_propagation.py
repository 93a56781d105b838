"""The engine: adaptive re-orthonormalisation, dead and diverging directions, transients, precision."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import separated
from products import driven_linear
from torch import nn

import lyapkit as lk
from lyapkit.systems.classical import RandomNetwork
from lyapkit.tangent import propagate
from lyapkit.tangent.factorizations import HouseholderQR, PivotedLU


def _stiff_matrices(n_steps, rng):
    """Products with exponents from 0.2 to −16 per step, not normal: A_t = U_{t+1} (D + strict upper) U_tᵀ."""
    n = 6
    growth = np.array([0.2, -0.3, -2.0, -5.0, -9.0, -16.0])
    rotations = [np.linalg.qr(rng.normal(size=(n, n)))[0] for _ in range(n_steps + 1)]
    matrices, logs = [], []
    for t in range(n_steps):
        log = growth + 0.1 * rng.normal(size=n)
        upper = np.diag(np.exp(log))
        # the couplings scale with the row, so that the diagonal is the growth
        upper += np.triu(rng.normal(size=(n, n)), 1) * np.exp(log)[:, None] * 0.5
        matrices.append(rotations[t + 1] @ upper @ rotations[t].T)
        logs.append(log)
    return np.stack(matrices).reshape(1, n_steps, n * n), np.mean(logs, axis=0), rotations[0]


def _comparable_systems():
    torch.manual_seed(0)
    yield lk.classical.henon()
    yield RandomNetwork(10, 1.5)
    yield RandomNetwork(30, 0.5)
    for kind, layers in ((nn.LSTM, 1), (nn.GRU, 2), (nn.RNN, 2)):
        yield lk.from_module(separated(kind(2, 10, layers).double()))


@pytest.mark.parametrize("system", list(_comparable_systems()), ids=str)
def test_adaptive_equals_every_step(system):
    inputs = torch.randn(3, 300, system.input_size) if system.input_size else None
    options = {} if inputs is not None else {"n_steps": 300, "n_trajectories": 3}
    adaptive = lk.lyapunov_spectrum(system, inputs, seed=4, **options)
    every = lk.lyapunov_spectrum(system, inputs, seed=4, reorthonormalize=1, **options)
    np.testing.assert_allclose(adaptive.lyapunov_exponent, every.lyapunov_exponent, rtol=0, atol=1e-9)
    assert every.sizes["interval"] == every.attrs["n_reorthonormalizations"] == 300

    single = lk.lyapunov_spectrum(system, inputs, seed=4, dtype="float32", **options)
    single_every = lk.lyapunov_spectrum(system, inputs, seed=4, dtype="float32", reorthonormalize=1, **options)
    np.testing.assert_allclose(single.lyapunov_exponent, single_every.lyapunov_exponent, rtol=0, atol=1e-4)


def test_contracting_network_needs_few_reorthonormalizations():
    """0.98 times an orthogonal matrix, weakly perturbed: the frame stays well conditioned throughout an interval."""
    matrix = 0.98 * torch.linalg.qr(torch.randn(20, 20))[0] + 0.01 * torch.randn(20, 20) / math.sqrt(20)
    system = lk.Map(lambda s: matrix @ s, 20, lambda s: matrix, initial_state=np.zeros(20))
    ds = lk.lyapunov_spectrum(system, n_steps=784)
    assert ds.attrs["n_reorthonormalizations"] < 50
    assert ds.attrs["n_reconditionings"] < 20
    assert ds.sizes["interval"] >= 32
    every = lk.coarsen(lk.lyapunov_spectrum(system, n_steps=784, reorthonormalize=1), 24)
    np.testing.assert_allclose(ds.log_growth, every.log_growth, atol=1e-12)
    moduli = np.sort(np.abs(np.linalg.eigvals(matrix.numpy())))[::-1]
    assert float(ds.lyapunov_exponent.sum()) == pytest.approx(np.log(moduli).sum(), abs=1e-10)


@pytest.mark.parametrize("reorthonormalize", ["adaptive", 1])
def test_stiff_exponents(reorthonormalize):
    matrices, exact, first = _stiff_matrices(60, np.random.default_rng(0))
    term = propagate(
        driven_linear(6),
        torch.zeros(1, 6),
        torch.from_numpy(first.T.copy())[None],
        torch.from_numpy(matrices),
        n_steps=60,
        reorthonormalize=reorthonormalize,
    )
    np.testing.assert_allclose(term.log_growth[0].sum(0) / 60, exact, rtol=0, atol=1e-9)
    assert exact[0] > 0.15
    assert exact[-1] < -15.9


def test_stiff_product_in_extended_precision():
    """From the identity frame, where no closed form is known: R of the product in 200 digits."""
    matrices, _, _ = _stiff_matrices(15, np.random.default_rng(1))
    with mpmath.workdps(200):
        product = mpmath.eye(6)
        for matrix in matrices[0].reshape(-1, 6, 6):
            product = mpmath.matrix(matrix.tolist()) * product
        upper = mpmath.qr(product)[1]
        exact = np.array([float(mpmath.log(abs(upper[i, i]))) for i in range(6)])
    for reorthonormalize in ("adaptive", 1):
        term = propagate(
            driven_linear(6),
            torch.zeros(1, 6),
            torch.eye(6)[None],
            torch.from_numpy(matrices),
            n_steps=15,
            reorthonormalize=reorthonormalize,
        )
        np.testing.assert_allclose(term.log_growth[0].sum(0) / 15, exact / 15, rtol=0, atol=1e-8)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 6),
    n_steps=st.integers(1, 30),
    n_transient=st.integers(0, 10),
    reorthonormalize=st.one_of(st.just("adaptive"), st.integers(1, 7)),
)
def test_sum_is_log_determinant(seed, n, n_steps, n_transient, reorthonormalize):
    """For any matrices, length, transient and interval, and the product's own R, term by term."""
    matrices = np.random.default_rng(seed).normal(size=(2, n_transient + n_steps, n, n))
    inputs = matrices.reshape(2, -1, n * n)
    options = {"n_transient": n_transient, "reorthonormalize": reorthonormalize, "on_divergence": "raise"}
    ds = lk.lyapunov_spectrum(driven_linear(n), inputs, **options)
    counted = np.linalg.slogdet(matrices[:, n_transient:])[1].sum(axis=1)
    np.testing.assert_allclose(ds.log_growth.sum(("interval", "exponent")), counted, atol=1e-7)
    np.testing.assert_array_equal(ds.duration.sum(), n_steps)


def test_transient_moves_state_and_frame():
    """A run with a transient is the tail of the run without."""
    system = RandomNetwork(8, 1.7)
    start = system.initial_state(2, torch.Generator().manual_seed(1))
    whole = lk.lyapunov_spectrum(system, initial_state=start, n_steps=50, reorthonormalize=1)
    tail = lk.lyapunov_spectrum(system, initial_state=start, n_steps=30, n_transient=20, reorthonormalize=1)
    by_rank = np.sort(whole.log_growth[:, 20:].sum("interval"), axis=1)
    np.testing.assert_allclose(np.sort(tail.log_growth.sum("interval"), axis=1), by_rank, atol=1e-10)


def test_leading_exponents_without_the_others():
    system = RandomNetwork(40, 1.5)
    full = lk.lyapunov_spectrum(system, n_steps=1500, n_transient=300, seed=2)
    leading = lk.lyapunov_spectrum(system, n_steps=1500, n_transient=300, seed=2, n_exponents=3)
    assert leading.sizes["exponent"] == 3
    np.testing.assert_allclose(leading.lyapunov_exponent, full.lyapunov_exponent[:, :3], atol=2e-3)


def test_leading_exponent_is_found_wherever_it_hides():
    """The identity's first rows would never meet the fastest direction of a diagonal matrix."""
    diagonal = np.diag([0.1, 0.2, 0.3, 2.0])
    system = lk.Map(lambda s: torch.as_tensor(diagonal) @ s, 4, initial_state=np.zeros(4))
    ds = lk.lyapunov_spectrum(system, n_steps=100, n_transient=100, n_exponents=2)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], np.log([2.0, 0.3]), atol=1e-10)


@pytest.mark.parametrize("rate", [-40.0, 30.0])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_no_overflow_or_underflow_between_factorizations(rate, dtype):
    """A single direction never loses orthogonality, so only its size limits the interval."""
    system = lk.Map(lambda s: 0 * s, 1, lambda s: np.array([[math.exp(rate)]]), initial_state=[0.0])
    ds = lk.lyapunov_spectrum(system, n_steps=500, dtype=dtype)
    assert float(ds.lyapunov_exponent[0, 0]) == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize("reorthonormalize", ["adaptive", 1])
def test_what_is_mapped_to_zero_exactly_is_minus_infinity(reorthonormalize):
    """Variables that are set to zero: what is lost is gone for good, the rest goes on, in whatever order it comes."""
    permuted = torch.eye(4)[[2, 0, 3, 1]]
    matrix = permuted @ torch.diag(torch.tensor([0.0, 0.9, 0.0, 0.5])) @ permuted.mT
    system = lk.Map(lambda s: matrix @ s, 4, initial_state=np.zeros(4))
    with pytest.warns(lk.LostDirectionWarning, match="2 direction.* of trajectory 0, were mapped to zero exactly"):
        ds = lk.lyapunov_spectrum(system, n_steps=100, n_transient=50, reorthonormalize=reorthonormalize)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], [np.log(0.9), np.log(0.5), -np.inf, -np.inf], atol=1e-12)
    assert not ds.is_bound.any()
    assert float(lk.memory_timescale(ds)[0, 3]) == 0.0


@pytest.mark.parametrize("reorthonormalize", ["adaptive", 1])
def test_what_falls_below_rounding_is_bounded(reorthonormalize):
    """A projection in a rotated basis: zero to rounding, which no computation can tell from 1e-17."""
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    matrix = torch.from_numpy(basis @ np.diag([0.9, 0.5, 0.0, 0.0]) @ basis.T)
    system = lk.Map(lambda s: matrix @ s, 4, initial_state=np.zeros(4))
    with pytest.warns(lk.LostDirectionWarning, match="fell below rounding in up to 100 steps each; .* upper bounds"):
        ds = lk.lyapunov_spectrum(system, n_steps=100, n_transient=50, reorthonormalize=reorthonormalize)
    np.testing.assert_allclose(ds.lyapunov_exponent[0, :2], np.log([0.9, 0.5]), atol=1e-12)
    np.testing.assert_array_equal(ds.is_bound, [[False, False, True, True]])
    assert (ds.lyapunov_exponent[0, 2:] < -31).all()


def test_relu_network_has_as_many_dead_directions_as_its_product_has_lost_ranks():
    torch.manual_seed(3)
    module = nn.RNN(1, 8, nonlinearity="relu")
    inputs = torch.randn(1, 30, 1)
    with pytest.warns(lk.LostDirectionWarning, match="were mapped to zero exactly, first in trajectory 0 at step"):
        ds = lk.lyapunov_spectrum(lk.from_module(module), inputs)
    state, product = torch.zeros(8), np.eye(8)
    for x in inputs[0]:
        z = module.weight_ih_l0 @ x + module.bias_ih_l0 + module.weight_hh_l0 @ state + module.bias_hh_l0
        gate = (z > 0).double()
        product = (gate[:, None] * module.weight_hh_l0).detach().numpy() @ product
        product /= np.linalg.norm(product)
        state = torch.relu(z).detach()
    alive = int(np.isfinite(ds.lyapunov_exponent[0]).sum())
    assert 0 < alive < 8
    assert alive == np.linalg.matrix_rank(product, tol=1e-13)
    assert not ds.is_bound.any()


def test_too_long_fixed_interval_is_named_and_not_a_number():
    matrix = np.diag([1.0, 1e-3])
    rotation = np.array([[0.8, -0.6], [0.6, 0.8]])
    skew = torch.from_numpy(rotation @ matrix @ np.array([[1.0, 0.7], [0.0, 1.0]]) @ rotation.T)
    system = lk.Map(lambda s: skew @ s, 2, initial_state=[0.0, 0.0])
    with pytest.warns(lk.DivergenceWarning, match="fell below rounding between re-orthonormalisations"):
        ds = lk.lyapunov_spectrum(system, n_steps=100, reorthonormalize=50)
    assert np.isfinite(ds.lyapunov_exponent[0, 0])
    assert np.isnan(ds.lyapunov_exponent[0, 1])


def _escaping(step_of_nan):
    """Three trajectories; the Jacobian of number 2 is NaN at one step."""

    def jacobian(state):
        value = 0.5 * torch.eye(2).expand(len(state), 2, 2).clone()
        value[2] = torch.where(state[2, 0] == step_of_nan, torch.nan, value[2])
        return value

    return lk.Map(lambda s: s + 1, 2, jacobian, batched=True, initial_state=[0.0, 0.0])


@pytest.mark.parametrize("reorthonormalize", ["adaptive", 1, 10])
@pytest.mark.parametrize("n_transient", [0, 60])
def test_not_a_number_is_named_by_trajectory_and_step(reorthonormalize, n_transient):
    options = {"n_steps": 100, "n_trajectories": 3, "reorthonormalize": reorthonormalize, "n_transient": n_transient}
    with pytest.warns(lk.DivergenceWarning, match="trajectory 2 at step 37"):
        ds = lk.lyapunov_spectrum(_escaping(37), **options)
    np.testing.assert_allclose(ds.lyapunov_exponent[:2], np.log(0.5), atol=1e-12)
    assert ds.lyapunov_exponent[2].isnull().all()
    assert ds.standard_error[2].isnull().all()
    np.testing.assert_array_equal(ds.divergence_step, [np.nan, np.nan, 37])
    with pytest.raises(lk.DivergenceError, match="trajectory 2 at step 37"):
        lk.lyapunov_spectrum(_escaping(37), on_divergence="raise", **options)


def test_diverging_trajectory_leaves_the_others_alone():
    system = lk.classical.henon()
    start = np.array([[0.1, 0.1], [5.0, 5.0], [0.2, 0.1]])
    with pytest.warns(lk.DivergenceWarning, match="trajectory 1 at step"):
        ds = lk.lyapunov_spectrum(system, initial_state=start, n_steps=200)
    alone = lk.lyapunov_spectrum(system, initial_state=start[[0, 2]], n_steps=200)
    np.testing.assert_allclose(ds.lyapunov_exponent[[0, 2]], alone.lyapunov_exponent, atol=1e-9)
    assert ds.lyapunov_exponent[1].isnull().all()
    state, step = torch.tensor(start[1:2]), 0
    while bool(state.isfinite().all()):
        state, step = system.step(state, None), step + 1
    assert float(ds.divergence_step[1]) == pytest.approx(step - 1, abs=1)  # the tangent may overflow a step earlier


def test_random_initial_frame_frees_stacked_layers_from_the_identity():
    """A perturbation of the upper layer never reaches the lower one, so the identity's subspaces, lower h before upper
    h before lower c, are not generic: where c forgets slowest, exponents stay out of order until rounding breaks the
    symmetry. From a random frame they come out in order, with the same sum.
    """
    torch.manual_seed(5)
    module = nn.LSTM(1, 4, 2)
    inputs = torch.randn(1, 200, 1)
    spectra = {
        frame: lk.lyapunov_spectrum(lk.from_module(module), inputs, initial_frame=frame, reorthonormalize=1)
        for frame in ("identity", "random")
    }
    unsorted = propagate(
        lk.from_module(module),
        torch.zeros(1, 16),
        torch.linalg.qr(torch.randn(16, 16))[0].mT[None].contiguous(),
        inputs,
        n_steps=200,
    )
    exponents = unsorted.log_growth[0].sum(0) / 200
    assert bool((exponents.diff() < 0.02).all())  # in order by itself
    sums = [float(ds.lyapunov_exponent.sum()) for ds in spectra.values()]
    assert sums[0] == pytest.approx(sums[1], abs=1e-10)
    with pytest.raises(ValueError, match="initial_frame must be"):
        lk.lyapunov_spectrum(lk.from_module(module), inputs, initial_frame="eye")


def test_accuracy_sets_the_number_of_factorizations():
    system = RandomNetwork(30, 0.6)
    runs = [lk.lyapunov_spectrum(system, n_steps=1200, accuracy=accuracy).attrs for accuracy in (1e-12, 1e-9, 1e-6)]
    counts = [run["n_reconditionings"] for run in runs]
    assert counts[0] > counts[1] > counts[2]


def test_condition_bounds_hold():
    ds = lk.lyapunov_spectrum(RandomNetwork(30, 0.6), n_steps=300, accuracy=1e-9)
    bound = 1e-9 / np.finfo(float).eps
    assert float(ds.condition.max()) <= bound
    assert ds.attrs["worst_condition"] == float(ds.condition.max())


def test_every_interval_is_that_of_one_qr_per_step():
    """Not only their sum: each interval's log|diag R|, and the frame at the end, row by row up to sign."""
    system = lk.from_module(nn.RNN(2, 16))
    state, inputs = torch.zeros(3, 16), torch.randn(3, 400, 2)
    frame = torch.eye(16).expand(3, 16, 16).contiguous()
    adaptive = propagate(system, state, frame, inputs, n_steps=370, n_transient=30)
    every = propagate(system, state, frame, inputs, n_steps=370, n_transient=30, reorthonormalize=1)
    assert adaptive.n_reconditionings > len(adaptive.steps) >= 30
    ends = adaptive.steps.cumsum(0)
    cumulative = every.log_growth.cumsum(1)[:, ends - 1]
    torch.testing.assert_close(adaptive.log_growth.cumsum(1), cumulative, rtol=0, atol=1e-7)
    torch.testing.assert_close(adaptive.frame @ adaptive.frame.mT, frame, rtol=0, atol=1e-7)
    torch.testing.assert_close((adaptive.frame @ every.frame.mT).abs(), frame, rtol=0, atol=1e-5)


def test_intervals_are_as_long_as_asked_for():
    ds = lk.lyapunov_spectrum(RandomNetwork(30, 0.6), n_steps=800)
    assert ds.attrs["n_reconditionings"] > 2 * ds.sizes["interval"]
    np.testing.assert_array_equal(ds.duration, np.full(32, 25))


@pytest.mark.parametrize("k", [1, 3, 8])
def test_factors_inside_intervals_keep_the_volumes(k):
    """L W = V with W well conditioned; the volumes of the leading rows are those of V."""
    frames = torch.randn(5, k, 8) * torch.logspace(3, -3, k)[:, None]
    for factors in (PivotedLU(frames), HouseholderQR(frames)):
        new = factors.new_frame()
        lower = frames @ torch.linalg.pinv(new)
        torch.testing.assert_close(lower @ new, frames, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(lower.triu(1), torch.zeros_like(lower), rtol=0, atol=1e-9)
        torch.testing.assert_close(lower.diagonal(dim1=-2, dim2=-1).abs(), factors.diagonal, rtol=1e-9, atol=0)
        assert new.abs().max() <= 1 + 1e-12
        assert new.is_contiguous()
    torch.testing.assert_close(new @ new.mT, torch.eye(k).expand(5, k, k))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gpu_equals_cpu(dtype):
    system = lk.from_module(nn.LSTM(3, 20, 2))
    inputs = torch.randn(4, 100, 3)
    on_cpu = lk.lyapunov_spectrum(system, inputs, dtype=dtype)
    on_gpu = lk.lyapunov_spectrum(system, inputs.cuda(), dtype=dtype)
    tolerance = 1e-9 if dtype == "float64" else 1e-3
    np.testing.assert_allclose(on_gpu.lyapunov_exponent, on_cpu.lyapunov_exponent, atol=tolerance)
