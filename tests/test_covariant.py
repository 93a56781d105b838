"""Covariant vectors: what a step takes into each other, against closed forms and high precision."""

import json
import warnings

import mpmath
import numpy as np
import pytest
import torch
from systems.test_conformance import SYSTEMS
from torch import nn

import lyapkit as lk
from lyapkit.tangent.covariant import covariant_directions

A = np.array([[1.5, 0.4, -0.3], [0.0, 0.8, 0.5], [0.2, 0.0, 0.3]])


class Product(lk.System):
    """A system whose Jacobians are its inputs, so that any product of matrices can be measured."""

    def __init__(self, size):
        self.state_size, self.input_size = size, size**2

    def initial_state(self, n_trajectories, generator):
        return torch.zeros(n_trajectories, self.state_size)

    def step(self, state, input):
        return (state[:, None] @ self._matrix(input).mT)[:, 0]

    def push(self, state, input, tangent):
        return self.step(state, input), tangent @ self._matrix(input).mT

    def _matrix(self, input):
        return input.reshape(-1, self.state_size, self.state_size)


def _measured(system, *arguments, **options):
    """Vectors of runs that are too short to converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lk.ReliabilityWarning)
        return lk.covariant_vectors(system, *arguments, **options)


def _of(matrices, **options):
    return _measured(Product(matrices.shape[-1]), matrices.reshape(1, len(matrices), -1), **options)


@pytest.mark.filterwarnings("ignore::lyapkit.ReliabilityWarning")
@pytest.mark.parametrize("name", [name for name in SYSTEMS if "chosen step" not in name])  # the same step, given
@torch.no_grad()
def test_each_step_takes_vectors_into_the_next(name):
    system, generator = SYSTEMS[name], torch.Generator().manual_seed(3)
    exact = system.converted(torch.float64, torch.device("cpu"))
    n_before, n_steps, n_after = 3, 4, 2
    inputs = None
    if system.input_size is not None:
        inputs = torch.randn(2, n_before + n_steps + n_after, system.input_size, generator=generator)
    start = exact.initial_state(2, generator).double()
    options = {"n_steps": n_steps, "n_transient": n_before, "n_backward_transient": n_after}
    ds = lk.covariant_vectors(system, inputs, initial_state=start, **options)
    vectors = torch.from_numpy(ds["covariant_vector"].values)
    run = exact.prepared(start, inputs)
    unit, state = torch.eye(run.state_size).expand(2, -1, -1), start
    for time in range(n_before + n_steps - 1):
        input = None if inputs is None else inputs[:, time]
        new, rows = run.push(state, input, unit.contiguous())
        if time >= n_before:
            index = time - n_before
            pushed = vectors[:, index] @ rows
            along = (pushed * vectors[:, index + 1]).sum(2)
            residual = torch.linalg.vector_norm(pushed - along[:, :, None] * vectors[:, index + 1], dim=2)
            assert float(residual.max()) < 1e-8 * max(1.0, float(pushed.abs().max()))
            rate = torch.from_numpy(ds["expansion_rate"].values[:, index]) * run.time_step
            certain = along > 1e-6 * torch.linalg.vector_norm(pushed, dim=2).amax()
            torch.testing.assert_close(rate[certain], along[certain].log(), atol=1e-8, rtol=0)
        state = new
    assert float(ds["covariance_residual"].max()) < 1e-10
    torch.testing.assert_close(torch.linalg.vector_norm(vectors, dim=3), torch.ones(vectors.shape[:3]))


def test_at_a_fixed_point_they_are_the_eigenvectors():
    ds = lk.covariant_vectors(lk.Map(lambda x: torch.as_tensor(A) @ x, 3, initial_state=[0.0] * 3), n_steps=100)
    values, vectors = np.linalg.eig(A)
    order = np.argsort(-np.abs(values))
    np.testing.assert_allclose(ds["expansion_rate"][0], np.tile(np.log(np.abs(values[order])), (100, 1)), atol=1e-9)
    cosines = np.abs(np.einsum("tks,sk->tk", ds["covariant_vector"].values[0], vectors[:, order]))
    np.testing.assert_allclose(cosines, 1.0, atol=1e-12)
    expected = np.arccos(np.abs(vectors[:, order[0]] @ vectors[:, order[1]]))
    np.testing.assert_allclose(ds["angle"].sel(neighbour=1), expected, atol=1e-7)


@pytest.mark.parametrize("grows", [True, False])
def test_of_triangular_products_they_are_known(grows):
    rng = np.random.default_rng(0)
    n = 120
    a, b, d = rng.uniform(0.8, 1.5, n), rng.normal(size=n), rng.uniform(0.3, 0.6, n)
    if not grows:
        a, d = d, a
    matrices = np.stack([np.stack([a, b], 1), np.stack([np.zeros(n), d], 1)], 1)
    ds = _of(matrices, n_transient=40, n_backward_transient=40)
    slope = np.zeros(n + 1)  # of the vector that is not (1, 0): a s + b = d s'
    if grows:
        for t in range(n - 1, -1, -1):
            slope[t] = (d[t] * slope[t + 1] - b[t]) / a[t]
    else:
        for t in range(n):
            slope[t + 1] = (a[t] * slope[t] + b[t]) / d[t]
    other = np.stack([slope, np.ones(n + 1)], 1) / np.hypot(slope, 1.0)[:, None]
    first, second = (0, 1) if grows else (1, 0)
    vectors = ds["covariant_vector"].values[0]
    window = slice(40, 80)
    np.testing.assert_allclose(np.abs(vectors[:, first]), np.tile([1.0, 0.0], (40, 1)), atol=1e-8)
    np.testing.assert_allclose(np.abs((vectors[:, second] * other[window]).sum(1)), 1.0, atol=1e-10)
    length = np.hypot(slope, 1.0)
    rate = np.log(d * length[1:] / length[:-1])[window]
    np.testing.assert_allclose(ds["expansion_rate"][0, :, second], rate, atol=1e-6)
    np.testing.assert_allclose(ds["expansion_rate"][0, :, first], np.log(a[window]), atol=1e-6)


def test_of_uncoupled_systems_each_vector_stays_in_its_own():
    rng = np.random.default_rng(1)
    matrices = np.zeros((200, 4, 4))
    matrices[:, :2, :2] = rng.normal(size=(200, 2, 2)) + 2 * np.eye(2)
    matrices[:, 2:, 2:] = 0.01 * (rng.normal(size=(200, 2, 2)) + 2 * np.eye(2))
    mixed = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    ds = _of(mixed @ matrices @ mixed.T, n_transient=60, n_backward_transient=60, subspaces={"a": [1, 2], "b": [3, 4]})
    within = np.linalg.norm(ds["covariant_vector"].values[0] @ mixed[:, :2], axis=-1)
    np.testing.assert_allclose(within, np.tile([1, 1, 0, 0], (80, 1)), atol=1e-12)
    np.testing.assert_allclose(ds["subspace_angle"], np.pi / 2, atol=1e-7)


def test_steps_that_contract_by_tens_of_orders_of_magnitude_against_high_precision(agrees):
    rng = np.random.default_rng(2)
    n, size = 24, 4
    matrices = 10.0 ** -np.array([0, 8, 16, 24])[:, None] * rng.normal(size=(n, size, size))
    ds = _of(matrices, n_transient=8, n_backward_transient=8)
    exact, rates = _by_mpmath(matrices, 8, 16)
    cosines = (ds["covariant_vector"].values[0] * exact).sum(-1)
    np.testing.assert_allclose(np.abs(cosines), 1.0, atol=1e-12)
    agrees(ds["expansion_rate"][0], rates, "covariant", within=1e-8)
    assert not ds["is_bound"].any()


def _by_mpmath(matrices, first, end):
    """Vectors where the spaces of fastest past growth and of slowest future growth meet, with 200 digits."""
    mpmath.mp.dps = 400
    size, n = matrices.shape[1], len(matrices)
    exact = [mpmath.matrix(matrix.tolist()) for matrix in matrices]
    start = np.random.default_rng(5).normal(size=(size, size))
    vectors = np.empty((end - first + 1, size, size))
    rates = np.empty((end - first, size))
    forward = [mpmath.qr(mpmath.matrix(start.tolist()))[0]]
    for t in range(end + 1):
        forward.append(mpmath.qr(exact[t] * forward[-1])[0])
    back = mpmath.qr(mpmath.matrix(start.T.tolist()))[0]
    for t in range(n - 1, first - 1, -1):  # J⁻¹ makes the slow ones large: flags of what grows least in the future
        back = mpmath.qr(mpmath.inverse(exact[t]) * back)[0]
        if t > end:
            continue
        for i in range(size):
            # in the span of the first i + 1 forward vectors, orthogonal to what the last size − i do not span
            rows = mpmath.matrix(i + 1, i) if i else None
            for j in range(i):  # the directions that v_i must not have: complement of the slow flag
                complement = back[:, size - i + j]
                for m in range(i + 1):
                    rows[m, j] = (complement.T * forward[t][:, m])[0]
            weights = mpmath.matrix(i + 1, 1)
            weights[i] = 1
            if i:
                square = mpmath.matrix(i, i)
                right = mpmath.matrix(i, 1)
                for j in range(i):
                    right[j] = -rows[i, j]
                    for m in range(i):
                        square[j, m] = rows[m, j]
                solved = mpmath.lu_solve(square, right)
                for m in range(i):
                    weights[m] = solved[m]
            vector = forward[t][:, : i + 1] * weights
            vector = vector / mpmath.norm(vector)
            if t < end:
                rates[t - first, i] = float(mpmath.log(mpmath.norm(exact[t] * vector)))
            vectors[t - first, i] = [float(entry) for entry in vector]
    mpmath.mp.dps = 15
    return vectors[:-1], rates


@pytest.mark.slow
def test_the_neutral_vector_of_a_flow_is_its_field_and_the_others_never_touch():
    lorenz = lk.classical.lorenz()
    start = np.array([[-5.0, -6.0, 22.0]])
    n_transient, n_steps = 1400, 300
    options = {"n_steps": n_steps, "n_transient": n_transient, "n_backward_transient": n_transient}
    ds = lk.covariant_vectors(lorenz, initial_state=start, subspaces={"u": [1], "n": [2], "s": [3]}, **options)
    state = torch.tensor(start)
    fields = []
    for time in range(n_transient + n_steps):
        if time >= n_transient:
            x, y, z = state[0].tolist()
            fields.append([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])
        state = lorenz.step(state, None)
    field = np.array(fields) / np.linalg.norm(fields, axis=1)[:, None]
    cosines = (ds["covariant_vector"].values[0, :, 1] * field).sum(1)
    np.testing.assert_allclose(np.abs(cosines), 1.0, atol=1e-5)
    angle = ds["subspace_angle"].sel(pair="u and s")
    assert float(angle.min()) > np.deg2rad(3)


def test_mean_rates_are_the_exponents():
    henon = lk.classical.henon()
    options = {"initial_state": [0.1, 0.1], "n_steps": 600}
    ds = lk.covariant_vectors(henon, n_transient=100, n_backward_transient=100, **options)
    spectrum = lk.lyapunov_spectrum(henon, n_transient=100, **options)
    np.testing.assert_allclose(ds["lyapunov_exponent"], spectrum["lyapunov_exponent"], atol=2e-2)
    assert float(ds["lyapunov_exponent"].sum()) == pytest.approx(np.log(0.3), abs=1e-2)
    np.testing.assert_allclose(ds["expansion_rate"].mean("time"), ds["lyapunov_exponent"], atol=1e-12)


def test_the_first_few_are_those_of_all():
    rng = np.random.default_rng(7)
    matrices = rng.normal(size=(120, 5, 5)) * 2.0 ** -np.arange(5)[:, None]
    options = {"n_transient": 50, "n_backward_transient": 50}
    all_, few = _of(matrices, **options), _of(matrices, n_exponents=2, **options)
    np.testing.assert_allclose(few["expansion_rate"], all_["expansion_rate"][:, :, :2], atol=1e-8)
    cosines = (few["covariant_vector"] * all_["covariant_vector"]).sum("state")
    assert cosines.sizes["exponent"] == 2
    np.testing.assert_allclose(np.abs(cosines), 1.0, atol=1e-10)


def test_frames_that_are_computed_again_give_the_same():
    henon = lk.classical.henon()
    start = torch.tensor([[0.1, 0.1], [0.2, -0.1]])
    one, many = (
        covariant_directions(
            henon,
            start,
            None,
            n_steps=20,
            n_transient=5,
            n_backward_transient=10,
            n_exponents=2,
            segment=segment,
            generator=torch.Generator().manual_seed(0),
        )
        for segment in (30, 7)
    )
    torch.testing.assert_close(one.vector, many.vector, rtol=0, atol=1e-14)
    torch.testing.assert_close(one.log_growth, many.log_growth, rtol=0, atol=1e-14)


def test_directions_mapped_to_zero_are_minus_infinity():
    torch.manual_seed(1)
    module = nn.RNN(2, 5, nonlinearity="relu")
    inputs = np.random.default_rng(0).normal(size=(1, 60, 2))
    ds = _measured(module, inputs)
    assert np.isneginf(ds["lyapunov_exponent"].values).any()
    rates = ds["expansion_rate"].values
    assert not np.isnan(rates).any()
    assert float(ds["covariance_residual"].max()) < 1e-12
    spectrum = lk.lyapunov_spectrum
    with pytest.warns(lk.LostDirectionWarning):
        dead = np.isneginf(spectrum(module, inputs)["lyapunov_exponent"].values).sum()
    assert np.isneginf(ds["lyapunov_exponent"].values).sum() == dead


def test_a_singular_product_has_its_kernel_as_the_last_vector():
    rng = np.random.default_rng(3)
    matrices = rng.normal(size=(30, 3, 2)) @ rng.normal(size=(30, 2, 3))
    ds = _of(matrices, n_transient=10, n_backward_transient=10)
    last = ds["covariant_vector"].values[0, :, 2]
    np.testing.assert_allclose(np.einsum("tij,tj->ti", matrices[10:20], last), 0.0, atol=1e-12)
    assert ds["is_bound"].values[0, :, 2].all()
    assert not ds["is_bound"].values[0, :, :2].any()
    assert float(ds["covariance_residual"].max()) < 1e-12


def test_float32():
    options = {"n_steps": 30, "n_transient": 30, "n_backward_transient": 30, "initial_state": [0.1, 0.1]}
    rough, exact = (lk.covariant_vectors(lk.classical.henon(), dtype=d, **options) for d in ("float32", "float64"))
    assert float(rough["covariance_residual"].max()) < 1e-5
    assert rough["covariant_vector"].dtype == np.float32
    spread = np.abs(rough["lyapunov_exponent"] - exact["lyapunov_exponent"]).max()
    assert float(spread) < 0.5  # chaos: the orbits part


def test_a_trajectory_that_diverges_is_named_and_leaves_the_others_alone():
    henon = lk.classical.henon()
    start = [[0.1, 0.1], [3.0, 3.0]]
    options = {"n_steps": 20, "n_transient": 20, "n_backward_transient": 20}
    with pytest.warns(lk.DivergenceWarning, match=r"trajectory 1 at step \d+; their covariant vectors are NaN"):
        ds = lk.covariant_vectors(henon, initial_state=start, **options)
    alone = lk.covariant_vectors(henon, initial_state=start[:1], **options)
    assert ds["covariant_vector"][1].isnull().all()
    assert ds["expansion_rate"][1].isnull().all()
    assert not ds["is_bound"][1].any()
    np.testing.assert_allclose(ds["covariant_vector"][:1], alone["covariant_vector"], atol=1e-12)
    np.testing.assert_allclose(ds["subspace_angle"][:1], alone["subspace_angle"], atol=1e-12)
    with pytest.raises(lk.DivergenceError, match="trajectory 1"):
        lk.covariant_vectors(henon, initial_state=start, on_divergence="raise", **options)


def test_transients_that_are_too_short_are_named():
    options = {"initial_state": [0.1, 0.1], "n_steps": 50}
    with pytest.warns(lk.ReliabilityWarning, match="did not converge in n_backward_transient=2 steps"):
        ds = lk.covariant_vectors(lk.classical.henon(), n_transient=50, n_backward_transient=2, **options)
    assert float(ds["backward_residual"].max()) > 1e-4
    assert float(ds["forward_residual"].max()) < 1e-8
    with pytest.warns(lk.ReliabilityWarning, match="did not converge in n_transient=1 steps"):
        ds = lk.covariant_vectors(lk.classical.henon(), n_transient=1, n_backward_transient=50, **options)
    assert float(ds["forward_residual"].max()) > 1e-4
    assert float(ds["backward_residual"].max()) < 1e-8


def test_of_equal_exponents_vectors_are_not_unique():
    turn = 0.9 * np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 0.1]])
    system = lk.Map(lambda x: torch.as_tensor(turn) @ x, 3, initial_state=[0.0] * 3)
    with pytest.warns(lk.ReliabilityWarning, match="Exponents 1 and 2 are equal or nearly so") as caught:
        ds = lk.covariant_vectors(system, n_steps=50)
    assert len(caught) == 2
    assert json.loads(ds.attrs["subspaces"]) == {"fast": [1, 2], "slow": [3]}
    np.testing.assert_allclose(ds["subspace_angle"], np.pi / 2, atol=1e-7)


def test_a_checkpoint_and_a_module_are_taken():
    inputs = np.random.default_rng(0).normal(size=(2, 24, 8))
    ds = _measured("data/digits_rows_lstm.safetensors", inputs, n_exponents=3)
    assert ds["covariant_vector"].dims == ("trajectory", "time", "exponent", "state")
    assert ds.sizes["time"] == 12
    assert ds["time"].values[0] == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "n_steps is needed"),
        ({"n_steps": 0}, "n_steps must be at least 1"),
        ({"n_steps": 5, "n_backward_transient": -1}, "n_backward_transient must not be negative"),
        ({"n_steps": 5, "n_exponents": 3}, "n_exponents must be between 1 and the state size 2"),
        ({"n_steps": 5, "subspaces": {"a": [1], "b": [1, 2]}}, "share exponents"),
        ({"n_steps": 5, "subspaces": {"a": [3]}}, "must hold different exponents from 1 to 2"),
        ({"n_steps": 5, "on_divergence": "stop"}, "on_divergence must be"),
        ({"n_steps": 10**14}, "covariant vectors of 1 trajectories of 100000000000000 steps"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        lk.covariant_vectors(lk.classical.henon(), **options)


def test_transients_that_leave_no_steps_are_refused():
    inputs = np.zeros((1, 10, 2))
    with pytest.raises(ValueError, match="n_transient=5 and n_backward_transient=5 leave no step to count"):
        lk.covariant_vectors(nn.RNN(2, 3), inputs, n_transient=5, n_backward_transient=5)


def test_sequences_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="takes an array of inputs, sequences of one length"):
        lk.covariant_vectors(nn.RNN(2, 3), [np.zeros((10, 2)), np.zeros((12, 2))])
