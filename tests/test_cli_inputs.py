"""Ways in from the command line: tokens, closed loops, rows of networks, images, lengths, no input."""

import numpy as np
import pytest
import torch
from torch import nn

import lyapkit as lk


def _exponents(path):
    return lk.load(path)["lyapunov_exponent"].values


@pytest.fixture
def language_model(tmp_path):
    model = nn.ModuleDict({"encoder": nn.Embedding(11, 4), "rnn": nn.LSTM(4, 5), "decoder": nn.Linear(5, 11)})
    torch.save(model.state_dict(), tmp_path / "lm.pt")
    tokens = np.random.default_rng(0).integers(0, 11, (2, 60))
    np.save(tmp_path / "tokens.npy", tokens)
    return tmp_path, model, torch.from_numpy(tokens)


def test_tokens_go_through_the_embedding(run, language_model):
    folder, model, tokens = language_model
    options = ("--inputs", folder / "tokens.npy", "--embedding", "encoder.weight", "--output", folder / "x.nc", "-q")
    code, _out, err = run("spectrum", folder / "lm.pt", *options)
    assert code == 0, err
    expected = lk.lyapunov_spectrum(model["rnn"], model["encoder"](tokens).detach())
    np.testing.assert_allclose(_exponents(folder / "x.nc"), expected["lyapunov_exponent"].values, atol=1e-12)
    code, _, err = run("spectrum", folder / "lm.pt", "--inputs", folder / "tokens.npy", "--embedding", "wrong", "-q")
    assert code == 2
    assert "holds no tensor 'wrong'; tables are encoder.weight" in err


def test_closed_loop(run, tmp_path):
    network = nn.ModuleDict({"rnn": nn.GRU(2, 6), "readout": nn.Linear(6, 2)})
    torch.save(network.state_dict(), tmp_path / "net.pt")
    options = ("--closed-loop", "--steps", 500, "--output", tmp_path / "x.nc", "-q")
    code, _, err = run("spectrum", tmp_path / "net.pt", *options)
    assert code == 0, err
    expected = lk.lyapunov_spectrum(
        lk.closed_loop(lk.RecurrentNetwork(network["rnn"], network["readout"])), n_steps=500
    )
    np.testing.assert_allclose(_exponents(tmp_path / "x.nc"), expected["lyapunov_exponent"].values, atol=1e-12)
    code, _, err = run("spectrum", tmp_path / "net.pt", "--closed-loop", "-q")
    assert code == 2
    assert "--steps" in err


def test_recurrent_modules_in_a_row(run, tmp_path):
    network = nn.ModuleDict({"encoder": nn.GRU(3, 4), "decoder": nn.LSTM(4, 5)})
    torch.save(network.state_dict(), tmp_path / "net.pt")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(1, 50, 3)))
    options = (
        "--inputs",
        tmp_path / "x.npy",
        "--prefix",
        "encoder",
        "--prefix",
        "decoder",
        "--output",
        tmp_path / "x.nc",
    )
    code, _, err = run("spectrum", tmp_path / "net.pt", *options, "-q")
    assert code == 0, err
    composed = lk.from_module(nn.Sequential(network["encoder"], network["decoder"]))
    expected = lk.lyapunov_spectrum(composed, np.load(tmp_path / "x.npy"))
    np.testing.assert_allclose(_exponents(tmp_path / "x.nc"), expected["lyapunov_exponent"].values, atol=1e-12)


def test_images_lengths_and_no_input(run, tmp_path):
    gru = nn.GRU(1, 3)
    torch.save(gru.state_dict(), tmp_path / "net.pt")
    images = np.random.default_rng(0).uniform(size=(3, 4, 5))
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "lengths.npy", [20, 7, 12])
    for options, arguments in (
        (("--inputs", tmp_path / "images.npy", "--pixels"), {"inputs": images.reshape(3, 20, 1)}),
        (
            ("--inputs", tmp_path / "images.npy", "--pixels", "--lengths", tmp_path / "lengths.npy"),
            {"inputs": images.reshape(3, 20, 1), "lengths": [20, 7, 12]},
        ),
        (("--steps", 30), {"n_steps": 30}),
    ):
        code, _, err = run("spectrum", tmp_path / "net.pt", *options, "--output", tmp_path / "x.nc", "-q")
        assert code == 0, err
        expected = lk.lyapunov_spectrum(gru, **arguments)["lyapunov_exponent"].values
        np.testing.assert_allclose(_exponents(tmp_path / "x.nc"), expected, atol=1e-12)
