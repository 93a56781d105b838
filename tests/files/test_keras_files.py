"""Damaged and hostile Keras files: one line says what is wrong, nothing is followed, run or allocated."""

import json
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from refusals import assert_refused

import lyapkit as lk

h5py = pytest.importorskip("h5py", reason="h5py is not installed")

CONFIG = {
    "class_name": "Sequential",
    "module": "keras",
    "config": {
        "layers": [
            {"class_name": "InputLayer", "module": "keras.layers", "config": {"name": "input_layer"}},
            {
                "class_name": "LSTM",
                "module": "keras.layers",
                "config": {"name": "lstm", "units": 2, "activation": "tanh", "recurrent_activation": "sigmoid"},
            },
        ]
    },
}


def _weights(path, change=lambda file: None):
    with h5py.File(path, "w") as file:
        for number, shape in enumerate([(3, 8), (2, 8), (8,)]):
            file[f"layers/lstm/cell/vars/{number}"] = np.full(shape, 0.1)
        change(file)
    return path


def _model(folder, config=CONFIG, weights=None, compression=zipfile.ZIP_STORED):
    content = _weights(folder / "w.h5").read_bytes() if weights is None else weights
    with zipfile.ZipFile(folder / "model.keras", "w", compression) as archive:
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        archive.writestr("model.weights.h5", content)
    return folder / "model.keras"


def test_a_sound_file_is_read(tmp_path):
    system = lk.load_system(_model(tmp_path))
    assert str(system) == "LSTM (3 inputs, 2 units, state size 4)"
    assert torch.equal(system.layers[0].weight_ih, torch.full((8, 3), 0.1))


def _with_config(**settings):
    layers = [CONFIG["config"]["layers"][0], {**CONFIG["config"]["layers"][1]}]
    layers[1]["config"] = {**layers[1]["config"], **settings}
    return {**CONFIG, "config": {"layers": layers}}


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ("[" * 100_000, "not JSON"),
        ("{}", "describes no model"),
        ({**CONFIG, "config": {"layers": [5]}}, "not one of Keras"),
        ({**CONFIG, "class_name": "Functional"}, "not one of Keras"),
        (_with_config(units="2"), "number of units is '2'"),
        (_with_config(units=10**12), r"where \(3, 4000000000000\) was expected"),
        (_with_config(activation={"class_name": "function", "config": "mine"}), "activation is 'mine'"),
        (_with_config(use_bias=False), "it has the variables"),
    ],
)
def test_damaged_configurations(tmp_path, config, match):
    assert_refused(_model(tmp_path, config), match)


def test_variables_of_another_layer(tmp_path):
    def named(file):
        file.create_group("layers/lstm/vars").attrs["name"] = "another"

    content = _weights(tmp_path / "named.h5", named).read_bytes()
    assert_refused(_model(tmp_path, weights=content), "holds the variables of layer 'another', not of 'lstm'")


def _external(file):
    file["layers/dense"] = h5py.ExternalLink("/etc/passwd", "/x")


def _elsewhere(file):
    file.create_dataset("layers/dense", shape=(9,), dtype="u1", external=[("/etc/passwd", 0, 9)])


def _huge(file):
    file.create_dataset("layers/dense", shape=(10**6, 10**6), dtype="f8", chunks=(1000, 1000))


def _of_nothing(file):
    file.create_dataset("layers/dense", shape=(20_000, 10_000), dtype="f8", chunks=(1000, 1000), compression="gzip")


def _cycle(file):
    file["layers/again"] = file["layers"]


def _deep(file):
    file.create_group("/".join(["a"] * 500))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_external, "link to elsewhere"),
        (_elsewhere, "lie in another file"),
        (_huge, "raise the limit with --max-size"),
        (_of_nothing, "MiB of arrays but stores"),
        (_cycle, "lies inside itself"),
        (_deep, "nested more than"),
    ],
)
def test_hostile_hdf5(tmp_path, change, match):
    tracemalloc.start()
    assert_refused(_weights(tmp_path / "model.weights.h5", change), match)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_archives_that_unpack_to_far_more(tmp_path):
    zeros = b"\x89HDF\r\n\x1a\n" + bytes(100 * 2**20)
    assert_refused(_model(tmp_path, weights=zeros, compression=zipfile.ZIP_DEFLATED), "would unpack from")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_truncated_and_overwritten(tmp_path, suffix):
    path = _model(tmp_path) if suffix == ".keras" else _weights(tmp_path / "model.h5")
    content = path.read_bytes()
    start = content.index(b"HEAP") - 20
    for damaged in (content[: len(content) // 2], content[:start] + b"\xaa" * 60 + content[start + 60 :]):
        path.write_bytes(damaged)
        assert_refused(path, "not a readable")


def test_a_dense_layer_that_may_lie_in_front_is_no_readout(tmp_path):
    def dense(file):
        file["layers/dense/vars/0"] = np.ones((2, 3))

    path = _weights(tmp_path / "model.weights.h5", dense)
    assert_refused(path, "reads possibly 'dense'")
    with pytest.warns(lk.CheckpointWarning, match="activation functions"):
        lk.load_system(path, prefix="lstm")
