"""Every command in the README's table of files, against the frameworks' own forward pass."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from checkpoint_cases import lstm, module_step, seeded
from checkpoint_cases_keras import F64, saved, sequential
from checkpoint_cases_onnx import exported
from checkpoint_table import after_lookup, autograd_exponents
from torch import nn

import lyapkit as lk

README = (Path(__file__).parents[2] / "README.md").read_text()
COMMANDS = re.findall(r"^\| [^|]+ \| `lyapkit (spectrum [^`]+)`", README, flags=re.MULTILINE)
N_STEPS = 300  # in place of 5000, of which autograd would take a quarter of a minute
INPUTS = np.random.default_rng(0).normal(size=(1, 24, 3))
TOKENS = np.random.default_rng(0).integers(0, 9, (1, 24))
IMAGES = np.random.default_rng(0).uniform(size=(2, 4, 5))


def _pytorch(folder, name, modules, step, inputs, size):
    torch.save(modules.state_dict(), folder / name)
    return [autograd_exponents(step, size)(sequence) for sequence in inputs]


def _net(folder, n_inputs=3):
    """A GRU with its readout: file and step."""
    model = seeded(lambda: nn.ModuleDict({"rnn": nn.GRU(n_inputs, 4), "readout": nn.Linear(4, n_inputs)}))
    torch.save(model.state_dict(), folder / "net.pt")
    return model, *module_step(model["rnn"])


def _keras(folder):
    made = saved(sequential(lambda L: L.LSTM(4, **F64), lambda L: L.Dense(2, **F64)))(folder)
    return [made.exponents(INPUTS[0])]


def _onnx(folder):
    return [exported(lambda: nn.GRU(3, 4))(folder).exponents(INPUTS[0])]


def _shards(folder):
    module = seeded(lstm)
    names = list(module.state_dict())
    parts = {f"model-0000{k + 1}-of-00002.safetensors": names[k::2] for k in range(2)}
    for file, part in parts.items():
        safetensors.torch.save_file({name: module.state_dict()[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return [autograd_exponents(*module_step(module))(INPUTS[0])]


def _language_model(folder):
    model = seeded(lambda: nn.ModuleDict({"encoder": nn.Embedding(9, 3), "rnn": lstm(), "decoder": nn.Linear(4, 9)}))
    step, size = module_step(model["rnn"])
    step = after_lookup(step, model["encoder"].weight.detach())
    return _pytorch(folder, "lm.pt", model, step, [TOKENS[0][:, None]], size)


def _closed_loop(folder):
    model, step, size = _net(folder)
    return [autograd_exponents(lambda state, _: step(state, model["readout"](state)), size)(np.zeros((N_STEPS, 1)))]


def _in_a_row(folder):
    model = seeded(lambda: nn.ModuleDict({"encoder": nn.GRU(3, 4), "decoder": nn.LSTM(4, 3)}))
    (lower, size), (upper, upper_size) = map(module_step, model.values())

    def step(state, input):
        below = lower(state[:size], input)
        return torch.cat([below, upper(state[size:], below)])

    return _pytorch(folder, "net.pt", model, step, INPUTS, size + upper_size)


def _pixels(folder):
    _, step, size = _net(folder, 1)
    return [autograd_exponents(step, size)(image.reshape(-1, 1)) for image in IMAGES]


def _padded(folder):
    _, step, size = _net(folder)
    return [autograd_exponents(step, size)(INPUTS[0, :17])]


def _table(folder):
    _, step, size = _net(folder)
    rows = [f"{owner},{','.join(map(str, row))}" for owner in (0, 1) for row in INPUTS[0, : 24 - 9 * owner]]
    (folder / "x.csv").write_text("\n".join(["trajectory,a,b,c", *rows]))
    return [autograd_exponents(step, size)(INPUTS[0, :n_steps]) for n_steps in (24, 15)]


def _no_input(folder):
    _, step, size = _net(folder)
    return [autograd_exponents(step, size)(np.zeros((N_STEPS, 3)))]


ROWS = {
    "spectrum model.keras --inputs x.npy": _keras,
    "spectrum model.onnx --inputs x.npy": _onnx,
    "spectrum model.safetensors.index.json --inputs x.npy": _shards,
    "spectrum lm.pt --inputs tokens.npy --embedding encoder.weight": _language_model,
    "spectrum net.pt --closed-loop --steps 5000": _closed_loop,
    "spectrum net.pt --inputs x.npy --prefix encoder --prefix decoder": _in_a_row,
    "spectrum net.pt --inputs images.npy --pixels": _pixels,
    "spectrum net.pt --inputs x.npy --lengths lengths.npy": _padded,
    "spectrum net.pt --inputs x.csv": _table,
    "spectrum net.pt --steps 5000": _no_input,
}


def test_the_table_has_a_test_for_every_row():
    assert list(ROWS) == COMMANDS


@pytest.mark.parametrize("command", ROWS)
def test_row(command, tmp_path, run, monkeypatch):
    expected = ROWS[command](tmp_path)
    np.save(tmp_path / "x.npy", INPUTS)
    np.save(tmp_path / "tokens.npy", TOKENS)
    np.save(tmp_path / "images.npy", IMAGES)
    np.save(tmp_path / "lengths.npy", [17])
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*command.replace("5000", str(N_STEPS)).split(), "--output", "spectrum.nc", "-q")
    assert code == 0, err
    got = lk.load("spectrum.nc")["lyapunov_exponent"].values
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)
