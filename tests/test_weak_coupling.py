"""Eq. 13's predictions, first-order theory and certificate, each against an independent computation."""

import numpy as np
import pytest
import torch
from torch import nn

import lyapkit as lk
from lyapkit import residuals
from lyapkit.weak_coupling import ordered_frame, predicted_exponents, variational_deviation

N = 12
INPUTS = np.random.default_rng(0).uniform(size=(3, 150, 2))
RESIDUALS = {
    "identity": residuals.scaled_identity(N, 0.95),
    "rotation": residuals.rotation(N, np.linspace(0.1, 0.9, N // 2), 0.95),
    "heterogeneous": residuals.heterogeneous(N, 0.9, 0.08, 0),
    "orthogonal": residuals.orthogonal(N, 0, 0.95),
    "not normal": residuals.rotation(N, 0.5, np.linspace(0.8, 1.0, N)),
}


def _model(name="identity", coupling=0.01, kind="linear", **options):
    torch.manual_seed(3)
    return lk.WCRNN(2, N, 3, RESIDUALS[name], coupling, kind, **options)


def _jacobians(model, trajectory, inputs=INPUTS):
    """Of the module's own step, by autograd, (T, N, N)."""
    steps, states = torch.from_numpy(inputs[trajectory]), [torch.zeros(1, N)]
    for x in steps[:-1]:
        states.append(model.step(states[-1], x[None]).detach())
    of_step = torch.func.jacrev(lambda h, x: model.step(h[None], x[None])[0])
    return torch.func.vmap(of_step)(torch.cat(states), steps).detach().numpy()


def _largest(ds, name, trajectory=slice(None)):
    return float(np.abs(ds.lyapunov_exponent - ds[name])[trajectory].max())


@pytest.mark.parametrize("name", RESIDUALS)
def test_predicted_exponents(name, agrees):
    eigenvalues = np.linalg.eigvals(RESIDUALS[name].matrix.numpy())
    expected = np.sort(np.log(np.abs(eigenvalues)))[::-1]
    agrees(predicted_exponents(RESIDUALS[name]), expected, "eq13", within=1e-14)


@pytest.mark.parametrize("name", RESIDUALS)
def test_ordered_frame_is_invariant_and_fastest_first(name):
    """R maps the span of the first rows into itself: in that basis it is block triangular, moduli descending."""
    frame, matrix = ordered_frame(RESIDUALS[name]).numpy(), RESIDUALS[name].matrix.numpy()
    np.testing.assert_allclose(frame @ frame.T, np.eye(N), atol=1e-12)
    if name in ("heterogeneous", "not normal"):
        triangular = frame @ matrix @ frame.T
        assert np.abs(np.tril(triangular, -2)).max() < 1e-12
        # a pair's block has the modulus sqrt|det|; leading blocks hold the largest moduli
        for k in range(2, N, 2):
            if abs(triangular[k, k - 1]) < 1e-12:
                leading = np.abs(np.linalg.det(triangular[:k, :k]))
                assert leading == pytest.approx(np.exp(predicted_exponents(RESIDUALS[name])[:k].sum()), rel=1e-10)
    else:
        np.testing.assert_array_equal(frame, np.eye(N))


@pytest.mark.parametrize("name", ["identity", "rotation", "heterogeneous", "orthogonal"])
def test_fixed_time_theory_is_of_first_order(name):
    """The remainder falls with the square of the coupling; a wrong sign or transpose would leave the first power."""
    couplings = np.array([1e-5, 3e-5, 1e-4])
    left, deviations = [], []
    for coupling in couplings:
        ds = lk.validate_weak_coupling(_model(name, coupling), INPUTS)
        left.append(_largest(ds, "fixed_time_exponent"))
        deviations.append(float(ds.largest_deviation.max()))
    assert np.polyfit(np.log(couplings), np.log(deviations), 1)[0] == pytest.approx(1.0, abs=0.05)
    assert np.polyfit(np.log(couplings), np.log(left), 1)[0] == pytest.approx(2.0, abs=0.02)


def test_fixed_time_theory_is_of_each_direction():
    """Beside the exponents of one QR per step, unsorted."""
    model = _model(coupling=1e-4)
    ds = lk.validate_weak_coupling(model, INPUTS)
    columns, growth = np.eye(N), 0.0
    for jacobian in _jacobians(model, 1):
        columns, upper = np.linalg.qr(jacobian @ columns)
        growth = growth + np.log(np.abs(np.diag(upper)))
    by_direction = dict(zip(ds.direction[1].values.astype(int), ds.fixed_time_exponent[1].values, strict=True))
    np.testing.assert_array_equal(ds.direction[1], np.argsort(-growth))
    left = growth / len(INPUTS[1]) - [by_direction[i] for i in range(N)]
    assert np.abs(left).max() < 0.1 * np.abs(growth / len(INPUTS[1]) - predicted_exponents(model.residual)).max()


@pytest.mark.parametrize("kind", ["A", "B"])
def test_fixed_time_theory_of_nonlinear_residuals(kind):
    """For a diagonal residual what is of zeroth order in W is exact, saturation included."""
    left = [
        _largest(lk.validate_weak_coupling(_model(coupling=c, kind=kind), INPUTS), "fixed_time_exponent")
        for c in (1e-4, 1e-3)
    ]
    assert np.log10(left[1] / left[0]) == pytest.approx(2.0, abs=0.35)


@pytest.mark.parametrize("kind", ["linear", "A", "B"])
@pytest.mark.parametrize("name", ["identity", "heterogeneous", "not normal"])
def test_long_time_and_averaged_theory(name, kind):
    """Against eigenvalues, and one QR per step, of the mean of autograd's Jacobians."""
    model = _model(name, 0.05, kind)
    ds = lk.validate_weak_coupling(model, INPUTS)
    mean = _jacobians(model, 1).mean(axis=0)
    expected = np.sort(np.log(np.abs(np.linalg.eigvals(mean))))[::-1]
    np.testing.assert_allclose(ds.long_time_exponent[1], expected, atol=1e-11)
    columns, growth = ordered_frame(RESIDUALS[name]).numpy().T, 0.0
    for _ in range(150):
        columns, upper = np.linalg.qr(mean @ columns)
        growth = growth + np.log(np.abs(np.diag(upper)))
    np.testing.assert_allclose(ds.averaged_exponent[1], np.sort(growth / 150)[::-1], atol=1e-9)


def test_long_time_theory_holds_after_a_long_time():
    """αT = 60 after as long a transient: the exponents are log|eig| of the mean Jacobian."""
    inputs = np.random.default_rng(1).uniform(size=(1, 4000, 2))
    ds = lk.validate_weak_coupling(_model(coupling=0.03), inputs, n_transient=2000)
    assert float(ds.largest_deviation.max()) > 0.01
    assert _largest(ds, "long_time_exponent") < 1e-3
    assert _largest(ds, "averaged_exponent") < 1e-3
    assert np.isnan(ds.fixed_time_exponent).all()
    assert ds.duration.sum() == 2000


@pytest.mark.parametrize("kind", ["linear", "A", "B"])
@pytest.mark.parametrize("coupling", [0.02, np.linspace(0.0, 0.05, N)])
@pytest.mark.parametrize("name", RESIDUALS)
def test_certificate(name, coupling, kind):
    """Its norm bounds those of all steps' perturbations, and its bounds the singular values of all steps."""
    model = _model(name, coupling, kind)
    ds = lk.validate_weak_coupling(model, INPUTS)
    assert (ds.certificate_lower <= ds.lyapunov_exponent.min("exponent")).all()
    assert (ds.lyapunov_exponent.max("exponent") <= ds.certificate_upper).all()
    jacobians = _jacobians(model, 0)
    if kind == "linear":
        norms = np.linalg.norm(jacobians - RESIDUALS[name].matrix.numpy(), ord=2, axis=(1, 2))
        assert norms.max() <= float(ds.perturbation_norm[0]) <= 1.1 * norms.max()
        lowest, highest = np.linalg.svd(RESIDUALS[name].matrix.numpy())[1][[-1, 0]]
        norm = float(ds.perturbation_norm[0])
        assert float(ds.certificate_upper[0]) == pytest.approx(np.log(highest + norm), abs=1e-12)
        assert float(ds.certificate_lower[0]) == pytest.approx(np.log(lowest - norm), abs=1e-12)
    singular = np.linalg.svd(jacobians)[1]
    assert float(ds.certificate_upper[0]) >= np.log(singular[:, 0]).mean()
    assert float(ds.certificate_lower[0]) <= np.log(singular[:, -1]).mean()


def test_certificate_is_infinite_below_where_the_coupling_is_as_strong_as_the_residual():
    ds = lk.validate_weak_coupling(_model(coupling=3.0), INPUTS)
    assert np.isneginf(ds.certificate_lower).all()
    assert "guarantees nothing from below" in ds.attrs["verdict"]


@pytest.mark.parametrize("name", RESIDUALS)
def test_variational_deviation(name):
    """Against products of autograd's Jacobians."""
    model = _model(name, 0.05)
    ds = variational_deviation(model, INPUTS, [1, 40, 150])
    jacobians, matrix = _jacobians(model, 2), RESIDUALS[name].matrix.numpy()
    product = np.eye(N)
    for time, jacobian in enumerate(jacobians, start=1):
        product = jacobian @ product
        if time in (1, 40, 150):
            power = np.linalg.matrix_power(matrix, time)
            expected = np.linalg.norm(product - power, 2) / np.linalg.norm(power, 2)
            assert float(ds.variational_deviation[2].sel(time=time)) == pytest.approx(expected, rel=1e-9)
            singular = ds.singular_exponent[2].sel(time=time)
            expected = np.linalg.svd(product)[1]
            if expected[0] < 1e12 * expected[-1]:
                np.testing.assert_allclose(singular, np.log(expected) / time, atol=1e-9)
            else:
                assert singular.isnull().all()


def test_singular_values_beyond_rounding_are_missing():
    model = lk.WCRNN(2, N, 3, residuals.heterogeneous(N, 0.5, 0.4, 0), 0.01)
    exponents = variational_deviation(model, INPUTS, [2, 150]).singular_exponent
    assert exponents.sel(time=2).notnull().all()
    assert exponents.sel(time=150).isnull().all()


def test_running_and_mean_deviation():
    ds = lk.validate_weak_coupling(_model(coupling=0.05), INPUTS)
    deviation = np.abs(ds.lyapunov_exponent - ds.predicted_exponent)
    np.testing.assert_allclose(ds.mean_deviation, deviation.mean("exponent"), rtol=1e-13)
    np.testing.assert_allclose(ds.largest_deviation, deviation.max("exponent"), rtol=1e-13)
    np.testing.assert_allclose(ds.running_deviation[:, -1], ds.largest_deviation, rtol=1e-12)


@pytest.mark.parametrize(
    ("radius", "coupling", "words"),
    [
        (0.95, 0.01, ["is weakly coupled", "every exponent has the sign"]),
        (0.999, 0.3, ["is not weakly coupled"]),
        (1.0, 0.01, ["residual is critical"]),
    ],
)
def test_verdict(radius, coupling, words):
    torch.manual_seed(0)
    model = lk.WCRNN(2, N, 3, residuals.scaled_identity(N, radius), coupling)
    ds = lk.validate_weak_coupling(model, INPUTS)
    for word in words:
        assert word in ds.attrs["verdict"]
    assert f"{float(ds.largest_deviation.max()):.2g} nats per step" in ds.attrs["verdict"]
    assert "3 trajectories of 150 steps" in ds.attrs["verdict"]


def test_verdict_on_a_diverged_network():
    model = lk.WCRNN(2, N, 3, residuals.scaled_identity(N, 200.0), 0.1)
    with pytest.warns(lk.DivergenceWarning):
        ds = lk.validate_weak_coupling(model, INPUTS)
    assert "cannot be judged" in ds.attrs["verdict"]
    for name in ("averaged_exponent", "fixed_time_exponent", "certificate_upper", "largest_deviation"):
        assert ds[name].isnull().all()


def test_elman_network_with_its_residual(tmp_path):
    torch.manual_seed(0)
    rnn = lk.weakly_coupled_init(nn.RNN(2, N, dtype=torch.float64), RESIDUALS["rotation"], 0.02)
    ds = lk.validate_weak_coupling(rnn, INPUTS, residual=RESIDUALS["rotation"])
    spectrum = lk.lyapunov_spectrum(lk.from_module(rnn), INPUTS)
    np.testing.assert_allclose(ds.lyapunov_exponent, spectrum.lyapunov_exponent, atol=1e-10)
    lk.save(ds, tmp_path / "validated.nc")
    assert lk.load(tmp_path / "validated.nc").identical(ds)


def test_other_models_are_refused():
    with pytest.raises(ValueError, match=r"nn.RNN together with the residual="):
        lk.validate_weak_coupling(nn.RNN(2, N), INPUTS)
    with pytest.raises(ValueError, match="expected a WCRNN"):
        lk.validate_weak_coupling(nn.LSTM(2, N), INPUTS, residual=RESIDUALS["identity"])
    with pytest.raises(ValueError, match="has its own residual"):
        lk.validate_weak_coupling(_model(), INPUTS, residual=RESIDUALS["identity"])
    with pytest.raises(ValueError, match=r"1 features, .* takes 2"):
        lk.validate_weak_coupling(_model(), INPUTS[..., :1])
