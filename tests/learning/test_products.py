"""Hessian and GGN against dense matrices from autograd, on the network's own `step`, and against finite differences."""

import pytest
import torch
from problems import LOSSES, NETWORKS, loss_of, problem

from lyapkit.learning.jacobians import output_jacobians
from lyapkit.learning.objective import Objective
from lyapkit.learning.products import ggn_product, hessian_product

BLOCKS = ["recurrent", "all"]


def _matrices(network, loss, parameters):
    """Return the objective, and Hessian, GGN and outputs' Jacobian by brute force."""
    model, inputs, targets, function = problem(network, loss)
    objective = Objective(model, inputs, targets, function, parameters=parameters)
    of_vector, vector = loss_of(model, inputs, targets, function, list(objective.block))
    hessian = torch.autograd.functional.hessian(of_vector, vector, vectorize=True)

    def outputs(vector):
        return torch.func.functional_call(model, objective.split(vector), (inputs,)).reshape(-1)

    jacobian = torch.autograd.functional.jacobian(outputs, vector, vectorize=True)
    flat = objective.outputs.reshape(-1)
    of_outputs = torch.autograd.functional.hessian(lambda o: function(o.view_as(objective.outputs), targets), flat)
    return objective, hessian, jacobian.mT @ of_outputs @ jacobian, jacobian


@pytest.mark.parametrize("parameters", BLOCKS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("network", NETWORKS)
def test_against_dense_matrices(network, loss, parameters):
    objective, hessian, ggn, jacobian = _matrices(network, loss, parameters)
    assert (hessian - ggn).abs().max() > 0.01 * hessian.abs().max()  # else one could stand for the other
    vectors = torch.randn(3, objective.size)
    for vector in vectors:
        torch.testing.assert_close(hessian_product(objective, vector), hessian @ vector, atol=1e-11, rtol=1e-10)
        torch.testing.assert_close(ggn_product(objective, vector), ggn @ vector, atol=1e-11, rtol=1e-10)
    own = torch.cat([part.flatten(0, 1) for _, part in output_jacobians(objective)])
    torch.testing.assert_close(own, jacobian, atol=1e-11, rtol=1e-10)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("network", ["linear", "A", "B", "LSTM"])
def test_micro_batches_change_nothing(network, loss):
    """Ragged ones too; RMS couples the samples of different micro-batches."""
    model, inputs, targets, function = problem(network, loss)
    whole = Objective(model, inputs, targets, function, parameters="all")
    vector = torch.randn(whole.size)
    for batch_size in (1, 2, 3, 5, 7, 100):
        split = Objective(model, inputs, targets, function, parameters="all", batch_size=batch_size)
        for product in (hessian_product, ggn_product):
            torch.testing.assert_close(product(split, vector), product(whole, vector), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("network", ["linear", "A", "B", "RNN", "GRU", "LSTM"])
def test_against_finite_differences(network):
    """Of the gradient: no second derivative of anyone's is trusted here."""
    model, inputs, targets, function = problem(network, "RMS")
    objective = Objective(model, inputs, targets, function, parameters="all")
    of_vector, vector = loss_of(model, inputs, targets, function, list(objective.block))
    direction = torch.randn(objective.size)

    def gradient(at):
        at = at.clone().requires_grad_()
        return torch.autograd.grad(of_vector(at), at)[0]

    h = 1e-5
    expected = (gradient(vector + h * direction) - gradient(vector - h * direction)) / (2 * h)
    torch.testing.assert_close(hessian_product(objective, direction), expected, atol=1e-7, rtol=1e-6)


def test_sums_and_means_of_losses():
    """A loss summed over samples has the Hessian of the mean, times their number."""
    model, inputs, targets, function = problem("linear", "cross-entropy")
    mean = Objective(model, inputs, targets, function, batch_size=2)
    total = Objective(model, inputs, targets, lambda o, t: function(o, t, reduction="sum"), batch_size=2)
    vector = torch.randn(mean.size)
    torch.testing.assert_close(hessian_product(total, vector), len(inputs) * hessian_product(mean, vector))


def test_block_by_names():
    model, inputs, targets, function = problem("linear", "cross-entropy")
    whole = Objective(model, inputs, targets, function, parameters="all")
    names = ["readout.weight", "input.weight"]
    block = Objective(model, inputs, targets, function, parameters=names)
    vector = torch.randn(block.size)
    embedded = {name: torch.zeros_like(parameter) for name, parameter in whole.block.items()} | block.split(vector)
    expected = whole.split(hessian_product(whole, whole.flat(embedded)))
    torch.testing.assert_close(hessian_product(block, vector), torch.cat([expected[n].reshape(-1) for n in names]))


def test_float32_is_close():
    model, inputs, targets, function = problem("linear", "cross-entropy")
    exact = Objective(model, inputs, targets, function)
    single = Objective(model, inputs, targets, function, dtype=torch.float32)
    vector = torch.randn(exact.size)
    product = hessian_product(single, vector.float())
    assert product.dtype == torch.float32
    torch.testing.assert_close(product.double(), hessian_product(exact, vector), atol=1e-3, rtol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("network", NETWORKS)
def test_on_a_gpu(network):
    model, inputs, targets, function = problem(network, "cross-entropy")
    there = Objective(model, inputs, targets, function, parameters="all", device="cuda")
    here = Objective(model, inputs, targets, function, parameters="all")
    vector = torch.randn(here.size)
    for product in (hessian_product, ggn_product):
        torch.testing.assert_close(product(there, vector.cuda()).cpu(), product(here, vector), atol=1e-9, rtol=1e-9)
