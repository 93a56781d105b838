"""Recurrent parts in a row, and closed loops, against autograd of the composed PyTorch forward pass."""

import pytest
import torch
from torch import nn

import lyapkit as lk
from lyapkit.testing import check_system


def _flat(states):
    return torch.cat(
        [part.reshape(-1) for state in states for part in (state if isinstance(state, tuple) else (state,))]
    )


def _split(modules, state):
    """Return a flat state as the states of recurrent modules, as their own forward takes them."""
    states = []
    for module in modules:
        shapes = [(module.num_layers, 1, getattr(module, "proj_size", 0) or module.hidden_size)]
        if isinstance(module, nn.LSTM):
            shapes.append((module.num_layers, 1, module.hidden_size))
        parts = []
        for shape in shapes:
            size = torch.Size(shape).numel()
            parts.append(state[:size].reshape(shape))
            state = state[size:]
        states.append(tuple(parts) if isinstance(module, nn.LSTM) else parts[0])
    return states


def _step(parts, state, input):
    """Return the next flat state and the output, by the modules' own forward."""
    recurrent = [part for part in parts if isinstance(part, nn.RNNBase)]
    states, ends, signal = iter(_split(recurrent, state)), [], input
    for part in parts:
        if isinstance(part, nn.RNNBase):
            signal, end = part(signal, next(states))
            ends.append(end)
        else:
            signal = part(signal)
    return _flat(ends), signal


def _autograd_exponents(step, state, steps, n):
    """Return exponents by autograd Jacobians and one QR per step."""
    frame, growth = torch.eye(n), torch.zeros(n)
    for given in steps:
        jacobian = torch.autograd.functional.jacobian(lambda s, given=given: step(s, given), state)
        frame, upper = torch.linalg.qr(jacobian @ frame)
        growth += upper.diagonal().abs().log()
        state = step(state, given).detach()
    return (growth / len(steps)).sort(descending=True).values


def _tamed(parts):
    """Scale recurrent weights so that exponents are moderate and separated."""
    with torch.no_grad():
        for part in parts:
            for name, weight in part.named_parameters():
                if "weight_hh" in name:
                    weight.mul_(1.5)
    return parts


ROWS = {
    "different widths": lambda: [nn.LSTM(3, 6), nn.Linear(6, 4), nn.ReLU(), nn.GRU(4, 5), nn.Linear(5, 2)],
    "norm between": lambda: [nn.GRU(3, 5, 2), nn.LayerNorm(5), nn.RNN(5, 4)],
    "in front": lambda: [nn.Linear(3, 8), nn.Tanh(), nn.LSTM(8, 5), nn.Linear(5, 3)],
    "projections": lambda: [nn.LSTM(3, 6, proj_size=2), nn.GELU(), nn.LSTM(2, 4, 2)],
}


@pytest.mark.parametrize("name", ROWS)
def test_exponents_equal_those_of_the_composed_forward(name):
    parts = _tamed(ROWS[name]())
    system = lk.from_module(nn.Sequential(*parts))
    check_system(system)
    n = system.state_size
    inputs = torch.randn(60, 3)
    expected = _autograd_exponents(
        lambda state, x: _step(parts, state, x.reshape(1, 1, -1))[0], torch.zeros(n), list(inputs), n
    )
    ds = lk.lyapunov_spectrum(system, inputs[None])
    torch.testing.assert_close(torch.from_numpy(ds["lyapunov_exponent"].values[0]), expected, rtol=0, atol=1e-8)


def test_cells_are_parts():
    torch.manual_seed(1)
    cells = [nn.LSTMCell(2, 4), nn.Linear(4, 3), nn.GRUCell(3, 5)]
    system = lk.from_module(nn.Sequential(*cells))
    check_system(system)
    state, (h, c), g = torch.zeros(2, 13), (torch.zeros(2, 4), torch.zeros(2, 4)), torch.zeros(2, 5)
    for input in torch.randn(6, 2, 2):
        state = system.step(state, input)
        h, c = cells[0](input, (h, c))
        g = cells[2](cells[1](h), g)
    torch.testing.assert_close(state, torch.cat([h, c, g], 1), rtol=0, atol=1e-14)


LOOPS = {
    "LSTM": (lambda: [nn.LSTM(3, 6), nn.Linear(6, 3)], None),
    "stacked LSTM": (lambda: [nn.LSTM(2, 4, 2), nn.Linear(4, 2)], None),
    "projected": (lambda: [nn.LSTM(3, 6, proj_size=3)], None),
    "composition": (lambda: [nn.Linear(2, 4), nn.GRU(4, 4), nn.LayerNorm(4), nn.RNN(4, 3), nn.Linear(3, 2)], None),
    "softmax": (lambda: [nn.GRU(4, 5), nn.Linear(5, 4)], lambda y: torch.softmax(3 * y, -1)),
}


@pytest.mark.parametrize("name", LOOPS)
def test_closed_loop_is_that_of_the_forward_pass(name):
    build, feedback = LOOPS[name]
    parts = _tamed(build())
    system = lk.closed_loop(nn.Sequential(*parts), feedback)
    check_system(system)
    n = system.state_size
    behind = max(i for i, part in enumerate(parts) if isinstance(part, nn.RNNBase)) + 1

    def step(state, _):
        last = [part for part in parts if isinstance(part, nn.RNNBase)][-1]
        end = _split([part for part in parts if isinstance(part, nn.RNNBase)], state)[-1]
        signal = (end[0] if isinstance(last, nn.LSTM) else end)[-1:]
        for part in parts[behind:]:
            signal = part(signal)
        return _step(parts, state, feedback(signal) if feedback else signal)[0]

    start = 0.5 * torch.randn(n)
    expected = _autograd_exponents(step, start, [None] * 60, n)
    ds = lk.lyapunov_spectrum(system, initial_state=start, n_steps=60)
    torch.testing.assert_close(torch.from_numpy(ds["lyapunov_exponent"].values[0]), expected, rtol=0, atol=1e-8)
    assert ds.attrs["inputs"] == "its own output"


def test_closed_loops_of_networks():
    """A WCRNN's input is perturbed through its own derivative; an LSTM with readout is one with a composition."""
    wcrnn = lk.WCRNN(2, 6, 2, residual=lk.residuals.scaled_identity(6, 0.9), coupling=0.3)
    system = lk.closed_loop(wcrnn)
    check_system(system)
    network = lk.RecurrentNetwork(nn.LSTM(2, 5), nn.Linear(5, 2))
    check_system(lk.closed_loop(network))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: lk.closed_loop(nn.Sequential(nn.GRU(3, 4), nn.Linear(4, 2))), "2 outputs are fed back to 3 inputs"),
        (lambda: lk.closed_loop(nn.Sequential(nn.Embedding(9, 3), nn.GRU(3, 4))), "tokens"),
        (lambda: lk.closed_loop(nn.Sequential(nn.GRU(4, 4)), lambda y: y.argmax(-1, keepdim=True)), "differentiated"),
        (lambda: lk.closed_loop(nn.Sequential(nn.GRU(4, 4)), torch.round), "differentiated"),
        (
            lambda: lk.closed_loop(
                nn.Sequential(nn.GRU(4, 4)), lambda y: torch.nn.functional.one_hot(y.argmax(-1), 4).to(y)
            ),
            "argmax",
        ),
        (lambda: lk.closed_loop(lk.classical.henon()), "autonomous"),
        (lambda: lk.from_module(nn.Sequential(nn.GRU(3, 4), nn.Softmax(dim=0), nn.GRU(4, 2))), "other company"),
        (lambda: lk.from_module(nn.Sequential(nn.GRU(3, 4), nn.GRU(5, 2))), "takes 5 features and is given 4"),
        (lambda: lk.from_module(nn.Sequential(nn.GRU(3, 4), nn.Linear(5, 2), nn.GRU(2, 2))), "does not take a signal"),
        (lambda: lk.from_module(nn.Sequential(nn.Linear(3, 4))), "recurrent"),
        (lambda: lk.Composition([nn.Tanh(), nn.Embedding(3, 4), nn.LSTM(4, 5)]), "it has to be the first part"),
    ],
)
def test_what_is_refused(build, words):
    with pytest.raises(ValueError, match=words):
        build()


def test_embedding_makes_tokens_inputs():
    torch.manual_seed(2)
    embedding, lstm = nn.Embedding(11, 3), nn.LSTM(3, 4)
    system = lk.from_module(nn.Sequential(embedding, lstm))
    check_system(system)
    tokens = torch.randint(11, (2, 40))
    ds = lk.lyapunov_spectrum(system, tokens[..., None])
    expected = lk.lyapunov_spectrum(lk.from_module(lstm), embedding(tokens).detach())
    torch.testing.assert_close(
        torch.from_numpy(ds["lyapunov_exponent"].values), torch.from_numpy(expected["lyapunov_exponent"].values)
    )


class _Nested(nn.Module):
    """Two LSTM cells, one on the other, whose states are nested in a way of their own."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        self.lower, self.upper = nn.LSTMCell(2, 3), nn.LSTMCell(3, 4)

    def forward(self, input, state):
        (h, c), (g, d) = ((state["a"]["h"], state["a"]["c"]), state["b"]) if self.kind == "dict" else state
        h, c = self.lower(input, (h, c))
        g, d = self.upper(h, (g, d))
        return {"b": (g, d), "a": {"c": c, "h": h}} if self.kind == "dict" else [(h, c), (g, d)]


@pytest.mark.parametrize("kind", ["dict", "list"])
def test_states_are_nested_as_the_user_does(kind):
    module = _Nested(kind)
    shape = {"a": {"h": 3, "c": 3}, "b": (4, 4)} if kind == "dict" else [(3, 3), (4, 4)]
    system = lk.from_module(module, state_size=shape, input_size=2)
    check_system(system)
    inputs = torch.randn(2, 30, 2)
    expected = lk.lyapunov_spectrum(nn.Sequential(module.lower, module.upper), inputs)
    ds = lk.lyapunov_spectrum(system, inputs)
    for name in ("lyapunov_exponent", "log_growth"):
        torch.testing.assert_close(torch.from_numpy(ds[name].values), torch.from_numpy(expected[name].values))


class _Block(nn.Module):
    """What many stacks are made of: a recurrent module, and something behind it."""

    def __init__(self, n_inputs, n_units, behind, *, adds=False):
        super().__init__()
        self.rnn, self.behind, self.adds = nn.GRU(n_inputs, n_units, batch_first=True), behind, adds

    def forward(self, x):
        y = self.behind(self.rnn(x)[0])
        return x + y if self.adds else y


@pytest.mark.parametrize("gather", [lambda *blocks: nn.Sequential(*blocks), lambda *blocks: lk.Composition(blocks)])
def test_what_blocks_do_behind_their_recurrent_modules_is_between_them(gather):
    torch.manual_seed(3)
    blocks = [_Block(3, 4, nn.LayerNorm(4)), _Block(4, 5, nn.Tanh())]
    inputs = torch.randn(1, 30, 3)
    got = lk.lyapunov_spectrum(gather(*blocks), inputs).lyapunov_exponent.values[0]
    parts = [part for block in blocks for part in (block.rnn, block.behind)]
    expected = _autograd_exponents(
        lambda state, x: _step(parts, state, x.reshape(1, 1, -1))[0], torch.zeros(9), list(inputs[0]), 9
    )
    torch.testing.assert_close(torch.from_numpy(got), expected, rtol=0, atol=1e-8)


def test_what_blocks_do_by_code_of_their_own_is_refused():
    blocks = [_Block(3, 4, nn.Tanh()), _Block(4, 4, nn.Tanh(), adds=True)]
    with pytest.raises(ValueError, match="it cannot be verified what _Block makes of its inputs"):
        lk.from_module(nn.Sequential(*blocks))


def test_hooks_and_a_forward_put_into_a_sequential_are_seen():
    hooked = nn.Sequential(nn.GRU(3, 4))
    hooked.register_forward_pre_hook(lambda module, arguments: (2 * arguments[0],))
    with pytest.warns(lk.ReliabilityWarning, match="Sequential does something to its inputs"):
        lk.from_module(hooked)
    with pytest.raises(ValueError, match="it cannot be verified what Sequential makes of its inputs"):
        lk.Composition([hooked, nn.GRU(4, 4)])
    patched = nn.Sequential(nn.GRU(3, 4), nn.Dropout(0.5), nn.GRU(4, 2))
    patched.forward = lambda x: patched[2](2 * patched[0](x)[0])
    with pytest.raises(ValueError, match="it cannot be verified that they are one system"):
        lk.from_module(patched)
