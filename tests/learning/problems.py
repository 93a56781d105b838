"""Small networks, losses and data on which derivatives can be checked by brute force."""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import lyapkit as lk

N_UNITS, N_STEPS, N_SAMPLES = 6, 15, 7
RESIDUALS = {
    "diagonal": lambda: lk.residuals.heterogeneous(N_UNITS, 0.9, 0.1, 0),
    "rotation": lambda: lk.residuals.rotation(N_UNITS, 0.4, np.linspace(0.7, 1.0, N_UNITS)),
}


def _wcrnn(n_outputs, kind, residual, activation="tanh"):
    return lk.WCRNN(2, N_UNITS, n_outputs, RESIDUALS[residual](), 0.4, kind, activation=activation)


def _torch(n_outputs, recurrent, size=N_UNITS):
    return lk.RecurrentNetwork(recurrent, nn.Linear(size, n_outputs))


NETWORKS = {
    "linear": lambda o: _wcrnn(o, "linear", "rotation"),
    "linear, diagonal": lambda o: _wcrnn(o, "linear", "diagonal"),
    "linear, identity activation": lambda o: _wcrnn(o, "linear", "diagonal", "identity"),
    "A": lambda o: _wcrnn(o, "A", "rotation"),
    "B": lambda o: _wcrnn(o, "B", "rotation"),
    "B, diagonal": lambda o: _wcrnn(o, "B", "diagonal"),
    "RNN": lambda o: _torch(o, nn.RNN(2, N_UNITS)),
    "GRU": lambda o: _torch(o, nn.GRU(2, N_UNITS)),
    "LSTM": lambda o: _torch(o, nn.LSTM(2, N_UNITS)),
    "LSTM, two layers": lambda o: _torch(o, nn.LSTM(2, 4, num_layers=2, proj_size=3), 3),
}


def rms(outputs, targets):
    """Root mean square error: a loss that couples samples."""
    return ((outputs - targets) ** 2).mean().sqrt()


LOSSES = {"cross-entropy": cross_entropy, "RMS": rms}


def problem(network, loss):
    """Return a network, inputs, targets and a loss, seeded."""
    torch.manual_seed(3)
    model = NETWORKS[network](3 if loss == "cross-entropy" else 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)  # away from the flat region near 0
    inputs = torch.randn(N_SAMPLES, N_STEPS, 2)
    targets = torch.randint(3, (N_SAMPLES,)) if loss == "cross-entropy" else torch.randn(N_SAMPLES, 1)
    return model, inputs, targets, LOSSES[loss]


def loss_of(model, inputs, targets, loss, names):
    """Return a function from a flat vector of the named parameters to the loss, by the model's own `step`."""
    shapes = {name: model.get_parameter(name).shape for name in names}

    def function(vector):
        parts = vector.split([shape.numel() for shape in shapes.values()])
        parameters = {n: p.view(s) for (n, s), p in zip(shapes.items(), parts, strict=True)}
        return loss(torch.func.functional_call(model, parameters, (inputs,)), targets)

    return function, torch.cat([model.get_parameter(name).detach().reshape(-1) for name in names])
