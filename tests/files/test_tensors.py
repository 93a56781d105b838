"""Named tensors from files of any name: found by content, taken from where alone they can lie, or asked for."""

import argparse
import collections
import fractions
import json
import pathlib
import pickle

import numpy as np
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


def test_one_state_dict_under_two_names_is_asked_for(tmp_path):
    """It is the same, but which of the two is meant only its owner knows."""
    torch.save({"encoder_state_dict": STATE, "decoder_state_dict": STATE}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"under the keys 'encoder_state_dict', 'decoder_state_dict': choose"):
        read_tensors(tmp_path / "a.pt")
    _same(read_tensors(tmp_path / "a.pt", key="decoder_state_dict"))


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
    with pytest.raises(CheckpointError, match=rf"one of several shards, .*: read .*model{suffix}\.index\.json$"):
        read_tensors(shard)
    shard.unlink()
    with pytest.raises(CheckpointError, match=r"lists shards that are not beside it: 'model-00002"):
        read_tensors(index)
    index.unlink()
    with pytest.raises(CheckpointError, match=r"is shard 1 of 2, .*which belongs beside them and is missing here"):
        read_tensors(tmp_path / f"model-00001-of-00002{suffix}")


@pytest.mark.parametrize(
    "name", ["model_1_of_2.pt", "shard-00001-of-00002.bin", "model.1 of 2.pt", "rnn-part1of3.pth", "a-01-OF-02-b.pt"]
)
def test_a_shard_is_known_by_its_name(tmp_path, name):
    torch.save(STATE, tmp_path / name)
    with pytest.raises(CheckpointError, match=r"is shard 1 of [23], .* or join them into one file"):
        read_tensors(tmp_path / name)


@pytest.mark.parametrize("name", ["1of1.pt", "epoch-10-best-of-20.pt", "profile_3.pt", "consolidated.00.pth"])
def test_a_whole_file_is_none(tmp_path, name):
    torch.save(STATE, tmp_path / name)
    _same(read_tensors(tmp_path / name))


@pytest.mark.parametrize("name", ["consolidated.{:02}.pth", "mp_rank_{:02}_model_states.pt", "model-shard{}.bin"])
def test_a_shard_is_known_by_those_beside_it(tmp_path, name):
    for number in range(2):
        torch.save(STATE, tmp_path / name.format(number))
    with pytest.raises(CheckpointError, match=rf"named as one of several shards, with '{name.format(1)}' beside it"):
        read_tensors(tmp_path / name.format(0))


def test_a_renamed_shard_is_known_by_its_index(tmp_path):
    names = list(STATE)
    for part in range(2):
        torch.save({name: STATE[name] for name in names[part::2]}, tmp_path / f"{part}.bin")
    index = {"weight_map": {name: f"{k % 2}.bin" for k, name in enumerate(names)}}
    (tmp_path / "x.index.json").write_text(json.dumps(index))
    (tmp_path / "damaged.index.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"0\.bin is one of several shards, .*: read .*x\.index\.json"):
        read_tensors(tmp_path / "0.bin")
    _same(read_tensors(tmp_path / "x.index.json"))


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


def test_what_lies_beside_the_weights_is_not_read(tmp_path):
    """NumPy numbers, arguments, paths: what training scripts keep. Objects of any other kind refuse the file."""
    extras = {
        "best": np.float64(0.3),
        "random": np.random.default_rng(0).normal(size=3),
        "arguments": argparse.Namespace(folder=pathlib.Path("a"), rate=0.1),
        "losses": collections.defaultdict(list, {"train": [0.3]}),
        "window": collections.deque([1.0]),
    }
    for legacy in (False, True):
        torch.save({"state_dict": STATE, **extras}, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
        _same(read_tensors(tmp_path / "a.pt"))
    torch.save({"state_dict": STATE, "x": fractions.Fraction(1, 2)}, tmp_path / "a.pt")
    with pytest.raises(
        CheckpointError, match=r"holds Python objects \(fractions.Fraction\) and reading them could run"
    ):
        read_tensors(tmp_path / "a.pt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*quantiz:UserWarning")
def test_programs_and_modules_are_refused_with_the_way_out(tmp_path):
    path = tmp_path / "a.pt"
    torch.jit.save(torch.jit.script(nn.GRU(3, 5)), path)
    _refuses(path, "is a TorchScript archive, a program", "torch.save(dict(model.state_dict()), other_path)")
    torch.save(nn.GRU(3, 5), path)
    _refuses(path, "holds a whole pickled module, Python objects (torch.nn.modules.rnn.GRU", "torch.save(model.state_")
    quantised = torch.ao.quantization.quantize_dynamic(
        nn.Sequential(nn.LSTM(3, 5).float()), {nn.LSTM}, dtype=torch.qint8
    )
    torch.save(quantised.state_dict(), path)
    _refuses(path, "packed weights of a quantised module", "state dict from before quantisation")
    path.write_bytes(pickle.dumps(STATE))
    _refuses(path, "it is a pickle that torch.save did not write", "torch.save(model.state_dict(), path)")


def _refuses(path, *words):
    with pytest.raises(CheckpointError) as error:
        read_tensors(path)
    message = str(error.value)
    assert "weights_only" not in message
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.filterwarnings("ignore:.*quantize:UserWarning")
def test_quantised_tensors_are_multiplied_out(tmp_path):
    quantised = torch.quantize_per_tensor(torch.randn(5, 5, dtype=torch.float32), 0.1, 3, torch.qint8)
    torch.save({"weight_hh_l0": quantised}, tmp_path / "a.pt")
    found = read_tensors(tmp_path / "a.pt")
    torch.testing.assert_close(found["weight_hh_l0"], 0.1 * (quantised.int_repr().float() - 3))
    assert found.notes == ["multiplied out quantised tensors: 'weight_hh_l0'"]


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.eye(3).to_sparse(), ("sparse, 'odd': save them dense", "to_dense()")),
        (torch.empty(3, 3, device="meta"), ("without values, of the device meta, 'odd'",)),
        (torch.zeros(1).expand(1 << 20, 1 << 20), ("repeat few values", "4 TiB")),
    ],
)
def test_tensors_without_values_of_their_own_are_refused(tmp_path, tensor, words):
    torch.save(STATE | {"odd": tensor}, tmp_path / "a.pt")
    _refuses(tmp_path / "a.pt", *words)


def test_odd_dtypes_are_kept(tmp_path):
    dtypes = [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.bool]
    state = {str(dtype): torch.ones(2, 2, dtype=torch.float32).to(dtype) for dtype in dtypes}
    torch.save(state, tmp_path / "a.pt")
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    for name in ("a.pt", "a.safetensors"):
        assert [str(tensor.dtype) for tensor in read_tensors(tmp_path / name).values()] == list(map(str, dtypes))


def test_a_changed_bit_is_noticed(tmp_path):
    path = tmp_path / "a.pt"
    torch.save(STATE, path)
    content = bytearray(path.read_bytes())
    place = content.find(STATE["net.weight_hh_l0"].numpy().tobytes())
    content[place + 7] ^= 16
    path.write_bytes(content)
    _refuses(path, "is not a readable PyTorch file", "Bad CRC-32")
    torch.serialization.set_crc32_options(False)
    torch.save(STATE, path)
    torch.serialization.set_crc32_options(True)
    _same(read_tensors(path))  # it has no sums to check


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "it is a web page"),
        (b"\x1f\x8b\x08", "unpack it first"),
        (b"\x00" * 257 + b"ustar", "unpack it first"),
        (b"hello", "its content is of no known kind, which are safetensors"),
    ],
)
def test_other_files_are_named(tmp_path, content, words):
    (tmp_path / "a.pt").write_bytes(content)
    _refuses(tmp_path / "a.pt", words)


def test_arrays_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", weight=np.zeros(3))
    _refuses(tmp_path / "a.npz", "it is an archive of NumPy arrays, 'weight.npy'", "safetensors.numpy.save_file")
