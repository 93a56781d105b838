"""UR-LSTM: against a NumPy loop, its Jacobian against autograd, time scales at the start."""

import numpy as np
import pytest
import safetensors.torch
import torch

import lyapkit as lk
from lyapkit.models import RefinedLSTM
from lyapkit.testing import check_system


def _sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_conformance():
    check_system(RefinedLSTM(2, 5, 3))


def test_forward_is_a_numpy_loop():
    """With the refined gate in the form of the paper, r (1 − (1 − f)²) + (1 − r) f²."""
    model, inputs = RefinedLSTM(2, 5, 3), torch.randn(4, 12, 2)
    parts = (model.gates["input"].weight, model.gates["recurrent"].weight, model.gates["input"].bias)
    W_in, W, b = (part.detach().numpy() for part in parts)
    for trajectory in range(4):
        h, c = np.zeros(5), np.zeros(5)
        for x in inputs[trajectory].numpy():
            f, r, u, o = np.split(W_in @ x + W @ h + b, 4)
            f, r = _sigmoid(f), _sigmoid(r)
            g = r * (1 - (1 - f) ** 2) + (1 - r) * f**2
            c = g * c + (1 - g) * np.tanh(u)
            h = _sigmoid(o) * np.tanh(c)
        expected = model.readout.weight.detach().numpy() @ h + model.readout.bias.detach().numpy()
        np.testing.assert_allclose(model(inputs)[trajectory].detach(), expected, atol=1e-13)


def test_spectrum_equals_that_of_autograd_jacobians():
    model, inputs = RefinedLSTM(2, 4, 3), torch.randn(1, 60, 2)
    ds = lk.lyapunov_spectrum(model, inputs)
    state, frame, growth = torch.zeros(8), np.eye(8), np.zeros(8)
    for x in inputs[0]:
        jacobian = torch.autograd.functional.jacobian(lambda s, x=x: model.step(s[None], x[None])[0], state)
        state = model.step(state[None], x[None])[0].detach()
        frame, upper = np.linalg.qr(jacobian.numpy() @ frame)
        growth += np.log(np.abs(np.diag(upper)))
    np.testing.assert_allclose(ds.lyapunov_exponent[0], np.sort(growth / 60)[::-1], atol=1e-9)


def test_forget_gates_start_uniformly_distributed():
    torch.manual_seed(0)
    forget, refine = RefinedLSTM(1, 2000, 1).gates["input"].bias.detach().chunk(4)[:2]
    shares = torch.sigmoid(forget)
    assert float(shares.min()) >= 1 / 2000 - 1e-9
    assert float(shares.max()) <= 1 - 1 / 2000 + 1e-9
    quartiles = torch.quantile(shares, torch.tensor([0.25, 0.5, 0.75])).numpy()
    np.testing.assert_allclose(quartiles, [0.25, 0.5, 0.75], atol=0.04)
    assert torch.equal(refine, -forget)


def test_checkpoint(tmp_path):
    model, inputs = RefinedLSTM(2, 5, 3), torch.randn(2, 9, 2)
    path = tmp_path / "refined.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    assert str(lk.load_system(path)) == "UR-LSTM (2 inputs, 5 units, state size 10)"
    assert torch.equal(lk.load_network(path)(inputs), model(inputs))
    tensors = model.state_dict()
    del tensors["readout.bias"]
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(lk.CheckpointError, match="parameters of a UR-LSTM do not fit together"):
        lk.load_network(path)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="sizes must be at least 1, and 2 units, got 2, 1 units and 3"):
        RefinedLSTM(2, 1, 3)
