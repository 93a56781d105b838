"""Networks with a readout: the same numbers as PyTorch's modules, and from checkpoint files."""

import numpy as np
import pytest
import torch
from torch import nn

import lyapkit as lk
from lyapkit.testing import check_system

MODULES = {
    "RNN": lambda: nn.RNN(3, 5),
    "relu RNN": lambda: nn.RNN(3, 5, nonlinearity="relu"),
    "GRU": lambda: nn.GRU(3, 5, num_layers=2, dropout=0.5),
    "LSTM": lambda: nn.LSTM(3, 5, num_layers=2, batch_first=True, bias=False),
    "projected LSTM": lambda: nn.LSTM(3, 6, num_layers=2, proj_size=5),
    "LSTM cell": lambda: nn.LSTMCell(3, 5),
    "GRU cell": lambda: nn.GRUCell(3, 5),
}


@pytest.mark.parametrize("name", MODULES)
def test_conformance(name):
    check_system(lk.RecurrentNetwork(MODULES[name](), nn.Linear(5, 2)))


@pytest.mark.parametrize("name", ["RNN", "relu RNN", "GRU", "LSTM", "projected LSTM"])
def test_outputs_are_those_of_the_module(name):
    module, readout = MODULES[name]().eval(), nn.Linear(5, 2)
    inputs = torch.randn(4, 7, 3)
    outputs = module(inputs if module.batch_first else inputs.transpose(0, 1))[0]
    last = outputs[:, -1] if module.batch_first else outputs[-1]
    torch.testing.assert_close(lk.RecurrentNetwork(module, readout)(inputs), readout(last), atol=1e-14, rtol=1e-14)


def test_outputs_of_a_cell():
    cell, readout, inputs = nn.LSTMCell(3, 5), nn.Linear(5, 2), torch.randn(4, 7, 3)
    state = None
    for time in range(7):
        state = cell(inputs[:, time], state)
    torch.testing.assert_close(lk.RecurrentNetwork(cell, readout)(inputs), readout(state[0]))


def test_spectrum_is_that_of_the_module():
    module, inputs = nn.LSTM(3, 5), np.random.default_rng(0).normal(size=(2, 40, 3))
    own = lk.lyapunov_spectrum(lk.RecurrentNetwork(module, nn.Linear(5, 2)), inputs)
    expected = lk.lyapunov_spectrum(lk.from_module(module), inputs)
    np.testing.assert_allclose(own.lyapunov_exponent, expected.lyapunov_exponent, atol=1e-12)


def test_gradients_reach_the_module():
    """Training goes through it: the parameters are the module's own."""
    module = nn.GRU(3, 5)
    network = lk.RecurrentNetwork(module, nn.Linear(5, 2))
    network(torch.randn(4, 7, 3)).sum().backward()
    assert module.weight_hh_l0.grad.abs().sum() > 0
    assert set(network.recurrent_parameters) == {"recurrent.weight_hh_l0"}


@pytest.mark.parametrize(
    ("module", "message"),
    [(nn.Linear(3, 5), "expected an nn.RNN"), (nn.LSTM(3, 5, bidirectional=True), "bidirectional")],
)
def test_bad_modules(module, message):
    with pytest.raises(ValueError, match=message):
        lk.RecurrentNetwork(module, nn.Linear(5, 2))


@pytest.mark.parametrize("name", MODULES)
def test_checkpoints(tmp_path, name):
    """Whatever the rest of the model is called; wrapped, too."""
    module, readout = MODULES[name](), nn.Linear(5, 2)
    model = nn.ModuleDict({"encoder": module, "embedding": nn.Linear(4, 3), "decoder": readout})
    torch.save({"state_dict": model.state_dict()}, tmp_path / "m.pt")
    said = ("relu" if name == "relu RNN" else "tanh") if "RNN" in name else None
    loaded = lk.load_network(tmp_path / "m.pt", nonlinearity=said)
    inputs = torch.randn(4, 7, 3)
    expected = lk.RecurrentNetwork(module, readout)(inputs)
    torch.testing.assert_close(loaded(inputs), expected, atol=1e-14, rtol=1e-14)
    assert loaded.description["checkpoint"] == "m.pt"


def test_checkpoint_of_a_wcrnn(tmp_path):
    model = lk.WCRNN(2, 6, 3, lk.residuals.scaled_identity(6, 0.9), 0.1, "B")
    torch.save(model.state_dict(), tmp_path / "m.pt")
    inputs = torch.randn(4, 7, 2)
    torch.testing.assert_close(lk.load_network(tmp_path / "m.pt")(inputs), model(inputs))


def test_which_readout(tmp_path):
    parts = {"rnn": nn.GRU(3, 5), "one": nn.Linear(5, 2), "other": nn.Linear(5, 4, bias=False)}
    torch.save(nn.ModuleDict(parts).state_dict(), tmp_path / "m.pt")
    with pytest.raises(lk.CheckpointError, match=r"several linear layers .* 'one\.', 'other\.': choose the readout"):
        lk.load_network(tmp_path / "m.pt")
    network = lk.load_network(tmp_path / "m.pt", readout="other")
    torch.testing.assert_close(network.readout.weight, parts["other"].weight)
    with pytest.raises(lk.CheckpointError, match=r"no linear layer 'third\.' takes 5 features"):
        lk.load_network(tmp_path / "m.pt", readout="third")
    torch.save(nn.ModuleDict({"rnn": parts["rnn"]}).state_dict(), tmp_path / "bare.pt")
    with pytest.raises(lk.CheckpointError, match="there is no readout"):
        lk.load_network(tmp_path / "bare.pt")
