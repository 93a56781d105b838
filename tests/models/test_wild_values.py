"""Flipped bits in files without checksums: what is found, and that sound weights raise no alarm."""

import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import lyapkit as lk

HIGHEST_EXPONENT_BIT = {torch.float32: 30, torch.float64: 62, torch.float16: 14, torch.bfloat16: 14}
INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


@pytest.mark.parametrize("dtype", HIGHEST_EXPONENT_BIT)
def test_a_flipped_exponent_is_said_with_the_tensor(tmp_path, dtype):
    state = {f"rnn.{name}": tensor.to(dtype) for name, tensor in nn.LSTM(3, 8).state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    lk.load_system(tmp_path / "a.safetensors")  # and no warning
    weights = state["rnn.weight_hh_l0"].view(INTEGERS[dtype.itemsize])
    weights[5, 2] ^= 1 << HIGHEST_EXPONENT_BIT[dtype]
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    with pytest.warns(lk.ReliabilityWarning, match=r"a\.safetensors: rnn\.weight_hh_l0 holds .* is the file damaged"):
        lk.load_system(tmp_path / "a.safetensors")


def test_keras_and_the_readout(tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "m.weights.h5", "w") as file:
        for number, shape in enumerate([(3, 8), (2, 8), (8,)]):
            values = np.full(shape, 0.1)
            values.flat[3] = 1e30 if number == 1 else 0.1
            file[f"layers/lstm/cell/vars/{number}"] = values
    with (
        pytest.warns(lk.CheckpointWarning, match="activation functions"),
        pytest.warns(lk.ReliabilityWarning, match=r"m\.weights\.h5: weight_hh of LSTM 'lstm' holds 1e\+30"),
    ):
        lk.load_system(tmp_path / "m.weights.h5")
    model = nn.ModuleDict({"rnn": nn.GRU(3, 4), "fc": nn.Linear(4, 2)})
    model["fc"].weight.data[0, 0] = 1e20
    torch.save(model.state_dict(), tmp_path / "m.pt")
    with pytest.warns(lk.ReliabilityWarning, match=r"fc\.weight holds"):
        lk.load_network(tmp_path / "m.pt")


def test_sound_weights_raise_no_alarm(tmp_path):
    module = nn.LSTM(3, 8)
    with torch.no_grad():
        module.weight_hh_l0.mul_(50)
        module.weight_ih_l0.mul_(1e-12)
        module.weight_ih_l0[3, 1] = 2.0
        module.bias_hh_l0.zero_()
        module.bias_hh_l0[8:16] = 5.0
    torch.save(module.state_dict(), tmp_path / "m.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lk.load_system(tmp_path / "m.pt")


@pytest.mark.parametrize("factor", [1e5, 1e200])
def test_weights_that_are_all_far_too_large_are_said(tmp_path, factor):
    """As another byte order or a scale makes them; 1e200 is beyond float32."""
    state = {name: factor * tensor.double() for name, tensor in nn.GRU(3, 8).state_dict().items()}
    torch.save(state, tmp_path / "m.pt")
    with pytest.warns(lk.ReliabilityWarning, match=r"weight_hh_l0 holds values of which the median is .*e\+"):
        lk.load_system(tmp_path / "m.pt")
