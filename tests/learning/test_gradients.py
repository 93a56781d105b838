"""Gradients of the loss with respect to the states, against autograd through the module's own steps."""

import numpy as np
import pytest
import torch
from problems import problem
from torch.nn.functional import cross_entropy

import lyapkit as lk
from lyapkit.learning.gradients import gradient_norms

RESIDUALS = {
    "diagonal": lk.residuals.heterogeneous(6, 0.9, 0.1, 0),
    "rotation": lk.residuals.rotation(6, 0.4, np.linspace(0.7, 1.0, 6)),
}


@pytest.mark.parametrize("kind", ["linear", "A", "B"])
@pytest.mark.parametrize("name", RESIDUALS)
def test_against_autograd(kind, name, agrees):
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
        ratios = ds.gradient_norm[sample].values / expected
        agrees(ratios, np.ones(15), "gradients", within=1e-12)


def test_decay_rate_without_coupling_is_log_r():
    model = lk.WCRNN(1, 6, 3, lk.residuals.rotation(6, 0.4, 0.93), 0.0)
    ds = gradient_norms(model, torch.randn(4, 50, 1), torch.tensor([0, 1, 2, 0]), cross_entropy)
    np.testing.assert_allclose(ds.decay_rate, np.log(0.93), atol=1e-12)


@pytest.mark.parametrize("network", ["linear", "A", "B", "RNN", "GRU", "LSTM", "LSTM, two layers"])
@pytest.mark.parametrize("batch_size", [None, 3])
def test_gradients_are_those_of_the_variational_term(network, batch_size):
    """Eq. 10: a_t = a_T V_{T,t}, with V from the engine's own push of a basis."""
    model, inputs, targets, loss = problem(network, "cross-entropy")
    ds = gradient_norms(model, inputs, targets, loss, batch_size=batch_size)
    n = model.state_size
    for sample in (0, 4):
        state, states = torch.zeros(1, n), []
        with torch.no_grad():
            for time in range(inputs.shape[1]):
                states.append(state)
                state = model.step(state, inputs[sample : sample + 1, time])
        last = state.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(model.read(last), targets[sample : sample + 1]), last)
        for start in (3, 9, 14):
            tangent = torch.eye(n)[None]
            for time in range(start, inputs.shape[1]):
                _, tangent = model.push(states[time], inputs[sample : sample + 1, time], tangent)
            expected = torch.linalg.vector_norm(tangent[0].detach() @ gradient[0])  # rows are V's columns
            assert float(ds.gradient_norm[sample, start - 1]) == pytest.approx(float(expected), rel=1e-11)


def test_predictions_of_a_wcrnn():
    """Eq. 15, by matrix powers; and with the Jacobian averaged over time."""
    model, inputs, targets, loss = problem("A", "cross-entropy")
    ds = gradient_norms(model, inputs, targets, loss)
    _, gains = model.linearized(torch.zeros(len(inputs), 6), inputs)
    residual, weight = model.residual.matrix, model.recurrent.weight.detach()
    for sample in (0, 3):
        last = list(model.states(inputs[sample : sample + 1]))[-1].detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(model.read(last), targets[sample : sample + 1]), last)
        s, g = gains.residual[sample].mean(0).detach(), gains.coupling[sample].mean(0).detach()
        averaged = s[:, None] * residual + g[:, None] * weight
        for time in (1, 8, 15):
            powers = [torch.linalg.matrix_power(matrix, 15 - time) for matrix in (residual, averaged)]
            norms = [float((gradient @ power).norm()) for power in powers]
            got = [float(ds[f"{name}_gradient_norm"][sample, time - 1]) for name in ("predicted", "averaged")]
            np.testing.assert_allclose(got, norms, rtol=1e-11)


def test_vanished_gradient_has_no_decay_rate():
    model = lk.WCRNN(1, 6, 3, lk.residuals.scaled_identity(6, 0.0), 0.0)
    ds = gradient_norms(model, torch.randn(2, 5, 1), torch.tensor([0, 1]), cross_entropy)
    assert np.isnan(ds.decay_rate).all()


def test_targets_must_fit():
    model = lk.WCRNN(1, 6, 3, lk.residuals.scaled_identity(6, 0.9))
    with pytest.raises(ValueError, match="3 targets for 2 samples"):
        gradient_norms(model, torch.randn(2, 5, 1), torch.tensor([0, 1, 2]), cross_entropy)


WEIGHTS = torch.tensor([1.0, 5.0, 0.25]).double()
LABELS, IGNORED = torch.tensor([0, 2, 1, 1, 0]), torch.tensor([0, -100, 1, 1, -100])
S = len(LABELS)
FACTORS = {  # of the norm of the gradient of a sample's own cross-entropy: (loss, targets, factors)
    "mean": (cross_entropy, LABELS, [1.0] * S),
    "sum": (lambda o, t: cross_entropy(o, t, reduction="sum"), LABELS, [float(S)] * S),
    "weights of classes": (
        lambda o, t: cross_entropy(o, t, WEIGHTS),
        LABELS,
        [S * w / (1 + 0.25 + 5 + 5 + 1) for w in (1, 0.25, 5, 5, 1)],
    ),
    "labels that are ignored": (cross_entropy, IGNORED, [5 / 3, 0, 5 / 3, 5 / 3, 0]),
    "by its name": ("cross-entropy", IGNORED, [5 / 3, 0, 5 / 3, 5 / 3, 0]),
}


@pytest.mark.parametrize("batch_size", [None, 2])
@pytest.mark.parametrize("name", FACTORS)
def test_the_share_of_a_sample_in_the_loss(name, batch_size):
    """S ∂L/∂h_t against autograd of each sample's own loss, alone."""
    loss, targets, factors = FACTORS[name]
    torch.manual_seed(0)
    model = lk.WCRNN(2, 6, 3, RESIDUALS["rotation"], 0.4, "A").double()
    inputs = torch.randn(S, 8, 2, dtype=torch.float64)
    ds = gradient_norms(model, inputs, targets, loss, batch_size=batch_size)
    for sample, factor in enumerate(factors):
        states = [torch.zeros(1, 6, dtype=torch.float64)]
        for time in range(8):
            states.append(model.step(states[-1], inputs[sample : sample + 1, time]))
        own = cross_entropy(model.readout(states[-1]), LABELS[sample : sample + 1])
        norms = [float(g.norm()) for g in torch.autograd.grad(own, states[1:])]
        np.testing.assert_allclose(ds.gradient_norm[sample], np.multiply(factor, norms), rtol=1e-12)
        slope = np.polyfit(np.arange(7, -1, -1), np.log(norms), 1)[0] if factor else np.nan
        np.testing.assert_allclose(ds.decay_rate[sample], slope, rtol=1e-9)
    assert ds.gradient_norm.attrs["units"] == "loss per state variable"
    assert gradient_norms(model, inputs, LABELS, cross_entropy).gradient_norm.equals(
        gradient_norms(model, inputs, LABELS, "cross-entropy").gradient_norm
    )
