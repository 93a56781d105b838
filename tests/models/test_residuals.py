"""Residuals: their matrices against explicit constructions, their eigenvalues against closed forms."""

import numpy as np
import pytest
import torch

import lyapkit as lk
from lyapkit import residuals


def _block(omega):
    return np.array([[np.cos(omega), -np.sin(omega)], [np.sin(omega), np.cos(omega)]])


def test_scaled_identity():
    residual = residuals.scaled_identity(4, 0.98)
    np.testing.assert_array_equal(residual.matrix, 0.98 * np.eye(4))
    assert residual.is_diagonal
    np.testing.assert_array_equal(residual.eigenvalues, np.full(4, 0.98))


def test_rotation_turns_counterclockwise_by_omega():
    residual = residuals.rotation(2, 0.3, 0.9)
    turned = residual(torch.tensor([[1.0, 0.0]]))
    np.testing.assert_allclose(turned, 0.9 * np.array([[np.cos(0.3), np.sin(0.3)]]), atol=1e-15)
    np.testing.assert_allclose(np.sort_complex(residual.eigenvalues), 0.9 * np.exp([-0.3j, 0.3j]), atol=1e-15)


def test_rotation_with_many_frequencies_and_radii():
    omega, radii = np.array([0.1, 0.5, 1.2]), np.linspace(0.5, 1.0, 6)
    expected = np.zeros((6, 6))
    for pair in range(3):
        expected[2 * pair : 2 * pair + 2, 2 * pair : 2 * pair + 2] = _block(omega[pair])
    np.testing.assert_allclose(residuals.rotation(6, omega, radii).matrix, expected @ np.diag(radii), atol=1e-15)


@pytest.mark.parametrize("unpaired", [1, -1])
def test_rotation_of_an_odd_number_of_units(unpaired):
    matrix = residuals.rotation(3, 0.2, 0.9, unpaired=unpaired).matrix.numpy()
    np.testing.assert_allclose(matrix[:2, :2], 0.9 * _block(0.2), atol=1e-15)
    np.testing.assert_array_equal(matrix[2], [0.0, 0.0, 0.9 * unpaired])
    with pytest.raises(ValueError, match=r"n=3 is odd: choose an even n, or .*unpaired"):
        residuals.rotation(3, 0.2)


def test_heterogeneous():
    radii = residuals.heterogeneous(1000, 0.95, 0.04, 3).values.numpy()
    assert 0.91 <= radii.min() < 0.912
    assert 0.988 < radii.max() <= 0.99
    assert radii.mean() == pytest.approx(0.95, abs=0.003)
    again = residuals.heterogeneous(1000, 0.95, 0.04, np.random.default_rng(3)).values.numpy()
    np.testing.assert_array_equal(radii, again)


def test_orthogonal():
    residual = residuals.orthogonal(9, 0, 0.7)
    matrix = residual.matrix.numpy()
    np.testing.assert_allclose(matrix @ matrix.T, 0.49 * np.eye(9), atol=1e-14)
    np.testing.assert_allclose(np.abs(residual.eigenvalues), 0.7, atol=1e-14)
    assert abs(matrix - residuals.orthogonal(9, 1, 0.7).matrix.numpy()).max() > 0.1
    assert residuals.orthogonal(1, 0).matrix.shape == (1, 1)


def test_eigenvalues_descend_and_forward_multiplies_from_the_left():
    matrix = np.array([[0.2, 0.5], [0.0, -0.9]])
    residual = lk.Residual(matrix)
    np.testing.assert_allclose(residual.eigenvalues, [-0.9, 0.2], atol=1e-15)
    vectors = np.random.default_rng(0).normal(size=(3, 4, 2))
    expected = np.einsum("ij,abj->abi", matrix, vectors)
    np.testing.assert_allclose(residual(torch.from_numpy(vectors)), expected, atol=1e-15)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: residuals.scaled_identity(0, 1.0), "at least 1, got 0"),
        (lambda: residuals.heterogeneous(4, 0.1, 0.2, 0), r"smaller than r=0.1.* got 0.2"),
        (lambda: residuals.heterogeneous(4, 0.1, -0.2, 0), "spread must be at least 0"),
        (lambda: residuals.heterogeneous(4, 0.1, np.nan, 0), "got nan"),
        (lambda: residuals.rotation(4, [0.1, 0.2, 0.3]), r"omega has shape \(3,\), expected a number or 2"),
        (lambda: residuals.rotation(4, 0.1, [0.1, 0.2]), r"r has shape \(2,\), expected a number or 4"),
        (lambda: residuals.rotation(4, np.nan), "finite"),
        (lambda: residuals.scaled_identity(4, np.inf), "finite"),
        (lambda: lk.Residual(np.ones((2, 3))), r"got shape \(2, 3\)"),
        (lambda: lk.Residual(1.0), r"got shape \(\)"),
    ],
)
def test_bad_residuals_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
