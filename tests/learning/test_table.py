"""Gradients, Hessian, GGN and modulation of every architecture, reading, loss and batching against dense autograd.

The reference knows nothing of lyapkit's derivatives: it unrolls `step` and `read`, with weights of its own in each
layer, and differentiates that. 14 architectures × 4 readings × 4 losses × 2 batchings, to 1e-8 of the largest.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, hessian, jacrev
from torch.nn.functional import cross_entropy, mse_loss

import lyapkit as lk
from lyapkit.learning.jacobians import output_jacobians
from lyapkit.learning.objective import Objective
from lyapkit.learning.products import ggn_product, hessian_product

N, T, S, O = 3, 3, 4, 2  # noqa: E741
LENGTHS = torch.tensor([3, 2, 3, 1])
ACCURACY = 1e-8


class LayerNormCell(lk.Network):
    """A user's network, of which nothing is known by hand."""

    description = property(lambda self: {"system": "layer norm cell"})
    recurrent_parameters, readout_parameters = ("W.weight",), ("C.weight",)

    def __init__(self):
        super().__init__()
        self.input_size, self.state_size = 2, N
        self.W, self.U, self.C = nn.Linear(N, N), nn.Linear(2, N), nn.Linear(N, O, bias=False)
        self.norm = nn.LayerNorm(N)

    def step(self, state, input):
        return state + torch.tanh(self.norm(self.W(state) + self.U(input)))

    def read(self, state):
        return self.C(state)


def _wcrnn(kind, rotates, activation="tanh"):
    residual = lk.residuals.heterogeneous(N, 0.9, 0.1, 0)
    if rotates:
        residual = lk.residuals.orthogonal(N, 0, 0.9)
    return lk.WCRNN(2, N, O, residual, 0.5, kind, activation=activation)


ARCHITECTURES = {
    "WCRNN, rotation": lambda: _wcrnn("linear", True),
    "WCRNN, diagonal": lambda: _wcrnn("linear", False),
    "WCRNN, identity activation": lambda: _wcrnn("linear", True, "identity"),
    "WCRNN, type A": lambda: _wcrnn("A", True),
    "WCRNN, type B": lambda: _wcrnn("B", False),
    "Elman, identity residual": lambda: lk.build_network("elman-residual", 2, N, O, seed=0),
    "UR-LSTM": lambda: lk.build_network("ur-lstm", 2, N, O, seed=0),
    "S4": lambda: lk.S4(2, N, O, order=2),
    "RNN": lambda: lk.RecurrentNetwork(nn.RNN(2, N), nn.Linear(N, O)),
    "relu RNN": lambda: lk.RecurrentNetwork(nn.RNN(2, N, nonlinearity="relu"), nn.Linear(N, O)),
    "GRU, two layers": lambda: lk.RecurrentNetwork(nn.GRU(2, N, num_layers=2, dropout=0.5), nn.Linear(N, O)),
    "LSTM, projected": lambda: lk.RecurrentNetwork(nn.LSTM(2, N, proj_size=2), nn.Linear(2, O)),
    "LSTM cell, deep readout": lambda: lk.RecurrentNetwork(
        nn.LSTMCell(2, N),
        nn.Sequential(nn.BatchNorm1d(N), nn.Dropout(0.5), nn.Linear(N, N), nn.Tanh(), nn.Linear(N, O)),
    ),
    "layer norm": LayerNormCell,
}
CURVED = ("S4", "LSTM cell, deep readout")  # readouts
READINGS = {  # at every step or the last one; with lengths or without
    "last step": (False, None),
    "every step": (True, None),
    "own last step": (False, LENGTHS),
    "own steps": (True, LENGTHS),
}
WEIGHTS = torch.tensor([0.3, 2.0]).double()
LOSSES = {  # of rows of outputs and targets
    "cross-entropy": cross_entropy,
    "weighted": lambda o, t: cross_entropy(o, t, weight=WEIGHTS),
    "mse": lambda o, t: mse_loss(o, nn.functional.one_hot(t.clamp(min=0), O).to(o)),
    "sum": lambda o, t: cross_entropy(o, t, reduction="sum"),
}


class Layers(nn.Module):
    """Outputs and states of a network, with weights w + sizes_t v in layer t; and single steps."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, mode, *arguments):
        return self.network.step(*arguments) if mode == "step" else self.network.read(*arguments)


class Dense:
    """What a network's derivatives are, all of them dense."""

    def __init__(self, network, inputs, every_step, lengths):
        self.layers, self.inputs, self.every_step, self.lengths = Layers(network), inputs, every_step, lengths
        self.names = list(network.recurrent_parameters)
        self.own = {name: network.get_parameter(name).detach() for name in self.names}
        self.w = torch.cat([value.reshape(-1) for value in self.own.values()])

    def call(self, w, mode, *arguments):
        parts = w.split([value.numel() for value in self.own.values()])
        pairs = zip(self.own.items(), parts, strict=True)
        return functional_call(self.layers, {f"network.{n}": p.view_as(v) for (n, v), p in pairs}, (mode, *arguments))

    def states(self, ws, seeds=None):
        state, states = torch.zeros(S, self.layers.network.state_size, dtype=torch.float64), []
        for time in range(T):
            state = self.call(ws[time], "step", state, self.inputs[:, time])
            if seeds is not None:
                state = state + seeds[time]
            states.append(state)
        return torch.stack(states)

    def outputs(self, ws, seeds=None):
        """Return rows of outputs that count."""
        outputs = torch.stack([self.call(self.w, "read", state) for state in self.states(ws, seeds)], dim=1)
        ends = torch.full((S,), T) if self.lengths is None else self.lengths
        if self.every_step:
            return torch.cat([outputs[sample, :end] for sample, end in enumerate(ends.tolist())])
        return outputs[torch.arange(S), ends - 1]


def _problem(name):
    torch.manual_seed(1)
    network = ARCHITECTURES[name]().double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
    return network, torch.randn(S, T, 2).double()


def _rows(every_step, lengths, labels):
    """Return the labels that count, and a loss's function of all outputs that leaves the others out."""
    if not every_step:
        return labels, lambda loss: loss
    counts = torch.arange(T) < (torch.full((S,), T) if lengths is None else lengths)[:, None]
    return labels[counts], lambda loss: lambda o, t: loss(o[counts], t[counts])


def _close(own, expected):
    own = own.detach() if isinstance(own, torch.Tensor) else torch.as_tensor(np.asarray(own))
    expected = expected.detach()
    difference, scale = float((own - expected).abs().max()), float(expected.abs().max())
    assert difference <= ACCURACY * scale + 1e-13
    return difference / max(scale, 1e-5)  # zeros have no relative difference


QUICK = ("WCRNN, rotation", "WCRNN, type A", "WCRNN, type B", "S4", "LSTM cell, deep readout", "layer norm")
ROWS = [
    pytest.param(name, reading, marks=() if name in QUICK and reading != "own last step" else pytest.mark.slow)
    for name in ARCHITECTURES
    for reading in READINGS
]


@pytest.mark.parametrize(("name", "reading"), ROWS)
def test_against_dense(name, reading, agrees):
    network, inputs = _problem(name)
    every_step, lengths = READINGS[reading]
    dense = Dense(network, inputs, every_step, lengths)
    labels = torch.tensor([[0, 1, 1], [1, 1, 0], [0, 0, 1], [1, 0, 1]])
    labels = labels if every_step else labels[:, 0]
    counted, masked = _rows(every_step, lengths, labels)
    outputs = dense.outputs(dense.w.expand(T, -1)).detach()
    jacobian = jacrev(lambda w: dense.outputs(w.expand(T, -1)))(dense.w).flatten(0, 1)
    vector = torch.nn.functional.normalize(torch.randn(len(dense.w)).double(), dim=0)
    network.every_step = every_step
    found = {of: [] for of in ("Hessian products", "Gauss–Newton products", "gradient norms", "modulation")}
    for loss_name, loss in LOSSES.items():
        of_outputs = hessian(lambda o, loss=loss: loss(o, counted))(outputs).reshape(outputs.numel(), -1)
        ggn = jacobian.mT @ of_outputs @ jacobian
        whole = hessian(lambda w, loss=loss: loss(dense.outputs(w.expand(T, -1)), counted))(dense.w)
        zeros = torch.zeros(T, S, network.state_size).double()
        gradients = grad(lambda s, loss=loss: loss(dense.outputs(dense.w.expand(T, -1), s), counted))(zeros)
        for batch_size in (None, 3):
            given = network, inputs, labels, masked(loss)
            options = {"lengths": lengths, "batch_size": batch_size}
            objective = Objective(*given, **options)
            found["Hessian products"].append(_close(hessian_product(objective, vector), whole @ vector))
            found["Gauss–Newton products"].append(_close(ggn_product(objective, vector), ggn @ vector))
            norms = np.nan_to_num(lk.gradient_norms(*given, **options).gradient_norm)
            found["gradient norms"].append(_close(norms, S * gradients.norm(dim=2).mT))
            ds = lk.learning_rate_modulation(*given, direction=vector, **options)
            _close(ds.directional_curvature, (vector @ whole @ vector)[None])
            if loss_name == "weighted":
                layers = _single_layers(dense, ds, vector, of_outputs, gradients, name)
                found["modulation"].append(_close(*layers))
    for what, differences in found.items():
        agrees(differences, np.zeros(len(differences)), what, within=ACCURACY)
    if lengths is None:
        own = torch.cat([part.flatten(0, 1) for _, part in output_jacobians(objective)])
        _close(own, jacobian)


def _single_layers(dense, ds, vector, of_outputs, gradients, name):
    """Return own and expected contributions of single layers, from the definitions: the curvature's, and the GGN's."""

    def layered(sizes):
        return dense.w + sizes[:, None] * vector

    per_layer = jacrev(lambda sizes: dense.outputs(layered(sizes)))(torch.zeros(T).double()).flatten(0, 1)
    gauss_newton = per_layer.mT @ of_outputs @ per_layer.sum(1)
    states = dense.states(dense.w.expand(T, -1))
    moved = jacrev(lambda sizes: dense.states(layered(sizes)))(torch.zeros(T).double()).sum(-1)
    curvature = []
    for time in range(T):
        before = states[time - 1] if time else torch.zeros_like(states[0])
        along = moved[time - 1] if time else torch.zeros_like(states[0])

        def step(size, before=before, along=along, time=time):
            state = dense.call(dense.w + size * vector, "step", before + size * along, dense.inputs[:, time])
            return (state * gradients[time]).sum()

        curvature.append(hessian(step)(torch.zeros(()).double()))
    own = [torch.as_tensor(ds.curvature_part.values[0])]
    expected = [torch.stack(curvature)]
    if name not in CURVED:  # there the readout's own curvature is in this part
        own.append(torch.as_tensor(ds.ggn_part.values[0]))
        expected.append(gauss_newton)
    return torch.cat(own), torch.cat(expected)
