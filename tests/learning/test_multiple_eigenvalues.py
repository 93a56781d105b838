"""Multiple eigenvalues are all found, zero curvature is zero, and what has no curvature is said in a sentence."""

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, l1_loss, mse_loss, nll_loss

import lyapkit as lk
from lyapkit.learning.lanczos import lanczos, leading_eigenpairs

CASES = {
    "ten times ten": np.repeat(np.arange(1.0, 11.0), 10),
    "twice the first": np.r_[5.0, 5.0, np.linspace(0, 4.9, 80)],
    "three times the second": np.r_[-7.0, 5.0, 5.0, 5.0, np.linspace(-3, 3, 80)],
    "both signs": np.r_[5.0, 5.0, -5.0, -5.0, np.linspace(-1, 1, 60)],
    "all the same": np.full(70, 3.0),
    "low rank": np.r_[2.0, 1.0, np.zeros(70)],
    "low rank, multiple": np.r_[np.full(6, 2.0), np.zeros(70)],
    "zero": np.zeros(60),
    "single": np.linspace(0.1, 1, 60),
    "tiny": 1e-30 * np.r_[5.0, 5.0, np.linspace(0, 4, 60)],
}


class _Matrix:
    """A matrix of a prescribed spectrum that counts its products."""

    def __init__(self, eigenvalues):
        rng = np.random.default_rng(1)
        basis = np.linalg.qr(rng.normal(size=(len(eigenvalues),) * 2))[0]
        self.dense, self.n_products = (basis * eigenvalues) @ basis.T, 0

    def __call__(self, vector):
        self.n_products += 1
        return self.dense @ vector


@pytest.mark.parametrize("which", ["magnitude", "largest", "smallest"])
@pytest.mark.parametrize("k", [1, 4, 9])
@pytest.mark.parametrize("name", CASES)
def test_matrices_of_prescribed_spectrum(name, k, which):
    spectrum = CASES[name]
    order = {"magnitude": -np.abs(spectrum), "largest": -spectrum, "smallest": spectrum}[which]
    expected = spectrum[np.argsort(order, kind="stable")][:k]
    matrix, scale = _Matrix(spectrum), np.abs(spectrum).max()
    values, vectors, is_certain = leading_eigenpairs(matrix, len(spectrum), k, which, 1e-8, 5000, seed=0)
    assert is_certain
    if which == "magnitude":  # of one magnitude both signs may come
        np.testing.assert_allclose(np.abs(values), np.abs(expected), atol=1e-8 * scale)
    else:
        np.testing.assert_allclose(values, expected, atol=1e-8 * scale)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(k), atol=1e-7)
    np.testing.assert_allclose(vectors @ matrix.dense, values[:, None] * vectors, atol=1e-7 * scale)


@pytest.mark.parametrize("tolerance", [1e-4, 1e-8])
@pytest.mark.parametrize("gap", [1e-5, 1e-6, 1e-7])
@pytest.mark.parametrize("end", [1.0, 1e-3, -1e-3])
def test_neighbours_at_the_dense_end(end, gap, tolerance):
    """Two eigenvalues close to each other, small beside the largest, with others in a row behind them."""
    spectrum = np.r_[end, end + gap, end + abs(end) * np.linspace(0.2, 3, 20), np.linspace(1.5, 30, 80)]
    for which, sign in (("smallest", 1), ("largest", -1)):
        values, *_ = leading_eigenpairs(_Matrix(sign * spectrum), len(spectrum), 2, which, tolerance, 2000, seed=2)
        np.testing.assert_allclose(sign * values, spectrum[:2], atol=2 * tolerance * abs(end) + 1e-11)


def test_lanczos_is_a_similarity():
    """QᵀAQ = T with orthonormal Q."""
    matrix = _Matrix(np.linspace(-1, 2, 30))
    diagonal, beside, basis = lanczos(matrix, np.random.default_rng(0).normal(size=30), 12)
    expected = np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1)
    np.testing.assert_allclose(basis @ matrix.dense @ basis.T, expected, atol=1e-12)
    np.testing.assert_allclose(basis @ basis.T, np.eye(12), atol=1e-13)


@pytest.mark.parametrize("recurrent", ["LSTM", "WCRNN"])
def test_readout_under_squares(recurrent):
    """The Hessian is 2 / (S O) I ⊗ Σ h hᵀ: every eigenvalue as often as there are outputs."""
    torch.manual_seed(0)
    if recurrent == "LSTM":
        network = lk.RecurrentNetwork(nn.LSTM(3, 12), nn.Linear(12, 5)).double()
    else:
        network = lk.WCRNN(3, 12, 5, lk.residuals.rotation(12, 0.3, 0.9), 0.5).double()
    inputs, targets = torch.randn(20, 6, 3).double(), torch.randn(20, 5).double()
    h = list(network.states(inputs))[-1][:, :12].detach()
    single = np.linalg.eigvalsh((2 / 100 * h.T @ h).numpy())[::-1]
    given = network, inputs, targets, mse_loss, 8
    options = {"parameters": "readout.weight", "tolerance": 1e-9}
    expected = np.repeat(single, 5)[:8]
    np.testing.assert_allclose(lk.hessian_eigenvalues(*given, **options).hessian_eigenvalue, expected, rtol=1e-8)
    np.testing.assert_allclose(lk.ggn_eigenvalues(*given, **options).ggn_eigenvalue, expected, rtol=1e-8)


INPUTS, LABELS = torch.linspace(-2, 2, 8 * 6 * 2).sin().view(8, 6, 2).double(), torch.tensor([0, 1, 2, 0, 1, 2, 1, 0])


def _gru(readout=None):
    torch.manual_seed(0)
    return lk.RecurrentNetwork(nn.GRU(2, 6), readout or nn.Linear(6, 3)).double()


def test_no_curvature_gives_zeros():
    values = torch.randn(8, 3).double()
    zero = _gru()
    nn.init.zeros_(zero.readout.weight)
    log_softmax = _gru(nn.Sequential(nn.Linear(6, 3), nn.LogSoftmax(-1)))
    found = [
        lk.ggn_eigenvalues(log_softmax, INPUTS, LABELS, nll_loss).ggn_eigenvalue,
        lk.ggn_eigenvalues(_gru(), INPUTS, values, l1_loss).ggn_eigenvalue,
        lk.ggn_eigenvalues(_gru(), INPUTS, values, l1_loss, 3).ggn_eigenvalue,
        lk.hessian_eigenvalues(zero, INPUTS, LABELS, cross_entropy, 3).hessian_eigenvalue,
        lk.hessian_eigenvalues(_gru(), INPUTS[:, :1], LABELS, cross_entropy, 3).hessian_eigenvalue,
        lk.hessian_density(zero, INPUTS, LABELS, cross_entropy).quadrature_node.isel(node=0),
    ]
    for values in found:
        np.testing.assert_allclose(values, 0, atol=1e-17)
    ds = lk.hessian_density(zero, INPUTS, LABELS, cross_entropy)
    assert np.trapezoid(ds.density, ds.value) == pytest.approx(1, abs=1e-3)


def test_a_perfect_fit():
    """Squares have a Hessian there, the GGN, and no gradient; a root has neither."""
    network = _gru()
    targets = network(INPUTS).detach()
    both = [
        lk.hessian_eigenvalues(network, INPUTS, targets, "mse", 3).hessian_eigenvalue,
        lk.ggn_eigenvalues(network, INPUTS, targets, "mse", 3).ggn_eigenvalue,
    ]
    np.testing.assert_allclose(both[0], both[1], rtol=1e-6)
    assert both[0][0] > 0
    with warnings.catch_warnings():
        assert np.isnan(lk.gradient_norms(network, INPUTS, targets, "mse").decay_rate).all()
    with pytest.warns(UserWarning, match="no layer has an alignment"):
        ds = lk.learning_rate_modulation(network, INPUTS, targets, "mse")
    assert np.isnan(ds.alignment).all()
    with pytest.raises(ValueError, match="no finite gradient there: a root"):
        lk.hessian_eigenvalues(network, INPUTS, targets, "rms", 3)


def test_overflow_is_a_sentence():
    network = lk.WCRNN(2, 3, 2, [1e80] * 3, 0.5).double()
    with pytest.raises(ValueError, match="outputs are not finite, first those of sample 0: states overflow"):
        lk.hessian_eigenvalues(network, INPUTS, LABELS.clamp(max=1), cross_entropy, 2)


def test_a_multiple_eigenvalue_that_could_not_be_looked_for_is_not_passed_over_in_silence():
    """Enough products for what Lanczos iteration meets, 3, 2 and 1, too few to see that 3 is there three times."""
    spectrum = np.r_[3.0, 3.0, 3.0, 2.0, 1.0, np.linspace(0, 0.1, 95)]
    found = {}
    for most in (10, 30, 5000):
        matrix = _Matrix(spectrum)
        values, _, is_certain = leading_eigenpairs(matrix, len(spectrum), 3, "largest", 1e-6, most, seed=0)
        found[most] = list(values.round(6)), is_certain
    assert found[5000] == ([3.0, 3.0, 3.0], True)
    assert all(values == [3.0, 3.0, 3.0] or not is_certain for values, is_certain in found.values())
    assert not found[10][1]
