"""Damaged and hostile ONNX files: one line says what is wrong, nothing outside the folder is read or allocated."""

import numpy as np
import pytest
from refusals import assert_refused

import lyapkit as lk

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
helper, numpy_helper = onnx.helper, onnx.numpy_helper


def _model(*more_nodes, **attributes):
    shapes = {"W": (1, 8, 3), "R": (1, 8, 2), "B": (1, 16)}
    node = helper.make_node("LSTM", ["X", "W", "R", "B"], ["Y"], name="core", hidden_size=2, **attributes)
    real = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node, *more_nodes],
        "graph",
        [helper.make_tensor_value_info("X", real, [None, None, 3])],
        [helper.make_tensor_value_info("Y", real, None)],
        [numpy_helper.from_array(np.full(shape, 0.1, "f4"), name) for name, shape in shapes.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def _written(folder, model):
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def test_a_sound_file_is_read(tmp_path):
    assert str(lk.load_system(_written(tmp_path, _model()))) == "LSTM (3 inputs, 2 units, state size 4)"


@pytest.mark.parametrize(
    ("location", "length", "match"),
    [
        ("/etc/passwd", "64", "is no file in its folder"),
        ("../outside.bin", "64", "is no file in its folder"),
        ("link.bin", "64", "symbolic link"),
        ("inside.bin", "99999999999", "raise the limit with --max-size"),
        ("inside.bin", "-4", "cannot be read"),
        ("inside.bin", "many", "cannot be read"),
        ("inside.bin", "8", "is damaged"),
    ],
)
def test_weights_in_other_files(tmp_path, location, length, match):
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (tmp_path / "outside.bin", folder / "inside.bin"):
        path.write_bytes(bytes(100))
    (folder / "link.bin").symlink_to(tmp_path / "outside.bin")
    model = _model()
    stored = model.graph.initializer[1]
    stored.ClearField("raw_data")
    stored.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, "length": length}.items():
        stored.external_data.add(key=key, value=value)
    assert_refused(_written(folder, model), match)


@pytest.mark.parametrize("dims", [[1, 10**9, 10**9], [1, -8, -2], [1, 8, 3]])
def test_shapes_that_are_not_those_of_the_data(tmp_path, dims):
    model = _model()
    model.graph.initializer[1].dims[:] = dims
    assert_refused(_written(tmp_path, model), "tensor 'R' is damaged")


def test_what_is_not_followed_is_refused(tmp_path):
    body = helper.make_graph([helper.make_node("LSTM", ["a", "b", "c"], ["d"])], "body", [], [])
    loop = helper.make_node("Loop", ["n"], ["end"], name="loop", body=body)
    assert_refused(
        _written(tmp_path, _model(loop)), "Loop 'loop': a node Loop, which is not understood, may be recurrent"
    )
    assert_refused(_written(tmp_path, _model(layout=7)), "unknown layout 7")
    assert_refused(_written(tmp_path, _model(own=1)), "has the attribute 'own'")


def test_truncated_and_overwritten(tmp_path):
    content = _model().SerializeToString()
    path = tmp_path / "model.onnx"
    for cut in (3, 40, len(content) // 2, len(content) - 5):
        path.write_bytes(content[:cut])
        assert_refused(path, "not a readable|damaged|no graph")
    path.write_bytes(content[:20] + bytes([255]) * 30 + content[50:])
    assert_refused(path, "not a readable|damaged|no graph")
