import numpy as np
import pytest
import safetensors.torch
import torch
from problems import problem
from torch import nn

import lyapkit as lk


def test_series_of_checkpoints(tmp_path):
    """Models and files, in order of the steps, each with its own result."""
    model, inputs, targets, loss = problem("linear", "cross-entropy")
    start = lk.hessian_eigenvalues(model, inputs, targets, loss, 2)
    safetensors.torch.save_file(model.state_dict(), tmp_path / "start.safetensors")
    model.recurrent.weight.data.mul_(0.5)
    ds = lk.over_training(
        lk.hessian_eigenvalues, {100: model, 0: tmp_path / "start.safetensors"}, inputs, targets, loss, k=2
    )
    np.testing.assert_array_equal(ds.step, [0, 100])
    np.testing.assert_allclose(ds.hessian_eigenvalue.sel(step=0), start.hessian_eigenvalue, rtol=1e-12)
    assert abs(ds.hessian_eigenvalue.sel(step=100, eigenvalue=1) / start.hessian_eigenvalue[0] - 1) > 0.01


@pytest.mark.parametrize("analysis", [lk.gradient_norms, lk.learning_rate_modulation, lk.ggn_eigenvalues])
def test_of_every_analysis(analysis):
    model, inputs, targets, loss = problem("linear", "cross-entropy")
    ds = lk.over_training(analysis, {0: model, 1: model}, inputs, targets, loss)
    assert ds.sizes["step"] == 2


def test_nothing_to_analyse():
    with pytest.raises(ValueError, match="no checkpoints"):
        lk.over_training(lk.gradient_norms, {})


def test_relu_is_asked_for_once(tmp_path):
    """Files of PyTorch's own modules do not tell; what is said is used for all of them."""
    network = lk.RecurrentNetwork(nn.RNN(3, 4, nonlinearity="relu"), nn.Linear(4, 2))
    state = {name: tensor for name, tensor in network.state_dict().items() if name != "_extra_state"}
    paths = {step: tmp_path / f"{step}.pt" for step in (0, 5)}
    for path in paths.values():
        torch.save(state, path)
    given = torch.randn(5, 6, 3), torch.tensor([0, 1, 1, 0, 1]), nn.functional.cross_entropy
    with pytest.raises(lk.CheckpointError, match="say nonlinearity='tanh' or 'relu'"):
        lk.over_training(lk.gradient_norms, paths, *given)
    ds = lk.over_training(lk.gradient_norms, paths, *given, nonlinearity="relu")
    for step in paths:
        np.testing.assert_allclose(
            ds.gradient_norm.sel(step=step), lk.gradient_norms(network, *given).gradient_norm, rtol=1e-12
        )
    spectra = lk.over_training(lk.lyapunov_spectrum, paths, given[0].abs(), nonlinearity="tanh", load=lk.load_system)
    assert spectra.sizes["step"] == 2
