"""Eigenvalues against those of dense matrices, and the density against a Gaussian sum over all of them."""

import numpy as np
import pytest
import torch
from problems import LOSSES, NETWORKS, loss_of, problem
from torch import nn
from torch.nn.functional import cross_entropy

import lyapkit as lk
from lyapkit.learning.density import _lanczos_quadrature


def _dense(network, loss, parameters="recurrent"):
    model, inputs, targets, function = problem(network, loss)
    names = dict(model.named_parameters()) if parameters == "all" else model.recurrent_parameters
    of_vector, vector = loss_of(model, inputs, targets, function, list(names))
    hessian = torch.autograd.functional.hessian(of_vector, vector, vectorize=True)
    return (model, inputs, targets, function), hessian.numpy()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("network", NETWORKS)
def test_hessian_eigenvalues(network, loss, agrees):
    arguments, hessian = _dense(network, loss, "all")
    expected = np.linalg.eigvalsh(hessian)
    by_magnitude = expected[np.argsort(-np.abs(expected))]
    ds = lk.hessian_eigenvalues(*arguments, 5, parameters="all", tolerance=1e-10, eigenvectors=True)
    scale = np.abs(expected).max()
    agrees(ds.hessian_eigenvalue / scale, by_magnitude[:5] / scale, "hessian eigenvalues", within=1e-10)
    assert ds.converged.all()
    for value, vector in zip(ds.hessian_eigenvalue.values, ds.eigenvector.values, strict=True):
        np.testing.assert_allclose(hessian @ vector, value * vector, atol=1e-9 * scale)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("network", ["linear", "B", "RNN"])
def test_hessian_eigenvalues_at_either_end(network, loss):
    """Of some networks, by hand and by autograd: the matrix is that of the test above, whichever end is asked for."""
    arguments, hessian = _dense(network, loss, "all")
    expected = np.linalg.eigvalsh(hessian)
    options = {"parameters": "all", "tolerance": 1e-10}
    scale = np.abs(expected).max()
    largest = lk.hessian_eigenvalues(*arguments, 3, which="largest", **options)
    np.testing.assert_allclose(largest.hessian_eigenvalue, expected[::-1][:3], atol=1e-10 * scale)
    smallest = lk.hessian_eigenvalues(*arguments, 3, which="smallest", **options)
    np.testing.assert_allclose(smallest.hessian_eigenvalue, expected[:3], atol=1e-10 * scale)


def test_all_eigenvalues_of_a_small_block():
    arguments, hessian = _dense("linear", "cross-entropy")
    ds = lk.hessian_eigenvalues(*arguments, 36, which="largest")
    np.testing.assert_allclose(ds.hessian_eigenvalue, np.linalg.eigvalsh(hessian)[::-1], atol=1e-10)


@pytest.mark.parametrize("batch_size", [None, 3])
@pytest.mark.parametrize("parameters", ["recurrent", "all"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("network", ["linear", "A", "B", "GRU", "LSTM"])
def test_ggn_eigenvalues(network, loss, parameters, batch_size, agrees):
    """All of them, exactly, on both ways (through rows, and accumulated), and the leading ones by iteration."""
    model, inputs, targets, function = problem(network, loss)
    options = {"parameters": parameters, "batch_size": batch_size}
    names = list(dict(model.named_parameters()) if parameters == "all" else model.recurrent_parameters)
    _, vector = loss_of(model, inputs, targets, function, names)
    shapes = [model.get_parameter(name).shape for name in names]

    def outputs(vector):
        parts = vector.split([shape.numel() for shape in shapes])
        values = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return torch.func.functional_call(model, values, (inputs,)).reshape(-1)

    jacobian = torch.autograd.functional.jacobian(outputs, vector, vectorize=True)
    at = outputs(vector).detach()
    of_outputs = torch.autograd.functional.hessian(lambda o: function(o.view(len(inputs), -1), targets), at)
    expected = np.linalg.eigvalsh((jacobian.mT @ of_outputs @ jacobian).numpy())[::-1]
    ds = lk.ggn_eigenvalues(model, inputs, targets, function, **options)
    values = ds.ggn_eigenvalue / expected[0]
    agrees(values, expected / expected[0], "gauss-newton eigenvalues", within=1e-10)
    leading = lk.ggn_eigenvalues(model, inputs, targets, function, 3, tolerance=1e-10, **options)
    np.testing.assert_allclose(leading.ggn_eigenvalue, expected[:3], atol=1e-9 * expected[0])


def test_ggn_accumulated_over_more_rows_than_parameters():
    """Of a readout of 2 × 4 weights with many samples, whose GGN is Σ H_L ⊗ h hᵀ: a closed form."""
    model = lk.WCRNN(1, 4, 2, lk.residuals.scaled_identity(4, 0.9), 0.5)
    inputs, targets = torch.randn(50, 6, 1), torch.randint(2, (50,))
    ds = lk.ggn_eigenvalues(model, inputs, targets, cross_entropy, parameters="readout.weight")
    states = list(model.states(inputs))[-1].detach()
    p = torch.softmax(model(inputs), 1).detach()
    of_loss = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    matrix = sum(torch.kron(h, torch.outer(s, s)) for h, s in zip(of_loss, states, strict=True)) / 50
    np.testing.assert_allclose(ds.ggn_eigenvalue, np.linalg.eigvalsh(matrix)[::-1], atol=1e-14)


def test_same_seed_same_digits_other_seed_within_residual():
    torch.manual_seed(1)
    model = lk.WCRNN(1, 12, 3, lk.residuals.rotation(12, 0.3, 0.97), 0.1)
    arguments = model, torch.randn(20, 30, 1), torch.randint(3, (20,)), cross_entropy
    one, again, other = (lk.hessian_eigenvalues(*arguments, 5, seed=seed, tolerance=1e-6) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.hessian_eigenvalue, again.hessian_eigenvalue)
    assert not np.array_equal(one.hessian_eigenvalue, other.hessian_eigenvalue)
    difference = np.abs(one.hessian_eigenvalue - other.hessian_eigenvalue)
    assert (difference <= one.residual_norm + other.residual_norm).all()
    assert one.n_products > 5


def test_what_is_not_found_is_nan():
    torch.manual_seed(1)
    model = lk.WCRNN(1, 12, 3, lk.residuals.rotation(12, 0.3, 0.97), 0.1)
    arguments = model, torch.randn(20, 30, 1), torch.randint(3, (20,)), cross_entropy
    with pytest.warns(lk.ReliabilityWarning, match="raise max_products"):
        ds = lk.hessian_eigenvalues(*arguments, 5, tolerance=1e-15, max_products=1)
    assert np.isnan(ds.hessian_eigenvalue).any()
    np.testing.assert_array_equal(ds.converged, ds.residual_norm <= 1e-14)


def test_density():
    """The exact density, smoothed alike, lies within a few standard errors, and its moments are the Hessian's."""
    arguments, hessian = _dense("linear", "cross-entropy")
    exact = np.linalg.eigvalsh(hessian)
    ds = lk.hessian_density(*arguments, n_steps=36, n_vectors=64, width=0.1 * np.abs(exact).max())
    distance = (ds.value.values[:, None] - exact) / ds.attrs["width"]
    expected = np.exp(-(distance**2) / 2).sum(1) / (len(exact) * ds.attrs["width"] * np.sqrt(2 * np.pi))
    error = np.abs(ds.density - expected) / ds.standard_error.clip(1e-6)
    assert (error < 3).mean() > 0.95
    assert np.trapezoid(ds.density, ds.value) == pytest.approx(1, abs=1e-3)
    means = (ds.quadrature_weight * ds.quadrature_node).sum("node")
    assert float(means.mean()) == pytest.approx(exact.mean(), abs=4 * float(means.std()) / 8)


def test_quadrature_is_exact_for_polynomials():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(20, 20))
    matrix += matrix.T
    start = rng.normal(size=20)
    start /= np.linalg.norm(start)
    nodes, weights = _lanczos_quadrature(matrix.__matmul__, start, 5)
    for power in range(10):
        expected = start @ np.linalg.matrix_power(matrix, power) @ start
        assert weights @ nodes**power == pytest.approx(expected, rel=1e-10)


def test_quadrature_stops_in_an_invariant_subspace():
    nodes, weights = _lanczos_quadrature(np.diag([1.0, 2.0, 3.0]).__matmul__, np.array([1.0, 1.0, 0.0]), 3)
    np.testing.assert_allclose(nodes, [1, 2])
    np.testing.assert_allclose(weights, [0.5, 0.5])


class Classifier(nn.Module):
    """What a user brings: a recurrent module and a linear readout of its last state."""

    def __init__(self, batch_first=True, scale=1.0):
        super().__init__()
        self.rnn = nn.LSTM(2, 6, batch_first=batch_first)
        self.out = nn.Linear(6, 3)
        self.batch_first, self.scale = batch_first, scale

    def forward(self, sequences):
        outputs = self.rnn(sequences)[0]
        return self.scale * self.out(outputs[:, -1] if self.batch_first else outputs[-1])


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_users_module(batch_first):
    """Against its own forward and autograd, whichever axis is its batch."""
    torch.manual_seed(2)
    model = Classifier(batch_first)
    inputs, targets = torch.randn(5, 8, 2), torch.randint(3, (5,))
    own = inputs if batch_first else inputs.transpose(0, 1)

    def of_vector(vector):
        values = {"rnn.weight_hh_l0": vector.view(24, 6)}
        return cross_entropy(torch.func.functional_call(model, values, (own,)), targets)

    hessian = torch.autograd.functional.hessian(of_vector, model.rnn.weight_hh_l0.detach().reshape(-1))
    expected = np.linalg.eigvalsh(hessian)
    ds = lk.hessian_eigenvalues(model, inputs, targets, cross_entropy, 3, tolerance=1e-9)
    np.testing.assert_allclose(ds.hessian_eigenvalue, expected[np.argsort(-np.abs(expected))][:3], atol=1e-10)


MODEL = lk.WCRNN(2, 6, 3, lk.residuals.scaled_identity(6, 0.9)).double()
INPUTS, TARGETS = torch.zeros(4, 5, 2).double(), torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"loss": lambda o, t: cross_entropy(o, t, reduction="none")}, r"must be a scalar tensor, got shape \(4,\)"),
        ({"loss": lambda o, t: 1.0}, "must be a scalar tensor, got float"),
        ({"loss": lambda o, t: o.detach().sum()}, "does not depend on the outputs"),
        ({"loss": lambda o, t: o.sum() * np.nan}, "the loss is nan"),
        ({"targets": torch.tensor([0, 1, 2, 3])}, "cannot be computed from outputs"),
        ({"targets": TARGETS[:3]}, "3 targets for 4 samples"),
        ({"targets": torch.tensor([0.0, np.nan, 1, 1])}, "targets hold NaN or infinite values, first at sample 1"),
        ({"inputs": INPUTS[:0], "targets": TARGETS[:0]}, "inputs are empty"),
        ({"inputs": INPUTS * np.nan}, "inputs hold nan at trajectory 0, time 0"),
        ({"inputs": INPUTS[..., :1]}, "inputs have 1 features"),
        ({"k": 37}, "between 1 and the 36 parameters of recurrent.weight, got 37"),
        ({"k": 0}, "between 1 and"),
        ({"which": "both"}, "which must be one of"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"parameters": "recurrent.bia"}, "unknown parameters recurrent.bia: choose"),
        ({"parameters": []}, "each once"),
        ({"model": nn.LSTM(2, 6)}, "LSTM has no readout"),
        ({"model": nn.Linear(2, 6)}, "contains 0 recurrent modules"),
        ({"model": Classifier(scale=2.0)}, "does more than to read its last hidden state"),
        ({"model": "network"}, "network does not exist"),
        ({"model": 3}, "expected a network with a readout"),
    ],
)
def test_bad_input(changed, message):
    arguments = {"model": MODEL, "inputs": INPUTS, "targets": TARGETS, "loss": cross_entropy} | changed
    with pytest.raises(ValueError, match=message):
        lk.hessian_eigenvalues(**arguments)


def test_too_little_memory():
    with pytest.raises(ValueError, match=r"all 36 eigenvalues of the GGN need .* GiB, and 0.01 GiB are free"):
        lk.ggn_eigenvalues(MODEL, INPUTS, TARGETS, cross_entropy, memory=0.01)
