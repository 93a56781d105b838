"""Rows of the table of checkpoint files: wrappings, shards, and files that are no state dicts."""

from __future__ import annotations

import gzip
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from checkpoint_cases import GRU, LSTM, gru, lstm, module_step, prefixed, saved, seeded
from checkpoint_table import Case, Made, autograd_exponents
from torch import Tensor, nn

OPTIMISER = {"state": {0: {"exp_avg": torch.zeros(3, 4)}}, "param_groups": [{"lr": 0.1}]}


def lightning(state: dict[str, Tensor]) -> Mapping[str, object]:
    """Return what PyTorch Lightning saves."""
    named = {f"model.rnn.{name}": tensor for name, tensor in state.items()}
    rest = {"optimizer_states": [OPTIMISER], "lr_schedulers": [], "epoch": 3, "global_step": 99}
    return {"state_dict": named, **rest, "pytorch-lightning_version": "2.4.0", "hyper_parameters": {"width": 4}}


def two(first: str, second: str) -> Callable[[dict[str, Tensor]], Mapping[str, object]]:
    """Return what saves a state dict, and one with other weights beside it."""
    return lambda state: {first: state, second: {name: 0.9 * tensor for name, tensor in state.items()}}


def sharded(read: str, suffix: str = ".safetensors", beside: bool = True) -> Callable[[Path], Made]:
    """Return what writes a module in two shards with an index, and refers to one of the files."""

    def make(folder: Path) -> Made:
        module = seeded(lambda: nn.LSTM(3, 4, 2))
        state, save = module.state_dict(), safetensors.torch.save_file if suffix == ".safetensors" else torch.save
        files = {name: f"model-0000{1 + name.endswith('_l1')}-of-00002{suffix}" for name in state}
        for file in set(files.values()):
            save({name: tensor for name, tensor in state.items() if files[name] == file}, folder / file)
        if beside:
            (folder / f"model{suffix}.index.json").write_text(json.dumps({"weight_map": files}))
        return Made(folder / read, autograd_exponents(*module_step(module)))

    return make


def in_bytes(folder: Path) -> Made:
    """Write weights as quantised tensors; the reference has the numbers that they stand for."""
    module = seeded(gru)
    state = dict(module.state_dict())
    for name in ("weight_ih_l0", "weight_hh_l0"):
        with warnings.catch_warnings(action="ignore"):
            state[name] = torch.quantize_per_tensor(state[name].float(), 0.01, 0, torch.qint8)
    torch.save(state, folder / "model.pt")
    rounded = {n: t.dequantize().double() if t.is_quantized else t for n, t in state.items()}
    module.load_state_dict(rounded)
    return Made(folder / "model.pt", autograd_exponents(*module_step(module)))


def written(write: Callable[[Path], object], name: str = "model.pt") -> Callable[[Path], Made]:
    """Return what writes a file that must be refused."""

    def make(folder: Path) -> Made:
        with warnings.catch_warnings(action="ignore"):  # of torch's own, that it is on its way to something else
            write(folder / name)
        return Made(folder / name)

    return make


def dynamic(path: Path) -> None:
    """Save a dynamically quantised module's state dict."""
    model = nn.ModuleDict({"rnn": nn.LSTM(3, 4)})
    torch.save(torch.ao.quantization.quantize_dynamic(model, {nn.LSTM}).state_dict(), path)


def legacy(folder: Path) -> Made:
    """Write what torch.save wrote before its archives."""
    module = seeded(lstm)
    state = prefixed("rnn.")(module.state_dict())
    torch.save(state, folder / "model.pt", _use_new_zipfile_serialization=False)
    return Made(folder / "model.pt", autograd_exponents(*module_step(module)))


WRAPPED, SHARDS, OTHERS = "Wrappings", "Shards", "Files that are no state dicts"
TWO_LAYERS = "LSTM (3 inputs, 4 + 4 units, state size 16)"
CASES = [
    Case(
        WRAPPED,
        "`.pth.tar` with `state_dict`, `epoch` and `optimizer`",
        saved(gru, lambda state: {"epoch": 1, "state_dict": state, "optimizer": OPTIMISER}, "model.pth.tar"),
        GRU,
    ),
    Case(WRAPPED, "a checkpoint of PyTorch Lightning", saved(gru, lightning, "last.ckpt"), GRU),
    Case(
        WRAPPED,
        "a state dict under another key, `net`",
        saved(gru, lambda state: {"net": state, "epoch": 3}),
        GRU,
        warning="took its only state dict, under the key 'net'",
    ),
    Case(
        WRAPPED,
        "a state dict in lists and dictionaries",
        saved(gru, lambda state: {"runs": [{"best": state}]}),
        GRU,
        warning="took its only state dict, under the key 'runs/0/best'",
    ),
    Case(
        WRAPPED,
        "a model and its moving average under keys",
        saved(gru, two("model", "ema")),
        refusal="holds 2 state dicts, under the keys 'model', 'ema': choose one with key=, or --key",
    ),
    Case(
        WRAPPED,
        "a model and its moving average under keys, one chosen",
        saved(gru, two("model", "ema")),
        GRU,
        options={"key": "model"},
    ),
    Case(
        WRAPPED,
        "one state dict under the names of two",
        saved(gru, lambda state: {"encoder_state_dict": state, "decoder_state_dict": state}),
        refusal="under the keys 'encoder_state_dict', 'decoder_state_dict': choose one with key=",
    ),
    Case(
        WRAPPED,
        "the state of an optimiser alone",
        saved(gru, lambda state: OPTIMISER),
        refusal="holds no state dict, a mapping of names to tensors",
    ),
    Case(WRAPPED, "PyTorch's format from before its archives", legacy, LSTM),
    Case(
        SHARDS, "`model.safetensors.index.json` and its two shards", sharded("model.safetensors.index.json"), TWO_LAYERS
    ),
    Case(SHARDS, "`pytorch_model.bin` likewise", sharded("model.bin.index.json", ".bin"), TWO_LAYERS),
    Case(
        SHARDS,
        "one shard, the index beside it",
        sharded("model-00001-of-00002.safetensors"),
        refusal="is one of several shards, and what it lacks lies in the others: read",
    ),
    Case(
        SHARDS,
        "one shard, no index",
        sharded("model-00001-of-00002.safetensors", beside=False),
        refusal="is shard 1 of 2, and what it lacks lies in the others: read their index",
    ),
    Case(OTHERS, "quantised tensors in a state dict, multiplied out", in_bytes, GRU),
    Case(
        OTHERS,
        "state dict of a dynamically quantised `nn.LSTM`",
        written(dynamic),
        refusal="holds packed weights of a quantised module (torch.ScriptObject), which code alone can unpack",
    ),
    Case(
        OTHERS,
        "a whole pickled module",
        written(lambda path: torch.save(nn.LSTM(3, 4), path)),
        refusal="holds a whole pickled module",
    ),
    Case(
        OTHERS,
        "a TorchScript archive",
        written(lambda path: torch.jit.save(torch.jit.script(nn.GRU(3, 4)), path)),
        refusal="is a TorchScript archive, a program, and reading it would run its code, so it was not read",
    ),
    Case(
        OTHERS,
        "sparse weights",
        saved(gru, lambda state: state | {"weight_hh_l0": state["weight_hh_l0"].to_sparse()}),
        refusal="holds tensors that are sparse, 'weight_hh_l0': save them dense, tensor.to_dense()",
    ),
    Case(
        OTHERS,
        "weights on the device meta",
        saved(gru, lambda state: {n: t.to("meta") for n, t in state.items()}),
        refusal="without values, of the device meta",
    ),
    Case(
        OTHERS,
        "complex weights",
        saved(gru, lambda state: {n: t.to(torch.complex64) for n, t in state.items()}),
        refusal="weight_ih_l0 holds complex numbers, and PyTorch's recurrent layers have none",
    ),
    Case(
        OTHERS,
        "arrays of NumPy, `.npz`",
        written(
            lambda path: np.savez(path, **{n: t.numpy() for n, t in nn.GRU(3, 4).state_dict().items()}), "model.npz"
        ),
        refusal="save them with safetensors.numpy.save_file",
    ),
    Case(
        OTHERS,
        "a compressed file",
        written(lambda path: path.write_bytes(gzip.compress(b"weights")), "model.pt.gz"),
        refusal="it is compressed or packed: unpack it first",
    ),
    Case(
        OTHERS,
        "a pointer of Git LFS",
        written(lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")),
        refusal="it is a pointer of Git LFS, not the file itself: fetch that with 'git lfs pull'",
    ),
    Case(OTHERS, "an empty file", written(lambda path: path.write_bytes(b"")), refusal="it is empty"),
]
