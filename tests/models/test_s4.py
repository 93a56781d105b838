"""S4: HiPPO-LegS as published, recurrence and convolution alike, exponents of its discretised state matrix."""

import numpy as np
import pytest
import safetensors.torch
import scipy.linalg
import torch

import lyapkit as lk
from lyapkit.models import S4
from lyapkit.models.s4 import hippo_legs
from lyapkit.testing import check_system


def test_hippo_legs():
    """In ascending order: −√((2n+1)(2k+1)) below the diagonal, −(n+1) on it; B_n = √(2n+1) (Gu et al. 2021, Eq. 2)."""
    A, B = (part.flip(0, 1) if part.ndim == 2 else part.flip(0) for part in hippo_legs(5))
    for n in range(5):
        for k in range(5):
            below = -(((2 * n + 1) * (2 * k + 1)) ** 0.5)
            assert float(A[n, k]) == pytest.approx(below if n > k else -(n + 1) if n == k else 0.0)
        assert float(B[n]) == pytest.approx((2 * n + 1) ** 0.5)


def test_conformance():
    check_system(S4(2, 3, 4, order=5))


def test_discretisation_is_close_to_the_exact_one_for_small_steps():
    model = S4(1, 1, 1, order=4)
    with torch.no_grad():
        model.log_step.fill_(np.log(1e-3))
    A, B = hippo_legs(4)
    joint = np.zeros((5, 5))
    joint[:4, :4], joint[:4, 4] = A, B
    exact = scipy.linalg.expm(1e-3 * joint)  # of ṡ = A s + B u with u constant over a step
    discretized = [part[0].detach().numpy() for part in model.discretized()]
    np.testing.assert_allclose(discretized[0], exact[:4, :4], atol=1e-6)
    np.testing.assert_allclose(discretized[1], exact[:4, 4], atol=1e-6)


@pytest.mark.parametrize("n_steps", [1, 2, 7, 64, 100])
def test_convolution_is_recurrence(n_steps):
    model, inputs = S4(2, 3, 4, order=5), torch.randn(6, n_steps, 2)
    *_, last = model.states(inputs)
    torch.testing.assert_close(model(inputs), model.read(last), rtol=0, atol=1e-12)


@pytest.mark.parametrize("n_steps", [1, 50])
def test_exponents_are_those_of_the_discretised_state_matrix(n_steps):
    """Log-moduli of the eigenvalues, by LAPACK, at any time."""
    model = S4(1, 3, 2, order=6)
    ds = lk.lyapunov_spectrum(model, torch.randn(2, n_steps, 1))
    eigenvalues = np.linalg.eigvals(model.discretized()[0].detach().numpy())
    expected = np.sort(np.log(np.abs(eigenvalues)).ravel())[::-1]
    np.testing.assert_allclose(ds.lyapunov_exponent, np.tile(expected, (2, 1)), rtol=0, atol=1e-10)
    steps = model.log_step.exp().detach().numpy()[:, None] * np.arange(1, 7)
    np.testing.assert_allclose(expected, np.sort(np.log((2 - steps) / (2 + steps)).ravel())[::-1], atol=1e-12)


def test_checkpoint(tmp_path):
    model, inputs = S4(2, 3, 4, order=5), torch.randn(2, 9, 2)
    path = tmp_path / "s4.safetensors"
    safetensors.torch.save_file({f"encoder.{name}": value for name, value in model.state_dict().items()}, path)
    assert str(lk.load_system(path)) == "S4 (2 inputs, 3 channels of order 5)"
    assert torch.equal(lk.load_network(path)(inputs), model(inputs))
    tensors = model.state_dict()
    tensors["log_step"] = torch.zeros(7)
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(lk.CheckpointError, match="parameters of an S4 layer do not fit together"):
        lk.load_network(path)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="sizes and order must be at least 1, got 1, 3, 2, 0"):
        S4(1, 3, 2, order=0)
    with pytest.raises(ValueError, match=r"expected \(trajectory, time, 1\)"):
        S4(1, 3, 2)(torch.zeros(2, 5, 3))
