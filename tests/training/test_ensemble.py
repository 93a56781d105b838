"""Ensembles: gradients against autograd and finite differences, networks that do not notice each other."""

import numpy as np
import pytest
import torch
from torch import nn

import lyapkit as lk
from lyapkit import residuals
from lyapkit.models import ARCHITECTURES, build_network
from lyapkit.tasks import AddingTask
from lyapkit.training import Ensemble
from lyapkit.training.backpropagation import Dynamics, Workspace, last_states

N = 7
RESIDUALS = {
    "diagonal": lambda: [residuals.scaled_identity(N, 0.98), residuals.heterogeneous(N, 0.9, 0.1, 0)],
    "dense": lambda: [residuals.orthogonal(N, 0, 0.95), residuals.orthogonal(N, 1)],
    "mixed": lambda: [residuals.scaled_identity(N, 1.02), residuals.orthogonal(N, 2)],
}


def _losses(outputs, targets):
    return torch.stack([nn.functional.cross_entropy(one, targets) for one in outputs])


def _samples(n_samples=5, n_steps=11, n_inputs=2, n_classes=3):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(n_samples, n_steps, n_inputs, generator=generator)
    return inputs, torch.randint(0, n_classes, (n_samples,), generator=generator)


def _autograd(network, inputs, targets):
    network.zero_grad()
    loss = nn.functional.cross_entropy(network(inputs), targets)
    loss.backward()
    return loss.detach(), {name: parameter.grad for name, parameter in network.named_parameters()}


@pytest.mark.parametrize("kind", ["linear", "A", "B"])
@pytest.mark.parametrize("activation", ["tanh", "identity"])
@pytest.mark.parametrize("residual", RESIDUALS)
def test_gradients_are_autograds(kind, activation, residual):
    couplings = (0.3, np.linspace(-0.2, 0.4, N))
    networks = [
        lk.WCRNN(2, N, 3, own, coupling, kind, activation=activation)
        for own, coupling in zip(RESIDUALS[residual](), couplings, strict=True)
    ]
    inputs, targets = _samples()
    ensemble = Ensemble(networks)
    losses, gradients = ensemble.losses_and_gradients(inputs, targets, _losses)
    for index, network in enumerate(networks):
        loss, expected = _autograd(network, inputs, targets)
        torch.testing.assert_close(losses[index], loss, rtol=0, atol=1e-12)
        for name, gradient in expected.items():
            torch.testing.assert_close(gradients[name][index], gradient, rtol=0, atol=1e-10)
        torch.testing.assert_close(ensemble.outputs(inputs)[index], network(inputs).detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["linear", "A", "B"])
def test_gradients_are_finite_differences(kind):
    """Autograd against autograd would prove nothing: the loss itself, moved along a random direction."""
    network = lk.WCRNN(2, N, 3, residuals.orthogonal(N, 0), 0.3, kind)
    inputs, targets = _samples()
    _, gradients = Ensemble([network]).losses_and_gradients(inputs, targets, _losses)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters():
        direction = torch.randn(parameter.shape, generator=generator)
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * 1e-6 * direction
                values.append(float(nn.functional.cross_entropy(network(inputs), targets)))
                parameter -= sign * 1e-6 * direction
        expected = (values[0] - values[1]) / 2e-6
        assert float((gradients[name][0] * direction).sum()) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture(name):
    networks = [build_network(name, 2, 6, 3, seed=seed) for seed in range(3)]
    inputs, targets = _samples()
    losses, gradients = Ensemble(networks).losses_and_gradients(inputs, targets, _losses)
    for index, network in enumerate(networks):
        loss, expected = _autograd(network, inputs, targets)
        alone, own = Ensemble([network]).losses_and_gradients(inputs, targets, _losses)  # not through `vmap`
        torch.testing.assert_close(torch.stack([losses[index], alone[0]]), loss.repeat(2), rtol=0, atol=1e-12)
        for parameter, gradient in expected.items():
            torch.testing.assert_close(gradients[parameter][index], gradient, rtol=0, atol=1e-10)
            torch.testing.assert_close(own[parameter][0], gradient, rtol=0, atol=1e-10)


def test_some_of_the_networks(monkeypatch):
    networks = [build_network("wcrnn", 2, 6, 3, seed=seed) for seed in range(5)]
    inputs, targets = _samples()
    ensemble = Ensemble(networks)
    losses, gradients = ensemble.losses_and_gradients(inputs, targets, _losses)
    members = torch.tensor([3, 0])
    some = ensemble.losses_and_gradients(inputs, targets, _losses, members)
    torch.testing.assert_close(some[0], losses[members], rtol=0, atol=1e-14)
    for name, gradient in gradients.items():
        torch.testing.assert_close(some[1][name], gradient[members], rtol=0, atol=1e-14)
    torch.testing.assert_close(ensemble.outputs(inputs, members), ensemble.outputs(inputs)[members])
    monkeypatch.setattr("lyapkit.training.ensemble.WORKSPACE_ON_CPU", 1)  # one network after the other
    in_turns = ensemble.losses_and_gradients(inputs, targets, _losses)
    for name, gradient in gradients.items():
        torch.testing.assert_close(in_turns[1][name], gradient, rtol=0, atol=1e-14)


def test_networks_come_back_as_they_went_in():
    networks = [lk.WCRNN(2, N, 3, residuals.orthogonal(N, seed), 0.1 * seed) for seed in range(3)]
    ensemble = Ensemble(networks)
    for index, network in enumerate(networks):
        state, again = network.state_dict(), ensemble.network(index).state_dict()
        assert state.keys() == again.keys()
        assert all(torch.equal(state[name], again[name]) for name in state)


def test_a_workspace_is_not_used_twice_before_backward():
    parameters = (torch.randn(1, 4, 4), torch.randn(1, 4, 2), torch.randn(1, 4))
    parameters = tuple(parameter.requires_grad_() for parameter in parameters)
    dynamics = Dynamics("linear", "tanh", torch.full((1, 4), 0.9), torch.full((1, 4), 0.1))
    workspace, inputs = Workspace(), torch.randn(3, 5, 2)
    first = last_states(parameters, dynamics, inputs, workspace)
    last_states(parameters, dynamics, inputs, workspace).sum().backward()
    with pytest.raises(RuntimeError, match="its workspace was used again before backward"):
        first.sum().backward()


@pytest.mark.parametrize(
    "others",
    [
        lambda: [],
        lambda: [build_network("wcrnn", 2, 6, 3), build_network("wcrnn", 2, 7, 3)],
        lambda: [build_network("wcrnn", 2, 6, 3), build_network("wcrnn-a", 2, 6, 3)],
        lambda: [build_network("wcrnn", 2, 6, 3), build_network("lstm", 2, 6, 3)],
    ],
)
def test_what_is_no_ensemble_is_refused(others):
    with pytest.raises(ValueError, match=r"of an ensemble must be of one architecture|at least one network"):
        Ensemble(others())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", ["linear", "A", "B"])
def test_gradients_on_a_gpu(kind):
    networks = [lk.WCRNN(2, N, 1, residuals.orthogonal(N, seed), 0.3, kind) for seed in range(4)]
    task = AddingTask(20)
    inputs, targets = (torch.from_numpy(array) for array in task.batch(0, 16))
    here = Ensemble(networks).losses_and_gradients(inputs, targets, task.loss)
    there = Ensemble(networks, device="cuda").losses_and_gradients(inputs.cuda(), targets.cuda(), task.loss)
    torch.testing.assert_close(there[0].cpu(), here[0], rtol=0, atol=1e-12)
    for name, gradient in here[1].items():
        torch.testing.assert_close(there[1][name].cpu(), gradient, rtol=0, atol=1e-10)
