"""The scripts in docs/examples run, and what they print is right."""

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

import lyapkit as lk

EXAMPLES = Path(__file__).resolve().parent.parent / "docs" / "examples"


def _loaded(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_perceptual_decision(monkeypatch, capsys):
    example = _loaded("perceptual_decision")
    trained = []
    train = lk.train
    monkeypatch.setattr(lk, "train", lambda *args, **options: trained.append(train(*args, **options)) or trained[-1])
    found = example.main(n_iterations=60, n_trials=100, n_analysed=6)
    assert "accuracy" in capsys.readouterr().out
    losses = found["metrics"].test_loss[0]
    assert float(losses[-1]) < 0.8 * float(losses[0])
    assert found["spectrum after"].lyapunov_exponent.shape == (6, 32)

    rng = np.random.default_rng(0)
    example.trials(100, rng)
    inputs, targets, lengths = (torch.from_numpy(part[:6]) for part in example.trials(500, rng))
    network, states = trained[0].networks[0].double(), []
    state = inputs.new_zeros(6, 32)
    for input in inputs.unbind(1):
        state = network.step(state, input)
        state.retain_grad()
        states.append(state)
    counts = torch.arange(inputs.shape[1]) < lengths[:, None]
    outputs = torch.stack([network.read(state) for state in states], dim=1)
    loss = cross_entropy(outputs[counts], targets[counts])
    loss.backward()
    expected = 6 * torch.stack([state.grad.norm(dim=1) for state in states], dim=1)
    norms = found["gradient norms"].gradient_norm.values
    np.testing.assert_allclose(norms[counts], expected[counts], rtol=1e-8)
    assert np.isnan(norms[~counts]).all()

    weight = network.recurrent.weight_hh_l0
    vector = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    top, top_vector = None, vector / vector.norm()
    losses = cross_entropy(network(inputs)[counts], targets[counts])
    (gradient,) = torch.autograd.grad(losses, weight, create_graph=True)
    for _ in range(100):  # power iteration, of double backward
        (product,) = torch.autograd.grad(gradient, weight, top_vector, retain_graph=True)
        top, top_vector = float((top_vector * product).sum()), product / product.norm()
    eigenvalues = found["hessian"].hessian_eigenvalue.values
    np.testing.assert_allclose(eigenvalues[np.abs(eigenvalues).argmax()], top, rtol=1e-4)
