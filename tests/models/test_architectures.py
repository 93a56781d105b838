"""Architectures by name: each one a network and a system, with weights that depend on the seed alone."""

import numpy as np
import pytest
import torch

import lyapkit as lk
from lyapkit.models import ARCHITECTURES, build_network
from lyapkit.testing import check_system


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture(name, tmp_path):
    before = torch.random.get_rng_state()
    model = build_network(name, 2, 6, 3, seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)
    check_system(model)
    inputs = torch.randn(4, 30, 2)
    *_, last = model.states(inputs)
    torch.testing.assert_close(model(inputs), model.read(last), rtol=0, atol=1e-12)
    for again, same in ((build_network(name, 2, 6, 3, seed=5), True), (build_network(name, 2, 6, 3, seed=6), False)):
        assert torch.equal(again(inputs), model(inputs)) == same
    ds = lk.lyapunov_spectrum(model, inputs)
    assert bool(np.isfinite(ds.lyapunov_exponent).all())
    targets = torch.tensor([0, 1, 2, 0])
    norms = lk.gradient_norms(model, inputs, targets, torch.nn.functional.cross_entropy)
    assert bool(np.isfinite(norms.gradient_norm).all())
    hessian = lk.hessian_eigenvalues(model, inputs, targets, torch.nn.functional.cross_entropy, 2)
    assert bool(np.isfinite(hessian.hessian_eigenvalue).all())


def test_residual_and_coupling():
    residual = lk.residuals.orthogonal(6, 0, 0.9)
    for name, kind, activation in (
        ("wcrnn", "linear", "tanh"),
        ("wcrnn-a", "A", "tanh"),
        ("wcrnn-b", "B", "tanh"),
        ("wcrnn-identity", "linear", "identity"),
    ):
        model = build_network(name, 2, 6, 3, residual=residual, coupling=0.2)
        assert (model.kind, model.activation) == (kind, activation)
        assert float(model.coupling) == 0.2
        assert torch.equal(model.residual.values, residual.values)
    assert float(build_network("elman-residual", 2, 6, 3).coupling) == 1.0


def test_what_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="unknown network 'transformer', expected one of wcrnn, wcrnn-a"):
        build_network("transformer", 2, 6, 3)
    with pytest.raises(ValueError, match="lstm has no residual and no coupling to choose"):
        build_network("lstm", 2, 6, 3, coupling=0.1)
