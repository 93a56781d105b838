"""Networks of Keras and ONNX as a whole, head and shell included, against the frameworks' own forward pass."""

import functools

import numpy as np
import pytest
import torch
from checkpoint_cases_keras import enlarged, keras_of, quietly
from checkpoint_cases_onnx import N_INPUTS, N_UNITS, exported, one_node
from torch import nn
from typer.testing import CliRunner

import lyapkit as lk
from lyapkit.cli import app


@quietly
def _keras_model(path, *layers):
    """A saved model of these layers, and its outputs for random inputs (2, 7, 3)."""
    keras = keras_of(0)
    model = keras.Sequential([keras.layers.Input((None, 3)), *(layer(keras.layers) for layer in layers)])
    enlarged(model, 0.5, 0.0)
    model.save(path)
    inputs = np.random.default_rng(2).normal(size=(2, 7, 3))
    return inputs, model.predict(inputs, verbose=0)


def test_keras_outputs(tmp_path):
    """Two layers and a head: the whole network's outputs are those of Keras, in its float32."""
    path = tmp_path / "model.keras"
    layers = [lambda L: L.LSTM(5, return_sequences=True), lambda L: L.Dropout(0.5), lambda L: L.LSTM(5)]
    inputs, expected = _keras_model(path, *layers, lambda L: L.Dense(2))
    network = lk.load_network(path).double()
    np.testing.assert_allclose(network(torch.from_numpy(inputs)).detach(), expected, rtol=0, atol=1e-6)
    assert str(network) == "LSTM (3 inputs, 5 + 5 units, state size 20)"


@pytest.mark.parametrize(
    ("layers", "match"),
    [
        (
            [lambda L: L.GRU(4), lambda L: L.Dense(2, activation="softmax")],
            "changes the outputs of 'dense' by its activa",
        ),
        (
            [lambda L: L.GRU(4), lambda L: L.Dense(2), lambda L: L.ReLU()],
            "changes the outputs of 'dense' by other layers",
        ),
        ([lambda L: L.GRU(4)], "no linear layer for its last state on 'gru'"),
        ([lambda L: L.GRU(4, return_sequences=True), lambda L: L.Dense(2)], "no linear layer for its last state"),
        ([lambda L: L.GRU(4, reset_after=False), lambda L: L.Dense(2)], "reset gate comes before the weights"),
        (
            [lambda L: L.GRU(4, return_sequences=True), lambda L: L.GRU(3), lambda L: L.Dense(2)],
            "layers that differ in size",
        ),
        (
            [lambda L: L.GRU(4, return_sequences=True), lambda L: L.LSTM(4), lambda L: L.Dense(2)],
            "layers of different kinds make no module",
        ),
    ],
)
def test_heads_that_a_loss_cannot_be_given(tmp_path, layers, match):
    _keras_model(tmp_path / "model.keras", *layers)
    with pytest.raises(lk.CheckpointError, match=match):
        lk.load_network(tmp_path / "model.keras")


@pytest.mark.parametrize("reads_last_states", [False, True])
def test_onnx_outputs(tmp_path, reads_last_states):
    """An exported network with its head, on outputs[:, -1] or on h_n[-1]: outputs are those of onnxruntime."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    build = functools.partial(nn.RNN, N_INPUTS, N_UNITS, 2, batch_first=True)
    made = exported(build, dtype=torch.float32, reads_last_states=reads_last_states)(tmp_path)
    inputs = np.random.default_rng(2).normal(size=(2, 7, N_INPUTS))
    session = runtime.InferenceSession(made.path, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": inputs.astype("f4")})
    network = lk.load_network(made.path).double()
    np.testing.assert_allclose(network(torch.from_numpy(inputs)).detach(), expected, rtol=0, atol=1e-6)


def test_layers_are_chosen_in_the_order_named(tmp_path):
    """A file of weights does not tell the order of its layers; a list of names does."""
    keras = keras_of(0)
    L = keras.layers
    model = keras.Sequential([L.Input((None, 3)), L.LSTM(4, return_sequences=True), L.LSTM(2)])
    quietly(model.save_weights)(tmp_path / "model.weights.h5")
    with pytest.warns(lk.CheckpointWarning, match="does not tell activation functions"):
        system = lk.load_system(tmp_path / "model.weights.h5", prefix=["lstm", "lstm_1"])
    assert str(system) == "LSTM (3 inputs, 4 + 2 units, state size 12)"
    assert "activation functions" in system.source["assumptions"]
    with pytest.raises(lk.CheckpointError, match="does not fit"):
        lk.load_system(tmp_path / "model.weights.h5", prefix=["lstm_1", "lstm"])
    with pytest.raises(lk.CheckpointError, match="no recurrent layer called 'gru', only 'lstm', 'lstm_1'"):
        lk.load_system(tmp_path / "model.weights.h5", prefix="gru")


@pytest.mark.parametrize("kind", ["keras", "onnx"])
def test_from_the_shell(tmp_path, kind):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(2, 30, 3)))
    if kind == "keras":
        _keras_model(tmp_path / "model.keras", lambda L: L.LSTM(4), lambda L: L.Dense(2))
        roles = ["layers/lstm/cell/vars/0", "recurrent layer 'lstm': kernel", "Dense 'dense', which reads 'lstm'"]
    else:
        one_node("LSTM")(tmp_path)
        roles = ["W of LSTM 'Y'"]
    path, system = tmp_path / f"model.{kind}", "LSTM (3 inputs, 4 units, state size 8)"
    result = CliRunner().invoke(app, ["spectrum", str(path), "--inputs", str(tmp_path / "x.npy"), "-q"])
    assert result.exit_code == 0
    assert f"{system}\n2 trajectories of 30 steps, 8 exponents" in result.output
    result = CliRunner().invoke(app, ["inspect", str(path)])
    assert result.exit_code == 0
    assert f"{system}, which reads the inputs" in result.output
    assert all(role in result.output for role in roles)


def test_equal_matrices_are_said(tmp_path):
    """ONNX lets several nodes read one initialiser; here, an embedding that is the readout, too."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(0)
    shapes = {"E": (7, 4), "W": (1, 12, 4), "R": (1, 12, 4)}
    weights = [numpy_helper.from_array(generator.normal(size=shape), name) for name, shape in shapes.items()]
    weights.append(numpy_helper.from_array(np.array([0]), "zero"))
    nodes = [
        helper.make_node("Gather", ["E", "tokens"], ["X"], name="table"),
        helper.make_node("GRU", ["X", "W", "R"], ["Y", "Y_h"], name="gru", hidden_size=4, linear_before_reset=1),
        helper.make_node("Squeeze", ["Y_h", "zero"], ["h"]),
        helper.make_node("Gemm", ["h", "E"], ["out"], name="head", transB=1),
    ]
    given = helper.make_tensor_value_info("tokens", TensorProto.INT64, ["time", "batch"])
    result = helper.make_tensor_value_info("out", TensorProto.DOUBLE, ["batch", 7])
    onnx.save(helper.make_model(helper.make_graph(nodes, "tied", [given], [result], weights)), tmp_path / "tied.onnx")
    with (
        pytest.warns(lk.CheckpointWarning, match="inputs are the vectors"),
        pytest.warns(lk.CheckpointWarning, match=r"weight of the readout and weight of the embedding 'table' hold the"),
    ):
        lk.load_network(tmp_path / "tied.onnx")


@pytest.mark.parametrize("said", ["tanh", "relu"])
def test_a_nonlinearity_without_meaning_is_refused(tmp_path, said):
    path = tmp_path / "model.keras"
    _keras_model(path, lambda L: L.GRU(4), lambda L: L.Dense(2))
    for load in (lk.load_system, lk.load_network):
        with pytest.raises(lk.CheckpointError, match=rf"not to be chosen, GRU .*: leave out nonlinearity='{said}'"):
            load(path, nonlinearity=said)


def test_a_nonlinearity_is_asked_for_and_contradicted(tmp_path):
    path = tmp_path / "model.keras"
    _keras_model(path, lambda L: L.SimpleRNN(4, activation="relu"), lambda L: L.Dense(2))
    for load in (lk.load_system, lk.load_network):
        with pytest.raises(lk.CheckpointError, match=r"activation function of 'simple_rnn' is relu, not tanh"):
            load(path, nonlinearity="tanh")
        assert "relu RNN" in str(load(path, nonlinearity="relu"))
