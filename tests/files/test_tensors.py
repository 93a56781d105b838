"""Named tensors from files of any name: found by content, taken from where alone they can lie, or asked for."""

import json

import pytest
import safetensors.torch
import torch
from torch import nn

from lyapkit.files.tensors import CheckpointError, CheckpointWarning, read_tensors

STATE = {f"net.{name}": value for name, value in nn.LSTM(3, 5).state_dict().items()}
OPTIMISER = {"state": {0: {"exp_avg": torch.ones(20, 3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


def _same(found, expected=STATE):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("suffix", ["", ".pt", ".pth.tar", ".model", ".nc", ".safetensors"])
@pytest.mark.parametrize("how", ["zip", "legacy", "safetensors"])
def test_the_content_tells_what_a_file_is(tmp_path, suffix, how):
    path = tmp_path / f"model{suffix}"
    if how == "safetensors":
        safetensors.torch.save_file(STATE, path)
    else:
        torch.save(STATE, path, _use_new_zipfile_serialization=how == "zip")
    found = read_tensors(path)
    _same(found)
    assert found.format == {"zip": "PyTorch", "legacy": "PyTorch (legacy)", "safetensors": "safetensors"}[how]
    assert found.files == [path]


@pytest.mark.parametrize(
    "content",
    [
        {"epoch": 1, "state_dict": STATE},
        {"model": {"state_dict": STATE}, "optimizer": OPTIMISER, "best_accuracy": torch.tensor(0.9)},
        {"state_dict": STATE, "optimizer_states": [OPTIMISER], "pytorch-lightning_version": "2.0", "loops": {"a": {}}},
        {"model": STATE, "state_dict": STATE},  # one, twice
    ],
)
def test_usual_wrappings_need_no_word(tmp_path, content):
    torch.save(content, tmp_path / "a.ckpt")
    _same(read_tensors(tmp_path / "a.ckpt"))


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ({"epoch": 1, "net": STATE}, "net"),
        ({"best_loss": torch.tensor(0.1), "net": STATE, "rng": torch.zeros(9, dtype=torch.uint8)}, "net"),
        ({"model": {"hidden": 5}, "weights": STATE}, "weights"),
        ([STATE, {"lr": 1}], "0"),
        ({"a": [{"b": {"c": STATE}}], "optimizer": OPTIMISER}, "a/0/b/c"),
    ],
)
def test_the_only_state_dict_is_taken_and_said(tmp_path, content, place):
    torch.save(content, tmp_path / "a.pt")
    with pytest.warns(CheckpointWarning, match=f"took its only state dict, under the key '{place}'"):
        _same(read_tensors(tmp_path / "a.pt"))
    _same(read_tensors(tmp_path / "a.pt", key=place))


def test_several_state_dicts_are_listed_and_chosen(tmp_path):
    average = {name: value + 1 for name, value in STATE.items()}
    torch.save({"model": STATE, "ema": {"model": average}, "epoch": 3}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"holds 2 state dicts, under the keys 'model', 'ema/model': choose one"):
        read_tensors(tmp_path / "a.pt")
    _same(read_tensors(tmp_path / "a.pt", key="ema/model"), average)
    with pytest.raises(CheckpointError, match=r"holds no tensors under key 'x', only under 'model', 'ema/model'"):
        read_tensors(tmp_path / "a.pt", key="x")


def test_what_is_no_tensor_is_noted(tmp_path):
    torch.save(STATE | {"epoch": 3}, tmp_path / "a.pt")
    assert read_tensors(tmp_path / "a.pt").notes == ["left out what is no tensor: 'epoch'"]


def _shards(folder, save, suffix):
    names = list(STATE)
    parts = {f"model-{k + 1:05d}-of-00002{suffix}": {n: STATE[n] for n in names[2 * k : 2 * k + 2]} for k in range(2)}
    for name, tensors in parts.items():
        save(tensors, folder / name)
    index = folder / f"model{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {n: name for name, t in parts.items() for n in t}}))
    return index


@pytest.mark.parametrize(("save", "suffix"), [(safetensors.torch.save_file, ".safetensors"), (torch.save, ".bin")])
def test_shards_are_joined_by_their_index(tmp_path, save, suffix):
    index = _shards(tmp_path, save, suffix)
    found = read_tensors(index)
    _same(found)
    assert len(found.files) == 3
    shard = tmp_path / f"model-00002-of-00002{suffix}"
    with pytest.raises(CheckpointError, match=rf"is shard 2 of 2, .*: read .*model{suffix}\.index\.json, which lists"):
        read_tensors(shard)
    shard.unlink()
    with pytest.raises(CheckpointError, match=r"lists shards that are not beside it: 'model-00002"):
        read_tensors(index)
    index.unlink()
    with pytest.raises(CheckpointError, match=r"is shard 1 of 2, .*which belongs beside them and is missing here"):
        read_tensors(tmp_path / f"model-00001-of-00002{suffix}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"weight_map": {"a": "../x.safetensors"}}', r"names shards outside its folder, .*: '\.\./x"),
        ('{"weight_map": {"a": 3}}', "does not map names to files"),
        ('{"weight_map": []}', "not a readable index of shards"),
        ("{" * 100_000, "not a readable index of shards"),
        ('{"a": ' * 100_000, "not a readable index of shards"),
    ],
)
def test_damaged_indices(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_tensors(tmp_path / "a.json")
