"""Files of every kind that were made to harm, or lead elsewhere: one line, exit code 2, in little time and memory."""

import io
import json
import os
import struct
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import lyapkit as lk
from lyapkit.files import tensors

STATE = nn.LSTM(3, 5).state_dict()
SHAPES = [(3, 20), (5, 20), (20,)]  # of Keras' LSTM


def _central(path, offset, value):
    """Write a number into every entry of an archive's directory."""
    content = bytearray(path.read_bytes())
    entry = content.find(b"PK\x01\x02")
    while entry >= 0:
        struct.pack_into("<I", content, entry + offset, value)
        entry = content.find(b"PK\x01\x02", entry + 1)
    path.write_bytes(content)
    return path


def _torch(folder, content=STATE):
    torch.save(content, folder / "a.pt")
    return folder / "a.pt"


def _many_members(folder):
    with zipfile.ZipFile(folder / "a.pt", "w") as archive:
        for number in range(501):
            archive.writestr(f"a/{number}", b"")
    return folder / "a.pt"


def _nested_dictionaries(folder):
    path = _torch(folder)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    deep = b"\x80\x02" + b"}X\x01\x00\x00\x00a" * 50_000 + b"}" + b"s" * 50_000 + b"."
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, deep if name.endswith("data.pkl") else content)
    return path


def _safetensors(folder, header):
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(1000))
    return folder / "a.safetensors"


def _overlapping(folder):
    entries = {n: {"dtype": "F32", "shape": [*t.shape], "data_offsets": [0, 4 * t.numel()]} for n, t in STATE.items()}
    return _safetensors(folder, entries)


def _many_tensors(folder):
    one = '"{}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    return _safetensors(folder, ("{" + ",".join(map(one.format, range(60_000))) + "}").encode())


def _index(folder, target):
    (folder / "a.index.json").write_text(json.dumps({"weight_map": {"weight_hh_l0": str(target)}}))
    return folder / "a.index.json"


def _fifo(path):
    os.mkfifo(path)
    return path


def _index_of_lists(folder):
    (folder / "a.index.json").write_bytes(b'{"weight_map":[' + b"[]," * (4 << 20) + b"0]}")
    return folder / "a.index.json"


def _loop(folder):
    (folder / "a.pt").symlink_to(folder / "b.pt")
    (folder / "b.pt").symlink_to(folder / "a.pt")
    return folder / "a.pt"


def _onnx(folder, weights, nodes=(), reads="X"):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    helper = onnx.helper
    nodes = [*nodes, helper.make_node("LSTM", [reads, "W", "R"], ["Y"], name="lstm", hidden_size=5)]
    given, result = (helper.make_tensor_value_info(name, 1, None) for name in "XY")
    graph = helper.make_graph(nodes, "g", [given], [result], weights)
    (folder / "a.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    return folder / "a.onnx"


def _outside_onnx(folder, location, **more):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    weights = []
    for name, shape in {"W": (1, 20, 3), "R": (1, 20, 5)}.items():
        tensor = onnx.TensorProto(name=name, data_type=1, dims=shape, data_location=onnx.TensorProto.EXTERNAL)
        for key, value in {"location": location, **more}.items():
            tensor.external_data.add(key=key, value=str(value))
        weights.append(tensor)
    return _onnx(folder, weights)


def _linked_onnx(folder):
    (folder / "inside").symlink_to(folder.parent)
    return _outside_onnx(folder, "inside/secret.bin", length=240)


def _long_onnx(folder):
    """Signals that went through very many nodes do not remember all of them."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    weights = [
        onnx.numpy_helper.from_array(np.ones(shape, np.float32), name)
        for name, shape in {"W": (1, 20, 3), "R": (1, 20, 5)}.items()
    ]
    nodes = [onnx.helper.make_node("Relu", [f"X{k}" if k else "X"], [f"X{k + 1}"], name=f"r{k}") for k in range(5_000)]
    return _onnx(folder, weights, nodes, "X5000")


def _keras(folder, config):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        for number, shape in enumerate(SHAPES):
            file[f"layers/lstm/cell/vars/{number}"] = np.ones(shape, np.float32)
    with zipfile.ZipFile(folder / "a.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", config if isinstance(config, bytes) else json.dumps(config))
        archive.writestr("model.weights.h5", weights.getvalue())
    return folder / "a.keras"


def _read(name):
    """How Keras writes that a layer reads another one."""
    return {"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}}]}


def _model(name, layers, last):
    layers = [{"class_name": "InputLayer", "name": "in", "config": {}, "inbound_nodes": []}, *layers]
    inner = {"name": name, "layers": layers, "input_layers": [["in", 0, 0]], "output_layers": [[last, 0, 0]]}
    return {"class_name": "Functional", "name": name, "config": inner, "inbound_nodes": 8 * [_read("in")]}


def _relu(name, reads):
    return {"class_name": "ReLU", "name": name, "config": {"name": name}, "inbound_nodes": [_read(reads)]}


def _models_in_models(folder):
    """Each is used eight times in the next."""
    model = _model("m0", [_relu("r", "in")], "r")
    for depth in range(1, 14):
        model = _model(f"m{depth}", [model], f"m{depth - 1}")
    return _keras(folder, model)


def _circle(folder):
    return _keras(folder, _model("m", [_relu("a", "b"), _relu("b", "a")], "b"))


def _hdf5(folder, fill):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(folder.parent / "secret.h5", "w") as file:
        file["secret"] = np.ones(SHAPES[0], np.float32)
    with h5py.File(folder / "a.weights.h5", "w") as file:
        fill(h5py, file, folder.parent)
        file["layers/lstm/cell/vars/1"] = np.ones(SHAPES[1], np.float32)
    return folder / "a.weights.h5"


def _external(h5py, file, outside, name="layers/lstm/cell/vars/0", shape=SHAPES[0]):
    file.create_dataset(name, shape, "f4", external=[(str(outside / "secret.bin"), 0, 4 * int(np.prod(shape)))])


def _virtual(h5py, file, outside, name="layers/lstm/cell/vars/0", shape=SHAPES[0]):
    layout = h5py.VirtualLayout(shape, "f4")
    layout[:] = h5py.VirtualSource(str(outside / "secret.h5"), "secret", shape)
    file.create_virtual_dataset(name, layout)


def _elsewhere(h5py, file, outside):
    file["other"] = h5py.ExternalLink(str(outside / "secret.h5"), "/secret")


NO_SHARD = "which is no shard but a file of the kind index of shards"
CHECKPOINTS = {
    "members of 4 GiB": (lambda folder: _central(_torch(folder), 24, 0xFFFFFFF0), "would take 40 GiB of memory"),
    "members elsewhere": (lambda folder: _central(_torch(folder), 42, 0x7FFFFFFF), "Truncated file header"),
    "501 members": (_many_members, "an archive of 501 files, more than the 500"),
    "dictionaries 50 000 deep": (_nested_dictionaries, "in one another, more than 100 deep"),
    "overlapping offsets": (_overlapping, "invalid offset for tensor"),
    "60 000 tensors": (_many_tensors, "it holds 60000 tensors, more than the 50000"),
    "a header of 2^63": (lambda folder: _safetensors(folder, b"{").parent / "h", "its header would take"),
    "an index of itself": (lambda folder: _index(folder, "a.index.json"), NO_SHARD),
    "an index of a file elsewhere": (lambda folder: _index(folder, folder.parent / "secret.bin"), "outside its folder"),
    "an index of a pipe": (lambda folder: _index(folder, _fifo(folder / "p").name), "that are not beside it: 'p'"),
    "an index of a million lists": (_index_of_lists, "more than 1000 lists and mappings"),
    "a pipe": (lambda folder: _fifo(folder / "a.pt"), "is not a file"),
    "a device": (lambda folder: Path("/dev/zero"), "is not a file"),
    "links in a circle": (_loop, "does not exist"),
    "ONNX, weights above": (lambda folder: _outside_onnx(folder, "../secret.bin"), "is no file in its folder"),
    "ONNX, weights elsewhere": (lambda folder: _outside_onnx(folder, folder.parent / "secret.bin"), "is no file in"),
    "ONNX, weights behind a link": (_linked_onnx, "the values of 'W' cannot be read"),
    "ONNX, 5000 nodes in a row": (_long_onnx, "Relu 'r11', others"),
    "Keras, models in models": (_models_in_models, "its layers are called more than 3000 times"),
    "Keras, a circle": (_circle, "the layers read one another in a circle"),
    "Keras, a description of 9 MB": (lambda folder: _keras(folder, b"[" + b"[]," * (3 << 20) + b"0]"), "no real one"),
    "HDF5, values elsewhere": (lambda folder: _hdf5(folder, _external), "lie in another file, which is not followed"),
    "HDF5, a virtual dataset": (lambda folder: _hdf5(folder, _virtual), "lie in another file, which is not followed"),
    "HDF5, a link elsewhere": (lambda folder: _hdf5(folder, _elsewhere), "(ExternalLink), which is not followed"),
}


def _peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


@pytest.fixture
def folder(tmp_path):
    """A folder; beside it lies what nothing in it may lead to."""
    (tmp_path / "secret.bin").write_bytes(np.ones(1000, np.float32).tobytes())
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def _is_refused(run, words, *arguments):
    Path("/proc/self/clear_refs").write_text("5")
    before, start = _peak(), time.process_time()
    code, out, err = run(*arguments)
    assert time.process_time() - start < 5
    assert _peak() - before < 300 << 20
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "Traceback" not in err
    assert len(err) < 2000
    assert words in err


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux, to measure the memory taken")
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints(folder, run, name, monkeypatch):
    monkeypatch.setattr(tensors, "MOST_MEMBERS", 500)
    make, words = CHECKPOINTS[name]
    path = make(folder)
    if path.name == "h":
        path.write_bytes(struct.pack("<Q", 1 << 63) + b"{" + bytes(99))
    torch.save(torch.zeros(1, 9, 3), folder / "x.pt")
    _is_refused(run, words, "spectrum", path, "--inputs", folder / "x.pt", "-q")


def _netcdf(folder, fill):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(folder.parent / "secret.h5", "w") as file:
        file["secret"] = np.ones((1, 20, 3), np.float32)
    with h5py.File(folder / "a.nc", "w") as file:
        for name, size in {"trajectory": 1, "time": 20, "feature": 3}.items():
            file.create_dataset(name, (size,), "f4").make_scale(name)
        fill(h5py, file, folder.parent, "inputs", (1, 20, 3))
        for axis, name in enumerate(("trajectory", "time", "feature")):
            file["inputs"].dims[axis].attach_scale(file[name])
    return folder / "a.nc"


def _claims(folder):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 34, 20, 3)})
    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        archive.writestr("inputs.npy", header.getvalue() + bytes(1000))
    return folder / "a.npz"


def _many_dimensions(folder):
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (" + b"1," * 4000 + b")}"
    (folder / "a.npy").write_bytes(b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header)
    return folder / "a.npy"


def _text(folder, content):
    (folder / "a.csv").write_bytes(content)
    return folder / "a.csv"


INPUTS = {
    "netCDF, values elsewhere": (lambda folder: _netcdf(folder, _external), "is not a readable .nc file"),
    "netCDF, a virtual dataset": (
        lambda folder: _netcdf(folder, _virtual),
        "(a virtual dataset), which are not followed",
    ),
    "an array that claims terabytes": (_claims, "is not a readable .npz file"),
    "an array of 4000 dimensions": (_many_dimensions, "its array has 4000 dimensions"),
    "a pipe of an array": (lambda folder: _fifo(folder / "a.npy"), "is not a file"),
    "a quote without end": (lambda folder: _text(folder, b'"' + b"1,\n" * 100_000), "field larger than field limit"),
    "zeros in a table": (lambda folder: _text(folder, b"a,b,c\n" + bytes(9999)), "its row 1 has 1 columns"),
    "a table of 50 000 columns": (lambda folder: _text(folder, (b"1,5,7,2," * 12_500 + b"3\n") * 2), "50001 features"),
}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux, to measure the memory taken")
@pytest.mark.parametrize("name", INPUTS)
def test_inputs(folder, run, name):
    make, words = INPUTS[name]
    _is_refused(run, words, "spectrum", _torch(folder), "--inputs", make(folder), "-q")


def test_names_do_not_act_on_the_terminal(tmp_path, run):
    warnings.simplefilter("default")
    torch.save(STATE | {"\x1b[2J\n.weight": torch.zeros(5, 5)}, tmp_path / "a.pt")
    code, out, err = run("inspect", tmp_path / "a.pt")
    assert (code, err) == (0, "")
    assert "\\x1b[2J" in out
    assert "\x1b" not in out
    code, _, err = run("spectrum", tmp_path / "a.pt", "--steps", 9, "-q")
    assert (code, err.count("\n")) == (2, 1)
    assert "\x1b" not in err


def test_a_table_of_many_trajectories_is_read_at_once(tmp_path):
    (tmp_path / "a.csv").write_text("trajectory,a\n" + "".join(f"{k % 30_000},{k % 7}.5\n" for k in range(60_000)))
    start = time.process_time()
    assert lk.read_inputs(tmp_path / "a.csv").shape == (30_000, 2, 1)
    assert time.process_time() - start < 5
