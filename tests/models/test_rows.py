"""Users' models with several recurrent modules: one system where they are in a row, with a reason refused where not."""

import numpy as np
import pytest
import torch
from checkpoint_cases import module_step
from checkpoint_table import autograd_exponents
from torch import nn

import lyapkit as lk
from lyapkit.testing import check_system

INPUTS = np.random.default_rng(0).normal(size=(40, 3))


class Two(nn.Module):
    """Two recurrent modules, a head that reads the first, too, and one that is registered in another order."""

    def __init__(self):
        super().__init__()
        self.upper = nn.LSTM(4, 3, batch_first=True)
        self.between = nn.Sequential(nn.Linear(5, 4), nn.ReLU())
        self.norm = nn.LayerNorm(5)
        self.head = nn.Linear(5, 4)
        self.drop = nn.Dropout(0.5)
        self.lower = nn.GRU(3, 5, batch_first=True)

    def forward(self, x):
        y, _ = self.lower(x)
        other = self.head(y)
        y = self.drop(self.between(self.norm(y)))
        return self.upper(y)[0], other


class TimeFirst(Two):
    def __init__(self):
        super().__init__()
        self.upper = nn.LSTM(4, 3)

    def forward(self, x):
        y = self.between(self.lower(x)[0])
        return self.upper(y.transpose(0, 1))[0]


class Cells(nn.Module):
    """A loop over time of two cells, with a layer between them."""

    def __init__(self):
        super().__init__()
        self.lower, self.between, self.upper = nn.LSTMCell(3, 5), nn.Linear(5, 4), nn.GRUCell(4, 3)

    def step(self, x, low, up):
        low = self.lower(x, low)
        return low, self.upper(self.between(low[0]), up)

    def forward(self, x):
        low, up, outputs = (x.new_zeros(len(x), 5),) * 2, x.new_zeros(len(x), 3), []
        for t in range(x.shape[1]):
            low, up = self.step(x[:, t], low, up)
            outputs.append(up)
        return torch.stack(outputs, 1)


class CellOnStack(Cells):
    """A cell that reads the outputs of an LSTM, step by step."""

    def __init__(self):
        super().__init__()
        self.lower = nn.LSTM(3, 5, batch_first=True)

    def forward(self, x):
        y, up = self.lower(x)[0], None
        for t in range(x.shape[1]):
            up = self.upper(self.between(y[:, t]), up)
        return up


def _composed(*parts):
    """Return the step of modules one after the other on a flat state, by their own forward, and the state's size."""
    steps = [module_step(part) if isinstance(part, nn.RNNBase | nn.RNNCellBase) else None for part in parts]
    sizes = [step[1] for step in steps if step]

    def step(state, input):
        owned, ends, signal = iter(state.split(sizes)), [], input
        for part, own in zip(parts, steps, strict=True):
            if own is None:
                signal = part(signal)
            else:
                ends.append(own[0](next(owned), signal))
                signal = ends[-1][: part.hidden_size]
        return torch.cat(ends)

    return step, sum(sizes)


@pytest.mark.parametrize("kind", [Two, TimeFirst, Cells, CellOnStack])
def test_modules_in_a_row_are_one_system(kind):
    model = kind().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    system = lk.from_module(model)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    check_system(system)
    between = [model.norm, model.between] if kind is Two else [model.between]
    expected = autograd_exponents(*_composed(model.lower, *between, model.upper))(INPUTS)
    got = lk.lyapunov_spectrum(model, INPUTS[None])["lyapunov_exponent"].values[0]
    np.testing.assert_allclose(got, expected, atol=1e-9)


class _InFront(Two):
    def forward(self, x):
        return super().forward(2 * x)


def test_what_stands_in_front_is_said():
    with pytest.warns(lk.ReliabilityWarning, match="the system is lower, upper in a row, and its inputs must be what"):
        assert lk.from_module(_InFront()).state_size == 11


class _Residual(Two):
    def forward(self, x):
        y, _ = self.lower(x)
        return self.upper(self.between(y + self.norm(y)))[0]


class _Functional(Two):
    def forward(self, x):
        return self.upper(torch.tanh(self.head(self.lower(x)[0])))[0]


class _Clipped(Two):
    """Does nothing to signals as small inputs make them."""

    def forward(self, x):
        y = self.lower(x)[0]
        return self.upper(self.head(y.clamp(-0.9, 0.9)))[0]


class _Parallel(Two):
    def __init__(self):
        super().__init__()
        self.upper = nn.LSTM(3, 3, batch_first=True)

    def forward(self, x):
        return self.lower(x)[0], self.upper(x)[0]


class _Seq2Seq(Two):
    def __init__(self):
        super().__init__()
        self.upper = nn.GRU(5, 5, batch_first=True)

    def forward(self, x):
        y, end = self.lower(x)
        return self.upper(y, end)[0]


class _OfTheLast(Two):
    def forward(self, x):
        y = self.head(self.lower(x)[0][:, -1:])
        return self.upper(y.expand(-1, x.shape[1], -1))[0]


class _Backwards(Two):
    def forward(self, x):
        return self.upper(self.head(self.lower(x)[0].flip(1)))[0]


class _Unused(Two):
    def forward(self, x):
        return self.lower(x)[0]


class _FedBack(Cells):
    def __init__(self):
        super().__init__()
        self.lower = nn.LSTMCell(3, 5)

    def forward(self, x):
        low, up = (x.new_zeros(len(x), 5),) * 2, x.new_zeros(len(x), 3)
        for t in range(x.shape[1]):
            low, up = self.step(x[:, t] + up, low, up)
        return up


class _Leaky(Cells):
    def step(self, x, low, up):
        low, new = super().step(x, low, up)
        return low, 0.5 * up + 0.5 * new


class _Bidirectional(Two):
    def __init__(self):
        super().__init__()
        self.lower = nn.GRU(3, 5, batch_first=True, bidirectional=True)
        self.between = nn.Linear(10, 4)

    def forward(self, x):
        return self.upper(self.between(self.lower(x)[0]))[0]


class _TwoInputs(Two):
    def forward(self, x, y):
        return super().forward(x)


class _FirstReadByBoth(Two):
    """The third module reads the first, not the second."""

    def __init__(self):
        super().__init__()
        self.third = nn.GRU(4, 2, batch_first=True)

    def forward(self, x):
        y = self.between(self.lower(x)[0])
        return self.upper(y)[0], self.third(y)[0]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (_Residual, "what upper is given is not what lower returned"),
        (_Functional, "what upper is given is not what lower returned"),
        (_Clipped, "upper returns something else|what upper is given is not what"),
        (_Parallel, "what upper is given is not what lower returned"),
        (_Seq2Seq, "upper returns something else, at step 0 already"),
        (_OfTheLast, "upper returns something else|what upper is given is not"),
        (_Backwards, "upper returns something else, at step 0 already"),
        (_Unused, "its forward does not use upper"),
        (_FedBack, "what the modules return is fed back into the next inputs of lower"),
        (_Leaky, "upper returns something else, at step 1 already"),
        (_Bidirectional, "the network is bidirectional"),
        (_TwoInputs, "it cannot be run on random inputs"),
        (_FirstReadByBoth, "what third is given is not what upper returned"),
    ],
)
def test_others_are_refused_with_the_ways_out(kind, reason):
    with pytest.raises(ValueError, match=reason) as refused:
        lk.from_module(kind())
    assert "contains several recurrent modules, " in str(refused.value)
    assert "nn.Sequential or lyapkit.Composition" in str(refused.value)


def test_modules_without_a_forward_are_refused():
    with pytest.raises(ValueError, match=r"cannot be run .*nn.Sequential or lyapkit.Composition"):
        lk.from_module(nn.ModuleDict({"a": nn.GRU(3, 4), "b": nn.GRU(4, 4)}))


class _Generator(nn.Module):
    """A layer in front, two recurrent modules, and a readout, all of one width, so that nothing else would tell."""

    def __init__(self):
        super().__init__()
        self.front, self.lower, self.upper = nn.Linear(3, 3), nn.GRU(3, 3, batch_first=True), nn.GRU(3, 3)
        self.readout = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, x):
        y = self.lower(self.front(x))[0]
        return self.readout(self.upper(y.transpose(0, 1))[0])


class _OfTheLastState(_Generator):
    def forward(self, x):
        return self.readout(self.lower(self.front(x))[0][:, -1])

    def __init__(self):
        super().__init__()
        del self.upper


class _TimeFirst(_Generator):
    def __init__(self):
        super().__init__()
        self.lower = nn.GRU(3, 3)

    def forward(self, x):
        return self.readout(self.upper(self.lower(self.front(x))[0])[0])


class _TwiceAsMuch(_Generator):
    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize("kind", [_Generator, _OfTheLastState, _TimeFirst])
def test_a_closed_loop_feeds_back_what_the_model_returns(kind):
    model = kind()
    recurrent = [model.lower] + ([model.upper] if hasattr(model, "upper") else [])
    driven, size = _composed(*recurrent)
    with torch.no_grad():
        for weight in model.readout.parameters():
            weight.mul_(3)

    def step(state, _):
        return driven(state, model.front(model.readout(state[-3:])))

    start = torch.linspace(0.1, 0.9, size)

    def shifted(state, input):
        return step(state + start, input) - start

    expected = autograd_exponents(shifted, size)(np.zeros((40, 1)))
    loop = lk.closed_loop(model)
    check_system(loop)
    got = lk.lyapunov_spectrum(loop, initial_state=start, n_steps=40)["lyapunov_exponent"].values[0]
    np.testing.assert_allclose(got, expected, atol=1e-9)


def test_a_closed_loop_of_what_cannot_be_verified_is_refused():
    with pytest.raises(ValueError, match="its output is not what upper returned, as it is or after other submodules"):
        lk.closed_loop(_TwiceAsMuch())
