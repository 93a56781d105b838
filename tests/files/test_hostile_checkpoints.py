"""Small checkpoint files that ask for gigabytes, or hold what PyTorch stumbles over: one line, exit code 2, at once."""

import json
import struct
import time
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

import lyapkit as lk

STATE = nn.LSTM(3, 5).state_dict()
WEIGHT = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))


def _peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def _saved(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    return tmp_path / "a.pt"


def _layer(number):
    return lambda folder: _saved(folder, STATE | {f"weight_hh_l{number}": STATE["weight_hh_l0"]})


def _expanded(folder):
    return _saved(folder, STATE | {"weight_hh_l0": torch.zeros(1, 1).expand(1 << 17, 1 << 15)})


def _bomb(folder):
    """An archive of zeros that unpacks to a thousand times its size."""
    path = _saved(folder, STATE)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data/9", bytes(30 << 20))
    return path


def _header(folder):
    (folder / "a.safetensors").write_bytes(struct.pack("<Q", 90 << 20) + b"{" + b" " * (90 << 20))
    return folder / "a.safetensors"


def _deep(folder):
    header = b'{"a":' * 100_000
    (folder / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return folder / "a.safetensors"


def _claims(folder):
    header = json.dumps({"weight_hh_l0": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}).encode()
    (folder / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return folder / "a.safetensors"


def _nested(folder):
    """Lists in lists, each twice in the next: small, unless one walks through it without a memory."""
    content = [STATE]
    for _ in range(60):
        content = [content, content]
    return _saved(folder, {"a": content, "b": dict(STATE)})


HOSTILE = {
    "layer 20 000 000": (_layer(20_000_000), "layer(s) [1] are missing"),
    "layer 10^12": (_layer(10**12), "layer(s) [1] are missing"),
    "layer 10^5000": (_layer("9" * 5000), ""),
    "expanded": (_expanded, "repeat few values"),
    "archive of zeros": (
        _bomb,
        "more than the 19.1 MiB that a file may: if that is meant, raise the limit with",
    ),
    "huge header": (_header, "its header would take 94371840 bytes"),
    "deep header": (_deep, "not a readable safetensors file"),
    "header that claims terabytes": (_claims, "not a readable safetensors file"),
    "nested lists": (_nested, "holds 2 state dicts"),
    "sparse": (lambda folder: _saved(folder, STATE | {"weight_hh_l0": WEIGHT.to_sparse()}), "sparse, 'weight_hh_l0'"),
    "meta": (lambda folder: _saved(folder, STATE | {"weight_hh_l0": WEIGHT.to("meta")}), "of the device meta"),
    "complex": (lambda folder: _saved(folder, {n: v.to(torch.complex128) for n, v in STATE.items()}), ""),
    "texts": (lambda folder: _saved(folder, {"weight_hh_l0": "a", "weight_ih_l0": "b"}), "holds no state dict"),
}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux, to measure the memory taken")
@pytest.mark.parametrize("command", ["inspect", "spectrum"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_one_line(tmp_path, run, name, command):
    make, words = HOSTILE[name]
    path = make(tmp_path)
    torch.save(torch.zeros(1, 9, 3), tmp_path / "x.pt")
    warnings.simplefilter("default")
    Path("/proc/self/clear_refs").write_text("5")
    before, start = _peak(), time.monotonic()
    arguments = ["inspect", path] if command == "inspect" else ["spectrum", path, "--inputs", tmp_path / "x.pt", "-q"]
    code, out, err = run(*arguments, *(["--max-size", "20MB"] if make is _bomb else []))
    assert time.monotonic() - start < 5
    assert _peak() - before < 300 << 20
    assert "Traceback" not in err
    if command == "inspect" and code == 0:  # it says in its list what is wrong
        assert words in out
        return
    assert code == 2
    assert err.count("\n") == 1
    assert len(err) < 2000
    assert str(path) in err
    assert words in err


@pytest.mark.parametrize("legacy", [False, True])
def test_long_names_of_globals_are_refused_at_once(tmp_path, legacy):
    """PyTorch takes seconds to minutes to refuse them itself."""
    path = tmp_path / "a.pt"
    torch.save(nn.RNN(1, 2).state_dict(), path, _use_new_zipfile_serialization=not legacy)
    name, harmful = b"ctorch._utils\n_rebuild_tensor_v2", b"c" + b"\0" * 30_000 + b"\n_rebuild_tensor_v2"
    if legacy:
        path.write_bytes(path.read_bytes().replace(name, harmful))
    else:
        with zipfile.ZipFile(path) as archive:
            members = {member: archive.read(member) for member in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content.replace(name, harmful) if member.endswith("data.pkl") else content)
    started = time.process_time()
    with pytest.raises(lk.CheckpointError, match=r"names a global of 30\d\d\d characters"):
        lk.load_system(path, nonlinearity="tanh")
    assert time.process_time() - started < 2
