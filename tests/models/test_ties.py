"""Tied weights of a file stay one parameter, also to learning; others that are equal are said."""

import json

import pytest
import safetensors.torch
import torch
from torch import nn

import lyapkit as lk


class Tied(nn.Module):
    """Two layers with one recurrent weight, and an embedding that is the readout."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Embedding(7, 5)
        self.rnn = nn.LSTM(5, 5, 2)
        self.rnn.weight_hh_l1 = self.rnn.weight_hh_l0
        self.decoder = nn.Linear(5, 7)


def test_shared_memory_is_one_parameter_and_learns_as_one(tmp_path):
    model = Tied().double()
    torch.save(model.state_dict(), tmp_path / "tied.pt")
    network = lk.load_network(tmp_path / "tied.pt", readout="decoder")
    assert network.recurrent.weight_hh_l1 is network.recurrent.weight_hh_l0
    assert "rnn.weight_hh_l1 is tied to rnn.weight_hh_l0" in network.source["assumptions"]

    inputs = torch.randn(4, 6, 5, dtype=torch.float64)
    network(inputs).square().sum().backward()
    outputs, _ = model.rnn(inputs.transpose(0, 1))
    model.decoder(outputs[-1]).square().sum().backward()
    torch.testing.assert_close(network.recurrent.weight_hh_l0.grad, model.rnn.weight_hh_l0.grad)
    assert sum(p.numel() for p in network.parameters()) == sum(
        p.numel() for part in (model.rnn, model.decoder) for p in part.parameters()
    )


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_readout_tied_to_an_embedding_outside_is_said(tmp_path, suffix):
    model = Tied()
    model.rnn = nn.LSTM(5, 5)
    model.decoder.weight = model.encoder.weight
    state = {name: tensor.clone() if suffix == "safetensors" else tensor for name, tensor in model.state_dict().items()}
    path = tmp_path / f"tied.{suffix}"
    (safetensors.torch.save_file if suffix == "safetensors" else torch.save)(state, path)
    with pytest.warns(
        lk.CheckpointWarning, match=r"(en|de)coder\.weight and (en|de)coder\.weight hold the same numbers"
    ):
        lk.load_network(path, readout="decoder")


def _own_tied():
    torch.manual_seed(0)
    network = lk.RecurrentNetwork(nn.RNN(2, 5, 2), nn.Linear(5, 5)).double()
    network.recurrent.weight_hh_l1 = network.recurrent.weight_hh_l0
    network.readout.weight = network.recurrent.weight_hh_l0
    return network


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_networks_of_lyapkits_own_say_what_is_tied(tmp_path, suffix):
    network = _own_tied()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    (safetensors.torch.save_file if suffix == "safetensors" else torch.save)(state, tmp_path / f"own.{suffix}")
    read = lk.load_network(tmp_path / f"own.{suffix}")  # without a warning
    assert read.readout.weight is read.recurrent.weight_hh_l0 is read.recurrent.weight_hh_l1
    inputs = torch.randn(3, 6, 2, dtype=torch.float64)
    for one in (network, read):
        one(inputs).square().sum().backward()
    torch.testing.assert_close(read.readout.weight.grad, network.readout.weight.grad)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([["recurrent.weight_hh_l0", "recurrent.weight_ih_l0"]], "is said to be tied to .* holds other numbers"),
        ([["recurrent.weight_hh_l0", "nothing.weight"]], "its ties are not those of a RecurrentNetwork"),
        (3, "its ties are not those of a RecurrentNetwork"),
    ],
)
def test_ties_that_are_none_are_refused(tmp_path, said, message):
    state = _own_tied().state_dict()
    content = json.loads(bytes(state["_extra_state"].tolist())) | {"ties": said}
    state["_extra_state"] = torch.tensor(list(json.dumps(content).encode()), dtype=torch.uint8)
    torch.save(state, tmp_path / "own.pt")
    with pytest.raises(lk.CheckpointError, match=message):
        lk.load_network(tmp_path / "own.pt")


def test_copies_of_a_recurrent_weight_are_said_and_zeros_are_not(tmp_path):
    model = Tied()
    nn.init.zeros_(model.rnn.weight_ih_l0)
    nn.init.zeros_(model.rnn.weight_ih_l1)
    safetensors.torch.save_file({n: t.clone() for n, t in model.state_dict().items()}, tmp_path / "copied.safetensors")
    with pytest.warns(lk.CheckpointWarning, match=r"rnn\.weight_hh_l0 and rnn\.weight_hh_l1 hold the same") as said:
        network = lk.load_network(tmp_path / "copied.safetensors", readout="decoder")
    assert "weight_ih" not in str(said[0].message)
    assert network.recurrent.weight_hh_l1 is not network.recurrent.weight_hh_l0


def test_a_nonlinearity_that_the_file_contradicts_is_refused(tmp_path):
    own = lk.RecurrentNetwork(nn.RNN(2, 3, nonlinearity="relu"), nn.Linear(3, 1))
    torch.save(own.state_dict(), tmp_path / "own.pt")
    for load in (lk.load_network, lk.load_system):
        with pytest.raises(ValueError, match=r"contradicts nonlinearity='tanh': it says .* relu RNN"):
            load(tmp_path / "own.pt", nonlinearity="tanh")
        assert "relu RNN" in str(load(tmp_path / "own.pt", nonlinearity="relu"))


@pytest.mark.parametrize("module", [nn.LSTM(2, 3), nn.GRU(2, 3), nn.LSTMCell(2, 3), lk.build_network("wcrnn", 2, 3, 1)])
@pytest.mark.parametrize("said", ["tanh", "relu"])
def test_a_nonlinearity_without_meaning_is_refused(tmp_path, module, said):
    torch.save(module.state_dict(), tmp_path / "m.pt")
    with pytest.raises(
        lk.CheckpointError, match=rf"m\.pt holds .* not to be chosen, .*: leave out nonlinearity='{said}'"
    ):
        lk.load_system(tmp_path / "m.pt", nonlinearity=said)


def test_a_nonlinearity_of_one_of_several_parts_is_enough(tmp_path):
    parts = nn.ModuleDict({"a": nn.RNN(2, 3), "b": nn.LSTM(3, 4)})
    torch.save(parts.state_dict(), tmp_path / "m.pt")
    assert "relu RNN" in str(lk.load_system(tmp_path / "m.pt", prefix=["a", "b"], nonlinearity="relu"))


def test_modules_that_cannot_be_read_are_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"without values, of the device meta .* load its weights first"):
        lk.from_module(nn.LSTM(2, 3, device="meta"))
    scripted = torch.jit.script(nn.LSTM(2, 3))
    with pytest.raises(ValueError, match=r"LSTM is a TorchScript module, compiled, .* from which it was made") as error:
        lk.from_module(scripted)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="is a TorchScript module"):
        lk.lyapunov_spectrum(scripted, torch.zeros(1, 4, 2))
    with pytest.raises(ValueError, match=r"n_steps must be at least 1, got -5"):
        lk.lyapunov_spectrum(nn.LSTM(2, 3), n_steps=-5)
