"""Rows of the table of checkpoint files: what Keras writes, against Keras' own cells by autograd."""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from checkpoint_table import Case, Made, after_lookup, autograd_exponents

os.environ.setdefault("KERAS_BACKEND", "torch")
GROUP = "Keras"
REFERENCE = "autograd of Keras' own cells"
F64 = {"dtype": "float64"}
POSITIVE = {"scale": 0.2, "lift": 2.0}  # where relu units are active, so that there are exponents
TELLS = "a file of weights does not tell activation functions: those of gates were taken to be Keras' defaults"

Build = Callable[[Any, Any], Any]  # keras, keras.layers -> model


def quietly(function: Callable) -> Callable:
    """Return a function during which warnings of Keras (NumPy's of its arrays) are no errors."""

    @functools.wraps(function)
    def wrapped(*arguments: Any) -> Any:
        with warnings.catch_warnings(action="ignore"):
            return function(*arguments)

    return wrapped


def keras_of(seed: int) -> Any:
    """Return Keras with the torch backend, its random numbers started anew; skip if it is missing."""
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    pytest.importorskip("h5py", reason="h5py is not installed")
    if keras.backend.backend() != "torch":
        pytest.skip("Keras runs on another backend than torch")
    keras.utils.clear_session(free_memory=False)  # which would take most of the time of these tests
    keras.utils.set_random_seed(seed)
    return keras


def enlarged(model: Any, scale: float, lift: float) -> None:
    """Give every weight of a model a random value; `lift` is added to biases."""
    random = np.random.default_rng(1)
    weights = [random.normal(size=w.shape, scale=scale) + lift * (w.ndim == 1) for w in model.get_weights()]
    model.set_weights(weights)


def cells_of(model: Any) -> list[Any]:
    """Return the cells of a model's recurrent layers, in order, those in nested models and forward halves too."""
    cells = []
    for layer in model.layers:
        if hasattr(layer, "layers"):
            cells += cells_of(layer)
        elif hasattr(layer, "forward_layer"):
            cells.append(layer.forward_layer.cell)
        elif hasattr(layer, "cell"):
            cells.append(layer.cell)
    return cells


def cell_step(cells: list[Any]) -> tuple[Callable, int]:
    """Return a step of Keras' own cells, one upon the other, on lyapkit's flat state; and its size.

    Keras' products of float64 matrices are rounded to float32 with the torch backend: they are replaced by torch's own.
    """
    has_cell = ["LSTM" in type(cell).__name__ for cell in cells]
    parts_of = [(index, part) for part in range(2) for index in range(len(cells)) if not part or has_cell[index]]
    if len(set(has_cell)) > 1:  # as of systems in a row: the state of each in one piece
        parts_of.sort()
    sizes = [cells[index].units for index, _ in parts_of]
    dtype = getattr(torch, cells[0].compute_dtype)
    numerics = importlib.import_module("keras.src.backend").numpy  # of the backend in use

    @quietly
    def step(state: torch.Tensor, input: torch.Tensor) -> torch.Tensor:
        parts = dict(zip(parts_of, (part[None].to(dtype) for part in state.split(sizes)), strict=True))
        signal = input[None].to(dtype)
        for index, cell in enumerate(cells):
            own = [(index, part) for part in range(1 + has_cell[index])]
            with mock.patch.object(numerics, "matmul", torch.matmul):
                signal, ends = cell(signal, [parts[one] for one in own])
            parts |= dict(zip(own, ends, strict=True))
        return torch.cat([parts[one][0] for one in parts_of]).double()

    return step, sum(sizes)


def saved(
    build: Build,
    name: str = "model.keras",
    chosen: slice = slice(None),
    n_inputs: int = 3,
    *,
    is_read: bool = True,
    takes_tokens: bool = False,
    scale: float = 0.5,
    lift: float = 0.0,
) -> Callable:
    """Return what saves a model, the whole or its weights, and refers to its (chosen) cells.

    With `takes_tokens`, its first layer is an embedding, and the inputs are tokens.
    """

    @quietly
    def make(folder: Path) -> Made:
        keras = keras_of(0)
        model, path = build(keras, keras.layers), folder / name
        enlarged(model, scale, lift)
        (model.save_weights if name.endswith(".weights.h5") else model.save)(path)
        if not is_read:
            return Made(path)
        step, size = cell_step(cells_of(model)[chosen])
        if takes_tokens:
            table = torch.tensor(model.layers[0].get_weights()[0])
            return Made(path, autograd_exponents(after_lookup(step, table), size), n_tokens=len(table))
        return Made(path, autograd_exponents(step, size), n_inputs)

    return make


def sequential(*layers: Callable[[Any], Any], n_inputs: int | None = 3) -> Build:
    """Return what builds a Sequential model of these layers."""

    def build(keras: Any, L: Any) -> Any:
        first = [L.Input((None, n_inputs))] if n_inputs else [L.Input((None,))]
        return keras.Sequential([*first, *(layer(L) for layer in layers)])

    return build


def functional(keras: Any, L: Any) -> Any:
    """A functional model with two outputs."""
    inputs = L.Input((None, 3))
    states, h, _ = L.LSTM(4, return_sequences=True, return_state=True, **F64)(L.Dropout(0.2)(inputs))
    return keras.Model(inputs, [L.Dense(2, **F64)(h), states])


def nested(keras: Any, L: Any) -> Any:
    """Models inside a model, with layers of the same names and classes in each."""
    lower = keras.Sequential([L.Input((None, 3)), L.GRU(5, return_sequences=True, name="same", **F64)], name="lower")
    inputs = L.Input((None, 5))
    upper = keras.Model(inputs, L.GRU(4, name="same", **F64)(inputs), name="upper")
    return keras.Sequential([L.Input((None, 3)), lower, upper, L.Dense(2, **F64)])


def seq2seq(keras: Any, L: Any) -> Any:
    """A decoder that starts from an encoder's states."""
    first, second = L.Input((None, 3)), L.Input((None, 3))
    _, h, c = L.LSTM(4, return_state=True)(first)
    return keras.Model([first, second], L.LSTM(4, return_sequences=True)(second, initial_state=[h, c]))


def monte_carlo(keras: Any, L: Any) -> Any:
    """Return a model whose dropout is on when it is used, too."""
    inputs = keras.Input((None, 3))
    return keras.Model(inputs, L.LSTM(4)(L.Dropout(0.5)(inputs, training=True)))


def residual(keras: Any, L: Any) -> Any:
    """A sum of two layers in front of a third."""
    inputs = L.Input((None, 3))
    below = L.GRU(4, return_sequences=True)(inputs)
    middle = L.GRU(4, return_sequences=True)(below)
    return keras.Model(inputs, L.GRU(4)(L.Add()([below, middle])))


def shared(keras: Any, L: Any) -> Any:
    """One layer that is used twice."""
    inputs, layer = L.Input((None, 4)), L.GRU(4, return_sequences=True)
    return keras.Model(inputs, layer(layer(inputs)))


def subclassed(keras: Any, L: Any) -> Any:
    """A model of its author's own class."""

    @keras.saving.register_keras_serializable("own")
    class OwnModel(keras.Model):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.core, self.head = L.LSTM(4, **F64), L.Dense(2, **F64)

        def call(self, inputs: Any) -> Any:
            return self.head(self.core(2 * inputs))

    model = OwnModel()
    model(np.zeros((1, 2, 3)))
    return model


def own_layer(keras: Any, L: Any) -> Any:
    """A subclass of Keras' LSTM, registered by its author."""

    @keras.saving.register_keras_serializable("own")
    class LSTM(L.LSTM):
        pass

    return keras.Sequential([L.Input((None, 3)), LSTM(4)])


def as_keras_2(path: Path, class_name: str, layers: list[dict], weights: dict[str, dict[str, np.ndarray]]) -> None:
    """Write a model as tf.keras 2 did: names of weights end in :0, text is bytes, inbound nodes are lists of lists."""
    import json

    import h5py

    config = {"class_name": class_name, "config": {"name": "model", "layers": layers}}
    if class_name != "Sequential":
        config["config"] |= {"input_layers": [["input_1", 0, 0]], "output_layers": [["dense", 0, 0]]}
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config).encode()
        file.attrs["keras_version"], file.attrs["backend"] = b"2.9.0", b"tensorflow"
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for name in weights]
        for layer, arrays in weights.items():
            group = root.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, values in arrays.items():
                group.create_dataset(name, data=values)


@quietly
def keras_2(folder: Path) -> Made:
    """A functional GRU as tf.keras 2.9 saved it."""
    keras = keras_of(0)
    L = keras.layers
    model = keras.Sequential([L.Input((None, 3)), L.GRU(4, name="gru", **F64), L.Dense(2, name="dense", **F64)])
    enlarged(model, 0.5, 0.0)
    gru, dense = model.layers
    names = [f"gru/gru_cell/{name}:0" for name in ("kernel", "recurrent_kernel", "bias")]
    layers = [
        {"class_name": "InputLayer", "config": {"name": "input_1"}, "name": "input_1", "inbound_nodes": []},
        {
            "class_name": "GRU",
            "config": {"name": "gru", "units": 4, "activation": "tanh", "recurrent_activation": "sigmoid"}
            | {"use_bias": True, "reset_after": True, "time_major": False, "return_sequences": False},
            "name": "gru",
            "inbound_nodes": [[["input_1", 0, 0, {}]]],
        },
        {
            "class_name": "Dense",
            "config": {"name": "dense", "units": 2, "activation": "softmax"},
            "name": "dense",
            "inbound_nodes": [[["gru", 0, 0, {}]]],
        },
    ]
    weights = {
        "input_1": {},
        "gru": dict(zip(names, gru.get_weights(), strict=True)),
        "dense": dict(zip(["dense/kernel:0", "dense/bias:0"], dense.get_weights(), strict=True)),
    }
    as_keras_2(folder / "model.h5", "Functional", layers, weights)
    return Made(folder / "model.h5", autograd_exponents(*cell_step(cells_of(model))))


@quietly
def keras_2_default(folder: Path) -> Made:
    """An LSTM of early Keras, whose gates were piecewise linear."""
    keras_of(0)
    config = {"name": "lstm_1", "units": 2, "activation": "tanh", "recurrent_activation": "hard_sigmoid"}
    arrays = {"kernel": (3, 8), "recurrent_kernel": (2, 8), "bias": (8,)}
    weights = {"lstm_1": {f"lstm_1/{name}:0": np.ones(shape) for name, shape in arrays.items()}}
    as_keras_2(folder / "model.h5", "Sequential", [{"class_name": "LSTM", "config": config}], weights)
    return Made(folder / "model.h5")


def row(file: str, make: Callable, system: str = "", **options: Any) -> Case:
    """Return a row of this group."""
    return Case(GROUP, file, make, system, reference=REFERENCE, **options)


def refused(file: str, build: Build, refusal: str, name: str = "model.keras", **options: Any) -> Case:
    """Return a row of a model that is refused."""
    return Case(GROUP, file, saved(build, name, is_read=False), refusal=refusal, options=options)


def _stack(L: Any) -> Any:
    return L.LSTM(5, return_sequences=True, **F64)


CASES = [
    row(
        "`.keras`: `SimpleRNN`",
        saved(sequential(lambda L: L.SimpleRNN(4, **F64))),
        "tanh RNN (3 inputs, 4 units, state size 4)",
    ),
    row(
        "`.keras`: `SimpleRNN(activation='relu')`, two layers of different widths",
        saved(
            sequential(
                lambda L: L.SimpleRNN(5, activation="relu", return_sequences=True, **F64),
                lambda L: L.SimpleRNN(3, activation="relu", **F64),
            ),
            **POSITIVE,
        ),
        "relu RNN (3 inputs, 5 + 3 units, state size 8)",
    ),
    row(
        "`.keras`: `GRU`, and a `Dense` head",
        saved(sequential(lambda L: L.GRU(4, **F64), lambda L: L.Dense(2, **F64))),
        "GRU (3 inputs, 4 units, state size 4)",
    ),
    row(
        "`.keras`: `GRU(reset_after=False)`",
        saved(sequential(lambda L: L.GRU(4, reset_after=False, **F64))),
        "GRU (reset before weights) (3 inputs, 4 units, state size 4)",
    ),
    row(
        "`.keras`: `LSTM` in float32",
        saved(sequential(lambda L: L.LSTM(4))),
        "LSTM (3 inputs, 4 units, state size 8)",
        atol=2e-5,
    ),
    row(
        "`.keras`: `LSTM(use_bias=False)`, two layers with `Dropout` between them",
        saved(
            sequential(
                lambda L: L.LSTM(5, use_bias=False, return_sequences=True, **F64),
                lambda L: L.Dropout(0.3),
                lambda L: L.LSTM(4, use_bias=False, **F64),
            )
        ),
        "LSTM (3 inputs, 5 + 4 units, state size 18)",
    ),
    row(
        "`.keras`: functional model, `LSTM` with `return_state`",
        saved(functional),
        "LSTM (3 inputs, 4 units, state size 8)",
    ),
    row("`.keras`: models in a model", saved(nested), "GRU (3 inputs, 5 + 4 units, state size 9)"),
    row(
        "`.keras`: `RNN(LSTMCell)`",
        saved(sequential(lambda L: L.RNN(L.LSTMCell(4, **F64), **F64))),
        "LSTM (3 inputs, 4 units, state size 8)",
    ),
    row(
        "`.keras`: `Embedding` in front",
        saved(sequential(lambda L: L.Embedding(9, 3, **F64), lambda L: L.GRU(4, **F64), n_inputs=None)),
        "GRU (3 inputs, 4 units, state size 4)",
        warning="inputs are the vectors that it makes of tokens",
    ),
    row(
        "`.keras`: `Embedding` in front, inputs are tokens",
        saved(
            sequential(lambda L: L.Embedding(9, 3, **F64), lambda L: L.GRU(4, **F64), n_inputs=None), takes_tokens=True
        ),
        "embedding of 9 tokens → GRU (3 inputs, 4 units, state size 4) (state size 4)",
        options={"embedding": "embedding"},
    ),
    row(
        "`.keras`: `Dense` between `Embedding` and `LSTM`, inputs are tokens",
        saved(
            sequential(lambda L: L.Embedding(9, 3), lambda L: L.Dense(3), lambda L: L.LSTM(4), n_inputs=None),
            is_read=False,
        ),
        refusal="is no plain stack: LSTM 'lstm' does not read the inputs directly but through Dense 'dense'",
        options={"embedding": "embedding"},
    ),
    row(
        "`.weights.h5`: `Embedding` and `LSTM`, inputs are tokens",
        saved(
            sequential(lambda L: L.Embedding(9, 3, **F64), lambda L: L.LSTM(4, **F64), n_inputs=None),
            "model.weights.h5",
            takes_tokens=True,
        ),
        "embedding of 9 tokens → LSTM (3 inputs, 4 units, state size 8) (state size 8)",
        options={"embedding": "layers/embedding/vars/0"},
        warning=TELLS,
    ),
    row(
        "`.keras`: `Dense` between two `LSTM`, one chosen",
        saved(
            sequential(_stack, lambda L: L.Dense(5, **F64), lambda L: L.LSTM(4, **F64)),
            chosen=slice(1, 2),
            n_inputs=5,
        ),
        "LSTM (5 inputs, 4 units, state size 8)",
        options={"prefix": "lstm_1"},
    ),
    row(
        "`.keras`: `Bidirectional(GRU)`, its forward half chosen",
        saved(sequential(lambda L: L.Bidirectional(L.GRU(4, **F64), **F64))),
        "GRU (3 inputs, 4 units, state size 4)",
        options={"prefix": "bidirectional/forward_gru"},
    ),
    row(
        "`.h5` of Keras 3: two `LSTM`, the lower one in a model of its own",
        saved(
            lambda keras, L: keras.Sequential(
                [L.Input((None, 3)), keras.Sequential([L.Input((None, 3)), _stack(L)]), L.LSTM(4, **F64)]
            ),
            "model.h5",
        ),
        "LSTM (3 inputs, 5 + 4 units, state size 18)",
    ),
    row(
        "`.keras`: `LSTM` on `GRU(reset_after=False)` on `GRU`",
        saved(
            sequential(
                lambda L: L.GRU(4, return_sequences=True, **F64),
                lambda L: L.GRU(3, reset_after=False, return_sequences=True, **F64),
                lambda L: L.LSTM(2, **F64),
            )
        ),
        "GRU (3 inputs, 4 units, state size 4) → GRU (reset before weights) (4 inputs, 3 units, state size 3) → "
        "LSTM (3 inputs, 2 units, state size 4) (state size 11)",
    ),
    row("`.h5` of Keras 2: functional `GRU`", keras_2, "GRU (3 inputs, 4 units, state size 4)"),
    row(
        "`.weights.h5`: `LSTM` and `Dense`",
        saved(sequential(lambda L: L.LSTM(4, **F64), lambda L: L.Dense(2, **F64)), "model.weights.h5"),
        "LSTM (3 inputs, 4 units, state size 8)",
        warning=TELLS,
    ),
    row(
        "`.weights.h5`: `GRU(reset_after=False)`, known by the shape of its bias",
        saved(sequential(lambda L: L.GRU(4, reset_after=False, **F64)), "model.weights.h5"),
        "GRU (reset before weights) (3 inputs, 4 units, state size 4)",
        warning=TELLS,
    ),
    row(
        "`.weights.h5`: `SimpleRNN`",
        saved(sequential(lambda L: L.SimpleRNN(4, activation="relu", **F64)), "model.weights.h5", **POSITIVE),
        "relu RNN (3 inputs, 4 units, state size 4)",
        options={"nonlinearity": "relu"},
    ),
    row(
        "`.weights.h5` of a model of its author's own class",
        saved(subclassed, "model.weights.h5"),
        "LSTM (3 inputs, 4 units, state size 8)",
        warning=TELLS,
    ),
    refused(
        "`.weights.h5`: `SimpleRNN` (tanh or relu is asked for)",
        sequential(lambda L: L.SimpleRNN(4)),
        "say nonlinearity='tanh' or 'relu'",
        "model.weights.h5",
    ),
    refused(
        "`.weights.h5`: `GRU(use_bias=False)`",
        sequential(lambda L: L.GRU(4, use_bias=False)),
        "without a bias, whose shape would tell, its form (reset_after) is not known",
        "model.weights.h5",
    ),
    refused(
        "`.weights.h5`: two `LSTM`",
        sequential(lambda L: L.LSTM(4, return_sequences=True), lambda L: L.LSTM(4)),
        "lie side by side in the file, which does not tell what lies between them",
        "model.weights.h5",
    ),
    refused(
        "`.weights.h5`: `Masking` and `LSTM`",
        sequential(lambda L: L.Masking(), lambda L: L.LSTM(4)),
        "reads possibly 'masking'",
        "model.weights.h5",
    ),
    refused(
        "`.keras`: `LSTM(recurrent_activation='hard_sigmoid')`",
        sequential(lambda L: L.LSTM(4, recurrent_activation="hard_sigmoid")),
        "its recurrent_activation is 'hard_sigmoid', where 'sigmoid' is understood",
    ),
    Case(GROUP, "`.h5` of Keras 1 and early 2 (hard_sigmoid)", keras_2_default, refusal="its recurrent_activation is"),
    refused(
        "`.keras`: `GRU(activation='relu')`",
        sequential(lambda L: L.GRU(4, activation="relu")),
        "its activation is 'relu', where 'tanh' is understood",
    ),
    refused(
        "`.keras`: `SimpleRNN(activation='linear')`",
        sequential(lambda L: L.SimpleRNN(4, activation="linear")),
        "its activation is 'linear', where 'tanh' or 'relu' is understood",
    ),
    refused(
        "`.keras`: `LSTM(go_backwards=True)`",
        sequential(lambda L: L.LSTM(4, go_backwards=True)),
        "it reads the sequence from its end (go_backwards)",
    ),
    refused(
        "`.keras`: `Bidirectional(LSTM)`",
        sequential(lambda L: L.Bidirectional(L.LSTM(4))),
        "its other half reads the sequence from its end",
    ),
    refused(
        "`.keras`: `LayerNormalization` between two `LSTM`",
        sequential(_stack, lambda L: L.LayerNormalization(), lambda L: L.LSTM(4)),
        "does not read 'lstm' directly but through LayerNormalization 'layer_normalization'",
    ),
    refused(
        "`.keras`: `Lambda` between two `GRU`",
        sequential(lambda L: L.GRU(4, return_sequences=True), lambda L: L.Lambda(_half, (None, 4)), lambda L: L.GRU(4)),
        "does not read 'gru' directly but through Lambda 'lambda'",
    ),
    refused(
        "`.keras`: `BatchNormalization` in front",
        sequential(lambda L: L.BatchNormalization(), lambda L: L.LSTM(4)),
        "does not read the inputs directly but through BatchNormalization 'batch_normalization'",
    ),
    refused(
        "`.keras`: `Masking` in front",
        sequential(lambda L: L.Masking(), lambda L: L.LSTM(4)),
        "Masking 'masking', a mask",
    ),
    refused(
        "`.keras`: `Embedding(mask_zero=True)`",
        sequential(lambda L: L.Embedding(9, 3, mask_zero=True), lambda L: L.LSTM(4), n_inputs=None),
        "Embedding 'embedding', a mask",
    ),
    refused("`.keras`: `Dropout` called with `training=True`", monte_carlo, "Dropout 'dropout' in training mode"),
    refused("`.keras`: two layers and their sum under a third", residual, "reads 'gru', not 'gru_1'"),
    refused("`.keras`: a layer used twice", shared, "through being one of its several uses"),
    refused(
        "`.keras`: a decoder that starts from an encoder's states", seq2seq, "reads the network's inputs, not 'lstm'"
    ),
    refused(
        "`.keras`: `ConvLSTM1D`",
        lambda keras, L: keras.Sequential([L.Input((None, 6, 2)), L.ConvLSTM1D(3, 2)]),
        "a kind of recurrent layer that is not understood",
    ),
    refused(
        "`.keras`: `StackedRNNCells`",
        sequential(lambda L: L.RNN(L.StackedRNNCells([L.LSTMCell(4), L.LSTMCell(4)]))),
        "its cell is a StackedRNNCells, which is not understood",
    ),
    refused("`.keras`: a subclass of `LSTM`", own_layer, "of a class of its author's own"),
    refused(
        "`.keras`: a model of its author's own class",
        subclassed,
        "the model is a OwnModel, a class of its author's own, whose code is not in the file",
    ),
]


def _half(values: Any) -> Any:
    return values / 2
