"""Checkpoints: what is recognised, what is refused with which words, and that nothing in a file runs."""

import os
import pickle

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import lyapkit as lk

MODULES = {
    "rnn": nn.RNN(3, 5),
    "deep rnn": nn.RNN(3, 5, 3, bias=False),
    "gru": nn.GRU(3, 5, 2),
    "lstm": nn.LSTM(3, 5, 2),
    "projected": nn.LSTM(3, 5, 2, proj_size=2),
    "rnn cell": nn.RNNCell(3, 5),
    "gru cell": nn.GRUCell(3, 5, bias=False),
    "lstm cell": nn.LSTMCell(3, 5),
    "one unit": nn.LSTM(1, 1),
}


def _prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".ckpt"])
@pytest.mark.parametrize("name", MODULES)
def test_round_trip(tmp_path, name, suffix):
    """The exponents of a file are those of the module that was saved."""
    module = MODULES[name].double()
    path = tmp_path / f"model{suffix}"
    state = _prefixed(module.state_dict(), "net.core.") | {"readout.weight": torch.zeros(2, 5)}
    (safetensors.torch.save_file if suffix == ".safetensors" else torch.save)(state, path)
    nonlinearity = "tanh" if "rnn" in name else None
    system = lk.load_system(path, nonlinearity=nonlinearity)
    inputs = torch.randn(2, 20, module.input_size)
    spectra = [lk.lyapunov_spectrum(s, inputs).lyapunov_exponent for s in (system, lk.from_module(module))]
    np.testing.assert_array_equal(*spectra)
    assert lk.lyapunov_spectrum(system, inputs).attrs["checkpoint"] == path.name


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"state_dict": s},
        lambda s: {"model": s, "epoch": 3},
        lambda s: {"state_dict": s, "best_accuracy": torch.tensor(0.9)},
        lambda s: {"model": {"state_dict": s}},
    ],
)
def test_wrappings(tmp_path, wrap):
    torch.save(wrap(_prefixed(MODULES["gru"].state_dict(), "module.")), tmp_path / "a.pt")
    assert "GRU (3 inputs, 5 + 5 units" in str(lk.load_system(tmp_path / "a.pt"))
    assert lk.inspect_checkpoint(tmp_path / "a.pt") == {"module.": "GRU (3 inputs, 5 + 5 units, state size 10)"}


def test_several_modules_are_listed_and_chosen(tmp_path):
    path = tmp_path / "a.safetensors"
    state = _prefixed(MODULES["gru"].state_dict(), "encoder.") | _prefixed(MODULES["lstm"].state_dict(), "decoder.")
    safetensors.torch.save_file(state, path)
    with pytest.raises(lk.CheckpointError, match=r"several recurrent modules, 'decoder\.', 'encoder\.': choose one"):
        lk.load_system(path)
    assert lk.load_system(path, prefix="encoder").state_size == 10
    assert lk.load_system(path, prefix="decoder.").state_size == 20
    with pytest.raises(lk.CheckpointError, match=r"no recurrent module with prefix 'x', only 'decoder\.', 'encoder\.'"):
        lk.load_system(path, prefix="x")


def test_nonlinearity_is_asked_for(tmp_path):
    torch.save(MODULES["rnn"].state_dict(), tmp_path / "a.pt")
    with pytest.raises(lk.CheckpointError, match="say nonlinearity='tanh' or 'relu'"):
        lk.load_system(tmp_path / "a.pt")
    with pytest.raises(lk.CheckpointError, match="not 'sin'"):
        lk.load_system(tmp_path / "a.pt", nonlinearity="sin")
    assert "relu" in str(lk.load_system(tmp_path / "a.pt", nonlinearity="relu"))


class _Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("legacy", [False, True])
def test_pickled_code_is_named_and_does_not_run(tmp_path, legacy):
    target = tmp_path / "code-ran"
    path = tmp_path / "evil.pt"
    content = {"state_dict": MODULES["gru"].state_dict(), "extra": _Malicious(str(target))}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(lk.CheckpointError, match=r"reading them could run code, so it was not read.*state_dict"):
        lk.load_system(path)
    path.write_bytes(pickle.dumps(_Malicious(str(target))))
    with pytest.raises(lk.CheckpointError, match=r"evil\.pt"):
        lk.load_system(path)
    assert not target.exists()


def test_whole_module_is_refused_with_the_remedy(tmp_path):
    torch.save(MODULES["gru"], tmp_path / "a.pt")
    with pytest.raises(lk.CheckpointError, match=r"GRU.*save the weights alone, torch.save\(model.state_dict"):
        lk.load_system(tmp_path / "a.pt")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".ckpt"])
@pytest.mark.parametrize("damage", ["empty", "truncated", "random"])
def test_damaged_files(tmp_path, suffix, damage):
    path = tmp_path / f"model{suffix}"
    state = MODULES["lstm"].state_dict()
    (safetensors.torch.save_file if suffix == ".safetensors" else torch.save)(state, path)
    content = path.read_bytes()
    random = np.random.default_rng(0).bytes(1000)
    path.write_bytes({"empty": b"", "truncated": content[: len(content) // 2], "random": random}[damage])
    with pytest.raises(lk.CheckpointError, match=f"model{suffix} is not a readable"):
        lk.load_system(path)


def test_missing_file_folder_and_unknown_type(tmp_path):
    with pytest.raises(lk.CheckpointError, match="does not exist"):
        lk.load_system(tmp_path / "none.pt")
    with pytest.raises(lk.CheckpointError, match="is not a file"):
        lk.load_system(tmp_path)
    (tmp_path / "a.h5").write_bytes(b"x")
    with pytest.raises(lk.CheckpointError, match=r"its content is of no known kind, which are safetensors,"):
        lk.load_system(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (nn.Linear(3, 3).state_dict(), "holds no recurrent layer"),
        (nn.Conv1d(3, 3, 3).state_dict(), "holds no recurrent layer"),
        (nn.LSTM(3, 5, bidirectional=True).state_dict(), "bidirectional"),
        ({"weight_ih_l0": torch.zeros(5, 5, 3), "weight_hh_l0": torch.zeros(5, 5, 3)}, "do not have the dimensions"),
        ({"weight_ih_l0": torch.zeros(10, 3), "weight_hh_l0": torch.zeros(10, 5)}, r"shape \(10, 5\), which is none"),
        ({"weight_hh_l0": torch.zeros(15, 5)}, "layer 0 has no weight_ih"),
        ({"weight_ih_l0": torch.zeros(20, 3), "weight_hh_l0": torch.zeros(15, 5)}, "20 rows where weight_hh has 15"),
        (
            {k: v for k, v in nn.GRU(3, 5, 3).state_dict().items() if "l1" not in k},
            r"parameters of layer\(s\) \[1\] are missing",
        ),
        ({k: v * torch.nan for k, v in nn.GRU(3, 5).state_dict().items()}, "not finite"),
        ({"weight_hh_l0": torch.zeros(0, 0), "weight_ih_l0": torch.zeros(0, 3)}, "none of an RNN"),
    ],
)
def test_unusable_networks(tmp_path, state, message):
    safetensors.torch.save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "a.safetensors")
    with pytest.raises(lk.CheckpointError, match=message):
        lk.load_system(tmp_path / "a.safetensors")


def test_layers_that_do_not_fit(tmp_path):
    lower, upper = nn.GRU(3, 5).state_dict(), nn.GRU(4, 5).state_dict()
    torch.save(lower | {name.replace("l0", "l1"): value for name, value in upper.items()}, tmp_path / "a.pt")
    with pytest.raises(lk.CheckpointError, match="layer 1 does not fit on layer 0"):
        lk.load_system(tmp_path / "a.pt")


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), {"epoch": 3}, {"state_dict": {"lr": 0.1}}])
def test_no_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(lk.CheckpointError, match="holds no state dict"):
        lk.load_system(tmp_path / "a.pt")


def test_inspect_names_what_is_not_usable(tmp_path):
    state = _prefixed(nn.LSTM(3, 5, bidirectional=True).state_dict(), "a.") | _prefixed(nn.RNN(3, 4).state_dict(), "b.")
    torch.save(state, tmp_path / "a.pt")
    found = lk.inspect_checkpoint(tmp_path / "a.pt")
    assert found["a."].startswith("not usable: the network is bidirectional")
    assert found["b."] == "RNN (3 inputs, 4 units, state size 4)"


def test_the_old_name_of_load_system_warns_and_works(tmp_path):
    torch.save({f"a.{name}": tensor for name, tensor in nn.RNN(3, 4).state_dict().items()}, tmp_path / "m.pt")
    options = {"prefix": "a", "nonlinearity": "relu"}
    with pytest.warns(DeprecationWarning, match="load_checkpoint is called load_system now") as warned:
        old = lk.load_checkpoint(tmp_path / "m.pt", **options)
    assert warned[0].filename == __file__
    new = lk.load_system(tmp_path / "m.pt", **options)
    assert str(old) == str(new) == "relu RNN (3 inputs, 4 units, state size 4)"
    assert torch.equal(old.layers[0].weight_hh, new.layers[0].weight_hh)
    with (
        pytest.warns(DeprecationWarning, match="load_system"),
        pytest.raises(lk.CheckpointError, match="no recurrent module with prefix 'b'"),
    ):
        lk.load_checkpoint(tmp_path / "m.pt", prefix="b")
