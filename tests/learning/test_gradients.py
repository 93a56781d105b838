"""Gradients of the loss with respect to the states, against autograd through the module's own steps."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import lyapkit as lk
from lyapkit.learning.gradients import gradient_norms

RESIDUALS = {
    "diagonal": lk.residuals.heterogeneous(6, 0.9, 0.1, 0),
    "rotation": lk.residuals.rotation(6, 0.4, np.linspace(0.7, 1.0, 6)),
}


@pytest.mark.parametrize("kind", ["linear", "A", "B"])
@pytest.mark.parametrize("name", RESIDUALS)
def test_against_autograd(kind, name):
    torch.manual_seed(0)
    model = lk.WCRNN(2, 6, 3, RESIDUALS[name], 0.4, kind)
    inputs, targets = torch.randn(5, 15, 2), torch.tensor([0, 2, 1, 1, 0])
    ds = gradient_norms(model, inputs, targets, cross_entropy)
    for sample in range(5):
        states = [torch.zeros(1, 6)]
        for time in range(15):
            states.append(model.step(states[-1], inputs[sample : sample + 1, time]))
        loss = cross_entropy(model.readout(states[-1]), targets[sample : sample + 1])
        expected = [float(g.norm()) for g in torch.autograd.grad(loss, states[1:])]
        np.testing.assert_allclose(ds.gradient_norm[sample], expected, rtol=1e-12)


def test_decay_rate_without_coupling_is_log_r():
    model = lk.WCRNN(1, 6, 3, lk.residuals.rotation(6, 0.4, 0.93), 0.0)
    ds = gradient_norms(model, torch.randn(4, 50, 1), torch.tensor([0, 1, 2, 0]), cross_entropy)
    np.testing.assert_allclose(ds.decay_rate, np.log(0.93), atol=1e-12)


def test_vanished_gradient_has_no_decay_rate():
    model = lk.WCRNN(1, 6, 3, lk.residuals.scaled_identity(6, 0.0), 0.0)
    ds = gradient_norms(model, torch.randn(2, 5, 1), torch.tensor([0, 1]), cross_entropy)
    assert np.isnan(ds.decay_rate).all()


def test_targets_must_fit():
    model = lk.WCRNN(1, 6, 3, lk.residuals.scaled_identity(6, 0.9))
    with pytest.raises(ValueError, match="3 targets for 2 samples"):
        gradient_norms(model, torch.randn(2, 5, 1), torch.tensor([0, 1, 2]), cross_entropy)
