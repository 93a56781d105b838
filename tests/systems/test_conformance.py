"""Every system and every adapter keeps the promises of `System`."""

import numpy as np
import pytest
import torch
from torch import nn

import lyapkit as lk
from lyapkit.systems.classical import CoupledMapLattice, RandomNetwork
from lyapkit.testing import check_system

A = np.array([[0.9, 0.3, 0.0], [-0.2, 0.7, 0.4], [0.1, 0.0, -0.5]])
START = [0.1, -0.2, 0.3]


def _torch_tanh(state):
    return torch.tanh(torch.as_tensor(A, dtype=state.dtype) @ state)


def _torch_tanh_driven(state, input):
    return _torch_tanh(state) + 0.1 * input.sum()


def _torch_tanh_batched(state):
    return torch.tanh(state @ torch.as_tensor(A, dtype=state.dtype).mT)


def _numpy_tanh(state):
    return np.tanh(A @ state)


def _numpy_tanh_jacobian(state):
    return (1 - np.tanh(A @ state) ** 2)[:, None] * A


def _numpy_tanh_batched(state):
    return np.tanh(state @ A.T)


def _numpy_tanh_batched_jacobian(state):
    return (1 - np.tanh(state @ A.T) ** 2)[:, :, None] * A


def _numpy_driven(state, input):
    return np.tanh(A @ state) + input.sum()


def _numpy_driven_jacobian(state, input):
    return _numpy_tanh_jacobian(state)


def _torch_field(state):
    return torch.stack([state[1], -torch.sin(state[0]) - 0.2 * state[1]])


def _torch_driven_field(time, state):
    return torch.stack([state[1], -torch.sin(state[0]) - 0.2 * state[1] + torch.cos(0.7 * time)])


def _torch_branches(state):
    return _torch_tanh(state) if state[0] < 0.5 else 0.9 * _torch_tanh(state)


def _torch_in_place(state):
    new = torch.zeros(3)
    new[:2] = torch.sin(state[1:])
    new[2] = 0.3 * state[0]
    return new


def _complex(state):
    return 0.3 * state**2 + 0.2j * torch.conj(state) + 0.1


class OwnCell(nn.Module):
    """A cell of a user's own, with a dropout that must be off."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size = input_size
        self.into = nn.Linear(input_size, hidden_size)
        self.over = nn.Linear(hidden_size, hidden_size)
        self.dropout = nn.Dropout(0.5)

    def forward(self, input, state):
        return 0.9 * state + 0.1 * self.dropout(torch.tanh(self.into(input) + self.over(state)))


class OwnTupleCell(nn.Module):
    """A cell with two state tensors."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 3))

    def forward(self, input, state):
        fast, slow = state
        fast = torch.tanh(slow @ self.weight + input)
        return fast, 0.95 * slow + 0.05 * fast @ self.weight.mT


def _systems():
    for name in lk.classical.__all__:
        if name.islower():
            options = {"tent": {"mu": 1.9}, "mackey_glass": {"n": 8}, "lorenz96": {"n": 5}}.get(name, {})
            yield name, getattr(lk.classical, name)(**options)
    yield "lattice", CoupledMapLattice(7, 0.2)
    yield "network", RandomNetwork(11, 1.5)
    yield "map torch", lk.Map(_torch_tanh, 3, initial_state=START)
    yield "map torch batched", lk.Map(_torch_tanh_batched, 3, batched=True, initial_state=START)
    yield "map torch driven", lk.Map(_torch_tanh_driven, 3, input_size=2, initial_state=START)
    yield "map numpy", lk.Map(_numpy_tanh, 3, _numpy_tanh_jacobian, initial_state=START)
    yield (
        "map numpy batched",
        lk.Map(_numpy_tanh_batched, 3, _numpy_tanh_batched_jacobian, batched=True, initial_state=START),
    )
    yield "map numpy driven", lk.Map(_numpy_driven, 3, _numpy_driven_jacobian, input_size=2, initial_state=START)
    yield "map torch step, numpy jacobian", lk.Map(_torch_tanh, 3, _numpy_tanh_jacobian, initial_state=START)
    yield "flow", lk.Flow(_torch_field, 2, 0.05, initial_state=[1.0, 0.0])
    yield "flow with a chosen step", lk.Flow(_torch_field, 2, initial_state=[1.0, 0.0])
    yield "flow with time", lk.Flow(_torch_driven_field, 2, 0.05, initial_state=[1.0, 0.0], time_dependent=True)
    yield "flow with time, chosen step", lk.Flow(_torch_driven_field, 2, initial_state=[1.0, 0.0], time_dependent=True)
    yield "map, python if", lk.Map(_torch_branches, 3, initial_state=START)
    yield "map, in place", lk.Map(_torch_in_place, 3, initial_state=START)
    yield "map of a float32 module", lk.Map(nn.Linear(3, 3).float(), 3, initial_state=START)
    yield "complex map", lk.Map(_complex, 2, initial_state=[0.1, -0.2, 0.3, 0.1]).split_into_real_parts()
    for layers in (1, 2, 3):
        for bias in (True, False):
            for kind in (nn.RNN, nn.GRU, nn.LSTM):
                yield f"{kind.__name__} {layers} {bias}", lk.from_module(kind(3, 6, layers, bias=bias, dropout=0.0))
    yield "relu", lk.from_module(nn.RNN(3, 6, 2, nonlinearity="relu"))
    yield "projected", lk.from_module(nn.LSTM(3, 6, 2, proj_size=4))
    yield "projected, no bias", lk.from_module(nn.LSTM(3, 6, 1, proj_size=2, bias=False))
    yield "wide", lk.from_module(nn.LSTM(3, 40, 2))  # so large that few perturbations go through shared weights
    yield "wide gru", lk.from_module(nn.GRU(3, 40, 2))
    for kind in (nn.RNNCell, nn.GRUCell, nn.LSTMCell):
        yield kind.__name__, lk.from_module(kind(3, 6))
    yield "relu cell", lk.from_module(nn.RNNCell(3, 6, nonlinearity="relu"))
    yield "own cell", lk.from_module(OwnCell(3, 6), state_size=6)
    for name, residual in {
        "scaled identity": lk.residuals.scaled_identity(7, 0.98),
        "rotation": lk.residuals.rotation(7, [0.1, 0.2, 0.7], 0.9, unpaired=-1),
        "heterogeneous": lk.residuals.heterogeneous(7, 0.9, 0.1, 0),
        "rotation and radii": lk.residuals.rotation(8, 0.3, np.linspace(0.5, 1.0, 8)),
        "orthogonal": lk.residuals.orthogonal(8, 0),
        "not normal": np.triu(np.full((8, 8), 0.3)),
    }.items():
        n = len(residual) if isinstance(residual, np.ndarray) else residual.size
        for kind in ("linear", "A", "B"):
            for activation in ("tanh", "identity"):
                for coupling in (0.3, np.linspace(-0.1, 0.5, n)):
                    wcrnn = lk.WCRNN(3, n, 2, residual, coupling, kind, activation=activation)
                    yield f"WCRNN {name} {kind} {activation} {np.ndim(coupling)}", wcrnn
    yield "Elman with identity residual", lk.elman_with_identity_residual(3, 6, 2)
    yield "own tuple cell", lk.from_module(OwnTupleCell(), state_size=(3, 5), input_size=3)


torch.manual_seed(1)
SYSTEMS = dict(_systems())


@pytest.mark.parametrize("name", SYSTEMS)
def test_conforms(name):
    check_system(SYSTEMS[name])


class Wrong(lk.System):
    """A system with the mistake that its argument names."""

    state_size = 3

    def __init__(self, mistake):
        self.mistake = mistake
        self.matrix = torch.tensor(A)

    def initial_state(self, n_trajectories, generator):
        return torch.rand(n_trajectories, 3, generator=generator)

    def step(self, state, input):
        return torch.tanh(state @ self.matrix.to(state).mT)

    def push(self, state, input, tangent):
        new = self.step(state, input)
        gain = 1 - new**2
        matrix = self.matrix.to(state)
        if self.mistake == "transposed":
            return new, tangent @ matrix * gain[:, None]
        if self.mistake == "gain of another trajectory":
            return new, tangent @ matrix.mT * gain[:1, None]
        if self.mistake == "sign":
            return new, -(tangent @ matrix.mT * gain[:, None])
        if self.mistake == "in place":
            return new, tangent.copy_(tangent @ matrix.mT * gain[:, None])
        if self.mistake == "other run":
            return new, tangent @ matrix.mT * gain[:, None] * self.scale
        if self.mistake == "old state":
            return state, tangent @ matrix.mT * gain[:, None]
        return new, tangent @ matrix.mT * gain[:, None]

    scale = 1.0

    def prepared(self, state, inputs):
        run = Wrong(self.mistake)
        run.scale = 1.1
        return run

    def findings(self):
        return ["off"] if self.mistake == "finding" else []

    def push_along(self, state, inputs, tangent, n_steps):
        steps = n_steps - 1 if self.mistake == "one step short" else n_steps
        return super().push_along(state, inputs, tangent, steps)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("transposed", "derivative"),
        ("gain of another trajectory", "derivative|one by one"),
        ("sign", "derivative"),
        ("in place", "changes its arguments"),
        ("old state", "different states"),
        ("one step short", "push_along"),
        ("other run", "what prepared returns gives other tangents"),
        ("finding", "there are findings after one step"),
    ],
)
def test_check_finds(mistake, message):
    check_system(Wrong("none"))
    with pytest.raises(AssertionError, match=message):
        check_system(Wrong(mistake))
