"""Losses that pair each output with every target: found at whatever operation does it, and no others."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, kl_div, logsigmoid, mse_loss, nll_loss, one_hot, smooth_l1_loss, softplus

import lyapkit as lk
from lyapkit.losses import checked_loss

TARGETS = torch.tensor([0.0, 1, 1, 0, 1, 0, 0, 1]).double()
COLUMN, CLASSES = TARGETS[:, None], TARGETS.long()


def _outputs(*shape):
    torch.manual_seed(0)
    return torch.randn(8, *shape, dtype=torch.float64).requires_grad_()


class Product(torch.autograd.Function):
    """A function with a derivative of its own."""

    @staticmethod
    def forward(ctx, outputs, targets):
        ctx.save_for_backward(targets)
        return outputs.detach() * targets

    @staticmethod
    def backward(ctx, gradient):
        return gradient.sum(1, keepdim=True), None


def logistic(outputs, targets):
    return (targets * softplus(-outputs) + (1 - targets) * softplus(outputs)).mean()


MISTAKEN = {  # of outputs (8, 1) and targets (8,)
    "logistic": logistic,
    "sum": lambda o, t: (softplus(o) - t * o).sum(),
    "chosen": lambda o, t: torch.where(t > 0, softplus(-o), softplus(o)).mean(),
    "method": lambda o, t: o.sigmoid().add(-t).square().mean(),
    "operator with a number": lambda o, t: (1 + t - o).square().mean(),
    "two arguments": lambda o, t: torch.hypot(o, 1 + t).mean(),
    "three arguments": lambda o, t: torch.lerp(o, 2 * t, 0.5).square().mean(),
    "loss of PyTorch, of what is made of them": lambda o, t: mse_loss(o.sigmoid(), t.sqrt()),
    "smooth loss of PyTorch": lambda o, t: smooth_l1_loss(o.tanh(), 2 * t - 1),
    "loss of PyTorch that is a composition": lambda o, t: kl_div(logsigmoid(o), t, reduction="sum"),
    "views": lambda o, t: (o.flatten().view(8, 1) * t.flip(0).flip(0)).square().mean(),
    "focal": lambda o, t: ((1 - o.sigmoid() * t[:, None]) ** 2 * (softplus(-o).squeeze(1) * t)).mean(),
    "a function with its own derivative": lambda o, t: Product.apply(o, t).square().mean(),
    "weights": lambda o, t: (torch.arange(8.0) * (o - t[:, None]) ** 2).mean(),
    "divided by weights": lambda o, t: (softplus(-o * t[:, None]) / torch.arange(1.0, 9.0)).mean(),
}


@pytest.mark.parametrize("name", MISTAKEN)
def test_outputs_that_meet_the_targets_of_other_samples_are_refused(name):
    with pytest.raises(ValueError, match=r"\(8, 1\).* \(8,\).* broadcast to \(8, 8\).*(squeeze|shape of the outputs)"):
        checked_loss(MISTAKEN[name], _outputs(1), TARGETS)


def test_it_is_refused_wherever_a_loss_is_given(tmp_path):
    """Also with targets that are all the same, of which no permutation would be seen."""
    network = lk.RecurrentNetwork(nn.RNN(2, 4), nn.Linear(4, 1))
    inputs = np.random.default_rng(0).standard_normal((8, 5, 2))
    for analysis in (lk.hessian_eigenvalues, lk.ggn_eigenvalues, lk.gradient_norms):
        with pytest.raises(ValueError, match=r"broadcast to \(8, 8\)"):
            analysis(network, inputs, np.zeros(8), logistic)
    targets = np.zeros((8, 1), np.float32)
    for n_test in (1, 8):
        task = lk.ArrayTask(inputs, targets, inputs[:n_test], targets[:n_test])
        with pytest.raises(ValueError, match=r"made of the targets.* broadcast"):
            lk.train([network], task, 1, batch_size=2, loss=lambda o, t: logistic(o, t[:, 0]))


def _softmax(outputs, classes):
    chosen = one_hot(classes, outputs.shape[-1])
    return -(chosen * outputs.log_softmax(-1)).sum(-1).mean()


def _by_hand(outputs, targets):
    return sum(float(softplus(-o if t else o)) for o, t in zip(outputs.flatten(), targets.flatten(), strict=True)) / 8


MEANT = {  # name: (loss, shape of an output, targets)
    "squeezed": (lambda o, t: logistic(o.squeeze(-1), t), (1,), TARGETS),
    "columns": (logistic, (1,), COLUMN),
    "cross-entropy": (cross_entropy, (8,), CLASSES),
    "one-hot, as many classes as samples": (_softmax, (8,), CLASSES),
    "classes compared with a range": (
        lambda o, t: (o * (t[:, None] == torch.arange(3))).square().mean(),
        (3,),
        CLASSES,
    ),
    "weights of classes": (lambda o, t: (o * torch.arange(3.0) * t[:, None]).square().mean(), (3,), TARGETS),
    "targets of a sample for all its outputs": (lambda o, t: (o.tanh() * (t + 1)).square().mean(), (3,), COLUMN),
    "chosen by index": (lambda o, t: -o.log_softmax(-1)[torch.arange(8), t].mean(), (3,), CLASSES),
    "negative log-likelihood": (lambda o, t: nll_loss(o.log_softmax(-1), t), (3,), CLASSES),
    "gathered": (lambda o, t: -o.log_softmax(-1).gather(1, t[:, None]).mean(), (3,), CLASSES),
    "means of classes": (lambda o, t: torch.zeros(2, 3).double().index_add(0, t, o).square().sum(), (3,), CLASSES),
    "all pairs by a product": (lambda o, t: cross_entropy(o @ (o * t).T, torch.arange(8)), (3,), COLUMN),
    "all pairs, expanded": (lambda o, t: (o.expand(8, 8) - t.expand(8, 8)).abs().mean(), (1,), TARGETS),
    "pairs of outputs": (lambda o, t: softplus(o - o.mT).mean() + (o - t).square().mean(), (1,), COLUMN),
    "weights of samples": (lambda o, t: (torch.arange(8.0)[:, None] * (o - t) ** 2).mean(), (1,), COLUMN),
    "every step": (lambda o, t: logistic(o, t[:, None, None]), (6, 1), TARGETS),
    "each sample by vmap": (lambda o, t: torch.vmap(lambda p, q: logistic(p[0], q))(o, t).mean(), (1,), TARGETS),
}


@pytest.mark.parametrize("name", MEANT)
def test_what_pairs_each_sample_with_its_own_target_is_left_as_it_is(name):
    loss, shape, targets = MEANT[name]
    outputs = _outputs(*shape)
    value = checked_loss(loss, outputs, targets)
    assert torch.equal(value, loss(outputs, targets))
    (gradient,) = torch.autograd.grad(value, outputs)
    assert torch.equal(gradient, torch.autograd.grad(loss(outputs, targets), outputs)[0])


def test_the_remedy_gives_the_loss_of_pairs():
    outputs = _outputs(1)
    value = checked_loss(lambda o, t: logistic(o.squeeze(-1), t), outputs, TARGETS)
    assert float(value.detach()) == pytest.approx(_by_hand(outputs.detach(), TARGETS), rel=1e-14)
    assert not math.isclose(float(logistic(outputs.detach(), TARGETS)), float(value.detach()), rel_tol=1e-3)


def test_one_sample_is_paired_with_itself():
    outputs = _outputs(1)[:1]
    value = checked_loss(logistic, outputs, TARGETS[:1])
    assert float(value.detach()) == pytest.approx(float(softplus(outputs.detach())), rel=1e-14)
