"""Files given to the command line and written by it: what is assumed is said, what is wrong is one line."""

import warnings

import torch
from torch import nn

STATE = nn.LSTM(3, 5).state_dict()


def _is_one_line_error(result, *words):
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("lyapkit: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def test_state_dicts_are_chosen_by_key(tmp_path, run):
    path = tmp_path / "a.pth.tar"
    torch.save({"model": STATE, "ema": {"model": STATE | {"x.weight": torch.zeros(2, 2)}}}, path)
    _is_one_line_error(run("inspect", path), "'model', 'ema/model'", "--key")
    code, out, err = run("inspect", path, "--key", "ema/model")
    assert (code, err) == (0, "")
    assert "x.weight" in out
    assert "LSTM (3 inputs, 5 units, state size 10)" in out


def test_what_was_taken_is_said(tmp_path, run):
    warnings.simplefilter("default")
    torch.save({"net": STATE}, tmp_path / "a.pt")
    torch.save(torch.zeros(1, 20, 3), tmp_path / "x.pt")
    code, _, err = run("spectrum", tmp_path / "a.pt", "--inputs", tmp_path / "x.pt", "-q", "-k", 1)
    assert (code, err.count("\n")) == (0, 1)
    assert "warning" in err
    assert "took its only state dict, under the key 'net'" in err


def test_the_largest_content_is_chosen(tmp_path, run):
    torch.save(STATE, tmp_path / "a.pt")
    _is_one_line_error(run("inspect", tmp_path / "a.pt", "--max-size", "500B"), "a.pt would take", "500 bytes")
    _is_one_line_error(run("inspect", tmp_path / "a.pt", "--max-size", "much"), "'much' is no size")
    assert run("inspect", tmp_path / "a.pt", "--max-size", "1 MB")[0] == 0
    assert run("inspect", tmp_path / "a.pt")[0] == 0
