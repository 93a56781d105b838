"""One entry makes a network of one's own built by name, saved, recognised in files, and trained."""

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import lyapkit as lk
from lyapkit.models.architectures import ARCHITECTURES
from lyapkit.testing import check_system


class Leaky(lk.Network):
    recurrent_parameters = ("recurrent.weight",)
    readout_parameters = ("readout.weight", "readout.bias")

    def __init__(self, input_size, hidden_size, output_size, leak=0.3):
        super().__init__()
        self.input_size, self.hidden_size, self.output_size = input_size, hidden_size, output_size
        self.state_size, self.leak = hidden_size, leak
        self.recurrent = nn.Linear(hidden_size, hidden_size)
        self.input = nn.Linear(input_size, hidden_size, bias=False)
        self.readout = nn.Linear(hidden_size, output_size)

    @property
    def settings(self):
        return {**super().settings, "leak": self.leak}

    def step(self, state, input):
        return (1 - self.leak) * state + self.leak * torch.tanh(self.recurrent(state) + self.input(input))

    def read(self, state):
        return self.readout(state)


@pytest.fixture
def leaky():
    lk.register("leaky", Leaky)
    yield
    del ARCHITECTURES["leaky"]


def test_one_entry_is_enough(leaky, tmp_path):
    network = lk.build_network("leaky", 3, 6, 2, seed=1)
    assert isinstance(network, Leaky)
    check_system(network)
    network.leak = 0.7
    torch.save({"model": {f"net.{name}": tensor for name, tensor in network.state_dict().items()}}, tmp_path / "m.pt")
    loaded = lk.load_network(tmp_path / "m.pt")
    assert isinstance(loaded, Leaky)
    inputs = torch.randn(4, 9, 3)
    assert torch.equal(loaded(inputs), network(inputs))
    spectra = [lk.lyapunov_spectrum(given, inputs).lyapunov_exponent for given in (network, tmp_path / "m.pt")]
    np.testing.assert_array_equal(*spectra)
    x, y = inputs.numpy(), np.arange(4) % 2
    run = lk.train([network], lk.ArrayTask(x, y, x, y), 3, batch_size=2, folder=tmp_path / "run")
    (*_, last) = lk.checkpoints(tmp_path / "run").values()
    trained = lk.load_network(last)
    assert torch.equal(trained(inputs.float()), run.networks[0](inputs.float()))


def test_a_network_that_is_not_registered_is_named(tmp_path):
    torch.save(Leaky(3, 6, 2).state_dict(), tmp_path / "m.pt")
    with pytest.raises(lk.CheckpointError, match=r"it is a Leaky, a network that is not registered.*lyapkit\.register"):
        lk.load_system(tmp_path / "m.pt")


def test_what_cannot_be_registered(leaky):
    with pytest.raises(ValueError, match=r"not a subclass of lyapkit\.Network"):
        lk.register("gru2", nn.GRU)
    with pytest.raises(ValueError, match="there is a network 'lstm' already"):
        lk.register("lstm", Leaky)
    other = type("Leaky", (Leaky,), {})
    with pytest.raises(ValueError, match="Leaky is another's"):
        lk.register("leaky2", other)


OWN = {
    "deep readout": lambda: lk.RecurrentNetwork(
        nn.GRU(3, 6), nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 9), nn.GELU(), nn.Dropout(0.1), nn.Linear(9, 2))
    ),
    "batch norm": lambda: lk.RecurrentNetwork(nn.LSTM(3, 6), nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 2))).eval(),
    "relu": lambda: lk.RecurrentNetwork(nn.RNN(3, 6, 2, nonlinearity="relu"), nn.Linear(6, 2, bias=False)),
    "relu cell": lambda: lk.RecurrentNetwork(nn.RNNCell(3, 6, nonlinearity="relu"), nn.Linear(6, 2)),
    "projected": lambda: lk.RecurrentNetwork(nn.LSTM(3, 6, proj_size=4, bias=False), nn.Linear(4, 2)),
    "wcrnn-b": lambda: lk.build_network("wcrnn-b", 3, 6, 2),
    "wcrnn-identity": lambda: lk.build_network("wcrnn-identity", 3, 6, 2),
    "ur-lstm": lambda: lk.build_network("ur-lstm", 3, 6, 2),
    "s4": lambda: lk.S4(3, 6, 2, order=5),
}


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_own_checkpoints_come_back_as_the_network_they_were(tmp_path, name, suffix):
    network, path, inputs = OWN[name](), tmp_path / f"m{suffix}", torch.randn(4, 9, 3)
    network.every_step = name == "relu"
    (safetensors.torch.save_file if suffix == ".safetensors" else torch.save)(network.state_dict(), path)
    for loaded in (lk.load_network(path), lk.load_system(path)):
        assert type(loaded) is type(network)
        assert torch.equal(loaded.eval()(inputs), network.eval()(inputs))
        assert str(loaded) == str(network)
    assert lk.load_network(path).description["checkpoint"] == path.name


def test_a_readout_of_code_of_its_own_is_named(tmp_path):
    class Head(nn.Linear):
        def forward(self, states):
            return super().forward(states).exp()

    torch.save(lk.RecurrentNetwork(nn.GRU(3, 6), Head(6, 2)).state_dict(), tmp_path / "m.pt")
    with pytest.raises(lk.CheckpointError, match=r"its readout is a Head, which only its own code.*module="):
        lk.load_network(tmp_path / "m.pt")


@pytest.mark.parametrize("prefix", ["", "net."])
def test_a_spectrum_needs_no_readout(tmp_path, prefix):
    class Head(nn.Linear):
        def forward(self, states):
            return super().forward(states).exp()

    recurrent = nn.RNN(3, 6, nonlinearity="relu")
    network = lk.RecurrentNetwork(recurrent, nn.Sequential(Head(6, 6), nn.LayerNorm(6)))
    with torch.no_grad():
        for parameter in recurrent.parameters():
            parameter.abs_().add_(0.1)
    torch.save({prefix + name: tensor for name, tensor in network.state_dict().items()}, tmp_path / "m.pt")
    inputs = torch.rand(1, 30, 3)
    spectra = [lk.lyapunov_spectrum(one, inputs).lyapunov_exponent for one in (tmp_path / "m.pt", recurrent)]
    np.testing.assert_array_equal(*spectra)
    assert "relu RNN (3 inputs, 6 units, state size 6)" in lk.inspect_checkpoint(tmp_path / "m.pt")[prefix]


def test_state_dicts_from_before_networks_said_what_they_are(tmp_path):
    for name in ("ur-lstm", "s4", "lstm"):
        network = lk.build_network(name, 3, 6, 2)
        state = {key: tensor for key, tensor in network.state_dict().items() if key != "_extra_state"}
        torch.save(state, tmp_path / "m.pt")
        network.load_state_dict(state)
        inputs = torch.randn(4, 9, 3)
        assert torch.equal(lk.load_network(tmp_path / "m.pt")(inputs), network(inputs))


def test_state_dicts_of_other_networks_are_refused():
    with pytest.raises(ValueError, match="the state dict is of a S4, and this is a Leaky"):
        Leaky(3, 6, 2).load_state_dict({"_extra_state": lk.S4(3, 6, 2).get_extra_state()}, strict=False)
    with pytest.raises(ValueError, match=r"of a Leaky with .*0\.5.* this one has .*0\.3"):
        Leaky(3, 6, 2).load_state_dict(Leaky(3, 6, 2, 0.5).state_dict())
