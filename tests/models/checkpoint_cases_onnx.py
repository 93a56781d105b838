"""Rows of the table of checkpoint files: ONNX models, against onnxruntime, or the PyTorch module that was exported."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_cases import module_step, seeded
from checkpoint_table import Case, Made, after_lookup, autograd_exponents
from torch import nn

GROUP = "ONNX"
RUNTIME = "differences of onnxruntime's outputs (float32)"
N_INPUTS, N_UNITS = 3, 4
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def weights_of(kind: str, n_inputs: int = N_INPUTS, seed: int = 0, scale: float = 0.6, lift: float = 0.0) -> dict:
    """Return random W, R and B of a node."""
    random, rows = np.random.default_rng(seed), GATES[kind] * N_UNITS
    shapes = {"W": (1, rows, n_inputs), "R": (1, rows, N_UNITS), "B": (1, 2 * rows)}
    return {
        name: (random.normal(size=shape) * scale + lift * (name == "B")).astype("f4") for name, shape in shapes.items()
    }


def model_of(nodes: list, stored: Mapping[str, np.ndarray], inputs: Mapping[str, list], outputs: list[str]) -> Any:
    """Return an ONNX model of float32 inputs with these shapes."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    helper, real = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, real, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, real, None) for name in outputs],
        [onnx.numpy_helper.from_array(np.asarray(values), name) for name, values in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def node(kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> Any:
    """Return an ONNX node."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    return onnx.helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes)


def runtime_exponents(kind: str, weights: Mapping[str, np.ndarray], **attributes: Any) -> Callable:
    """Return inputs to exponents of one node as onnxruntime computes it, by differences of fourth order in float32."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    states = ["h", "c"][: 1 + (kind == "LSTM")]
    ends = ["Y", "end_h", "end_c"][: 2 + (kind == "LSTM")]
    stored = {name: values for name, values in weights.items() if name in ("W", "R", "B")}
    given = ["X", *(name if name in stored else "" for name in ("W", "R", "B")), "", *states]
    shapes = {"X": [1, None, N_INPUTS]} | {state: [1, None, N_UNITS] for state in states}
    model = model_of([node(kind, given, ends, hidden_size=N_UNITS, **attributes)], stored, shapes, ends[1:])
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def step(rows: np.ndarray, input: np.ndarray) -> np.ndarray:
        parts = np.split(rows.astype("f4"), len(states), axis=1)
        feed = {"X": np.repeat(input[None, None], len(rows), axis=1).astype("f4")}
        ends = session.run(None, feed | {name: part[None] for name, part in zip(states, parts, strict=True)})
        return np.concatenate([end[0] for end in ends], axis=1).astype("f8")

    def exponents(inputs: np.ndarray) -> np.ndarray:
        size, width = N_UNITS * len(states), 0.03
        state, frame, growth = np.zeros((1, size)), np.eye(size), np.zeros(size)
        for input in inputs:
            moved = [step(state + factor * width * np.eye(size), input) for factor in (-2, -1, 1, 2)]
            jacobian = (moved[0] - 8 * moved[1] + 8 * moved[2] - moved[3]).T / (12 * width)
            state = step(state, input)
            frame, upper = np.linalg.qr(jacobian @ frame)
            growth += np.log(np.abs(np.diag(upper)))
        return np.sort(growth / len(inputs))[::-1]

    return exponents


def one_node(
    kind: str,
    change: Callable[[dict], Mapping] = dict,
    more_inputs: tuple[str, ...] = (),
    *,
    is_read: bool = True,
    lift: float = 0.0,
    run_time: Mapping[str, list] | None = None,
    **attributes: Any,
) -> Callable[[Path], Made]:
    """Return what writes a model of one recurrent node, and refers to onnxruntime.

    `run_time` are shapes of inputs that the model is given besides X.
    """

    def make(folder: Path) -> Made:
        weights = dict(change(weights_of(kind, lift=lift)))
        given = ["X", *(n if n in weights or n in (run_time or {}) else "" for n in ("W", "R", "B")), *more_inputs]
        recurrent = node(kind, given, ["Y", "Y_h"], hidden_size=N_UNITS, **attributes)
        model = model_of([recurrent], weights, {"X": [None, None, N_INPUTS], **(run_time or {})}, ["Y"])
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        equations = {name: value for name, value in attributes.items() if name != "layout"}
        return Made(folder / "model.onnx", runtime_exponents(kind, weights, **equations) if is_read else None)

    return make


class Reader(nn.Module):
    """A recurrent module with a linear layer on its last state, and perhaps an embedding."""

    def __init__(self, recurrent: nn.Module, *, embeds: bool = False, reads_last_states: bool = False) -> None:
        super().__init__()
        self.reads_last_states = reads_last_states
        self.embedding = nn.Embedding(7, N_INPUTS) if embeds else None
        self.recurrent, self.head = recurrent, nn.Linear(N_UNITS * (1 + recurrent.bidirectional), 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the outputs."""
        states, last = self.recurrent(inputs if self.embedding is None else self.embedding(inputs))
        if self.reads_last_states:
            return self.head(last[-1])
        return self.head(states[:, -1] if self.recurrent.batch_first else states[-1])


def exported(
    build: Callable[[], nn.Module],
    *,
    embeds: bool = False,
    takes_tokens: bool = False,
    reads_last_states: bool = False,
    is_read: bool = True,
    dtype: torch.dtype = torch.float64,
) -> Callable[[Path], Made]:
    """Return what exports a PyTorch module with a head, and refers to the module."""

    def make(folder: Path) -> Made:
        pytest.importorskip("onnx", reason="onnx is not installed")
        module = seeded(lambda: Reader(build(), embeds=embeds, reads_last_states=reads_last_states)).to(dtype)
        example = torch.zeros(4, 6, dtype=torch.long) if embeds else torch.zeros(4, 6, N_INPUTS, dtype=dtype)
        with warnings.catch_warnings(action="ignore"):
            torch.onnx.export(
                module, (example,), folder / "model.onnx", dynamo=False, input_names=["x"], dynamic_axes={"x": [0, 1]}
            )
        if not is_read:
            return Made(folder / "model.onnx")
        step, size = module_step(module.recurrent)
        if takes_tokens:
            table = module.embedding.weight.detach()
            return Made(folder / "model.onnx", autograd_exponents(after_lookup(step, table), size), n_tokens=len(table))
        return Made(folder / "model.onnx", autograd_exponents(step, size))

    return make


def two_nodes(between: Callable[[str], list], *, starts: bool = False) -> Callable[[Path], Made]:
    """Return what writes two GRU nodes with other nodes between them, the first of which takes a name."""

    def make(folder: Path) -> Made:
        lower = weights_of("GRU")
        upper = {f"{name}2": values for name, values in weights_of("GRU", N_UNITS, seed=1).items()}
        stored = lower | upper | {"axis": np.array([1]), "start": np.ones((1, 1, N_UNITS), "f4")}
        second = ["Z", "W2", "R2", "B2", *(["", "start"] if starts else [])]
        nodes = [node("GRU", ["X", "W", "R", "B"], ["Y"], hidden_size=N_UNITS, linear_before_reset=1), *between("Y")]
        nodes.append(node("GRU", second, ["Y2"], hidden_size=N_UNITS, linear_before_reset=1))
        model = model_of(nodes, stored, {"X": [None, 1, N_INPUTS]}, ["Y2"])
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        return Made(folder / "model.onnx")

    return make


def in_another_file(folder: Path) -> Made:
    """A model whose weights lie in a file beside it."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    made = one_node("LSTM")(folder)
    model = onnx.load_model(made.path)
    onnx.save_model(model, made.path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return made


def row(file: str, make: Callable, system: str, **options: Any) -> Case:
    """Return a row that is compared with onnxruntime."""
    atol = 1e-2 if system.startswith("LSTM") else 1e-3  # some exponents of LSTMs are large, and float32 short of digits
    return Case(GROUP, file, make, system, reference=RUNTIME, atol=atol, **options)


def from_torch(file: str, make: Callable, system: str, **options: Any) -> Case:
    """Return a row that is compared with PyTorch."""
    return Case(GROUP, file, make, system, **options)


def refused(file: str, make: Callable, refusal: str) -> Case:
    """Return a row of a model that is refused."""
    return Case(GROUP, file, make, refusal=refusal)


def _no_bias(weights: dict) -> dict:
    return {name: values for name, values in weights.items() if name != "B"}


def _squeezed(name: str) -> list:
    return [node("Squeeze", [name, "axis"], ["S"])]


CASES = [
    row("`RNN`", one_node("RNN"), "tanh RNN (3 inputs, 4 units, state size 4)"),
    row(
        "`RNN` with `activations=Relu`",
        one_node("RNN", lambda w: w | {"R": w["R"] / 5}, lift=2.0, activations=["Relu"]),
        "relu RNN (3 inputs, 4 units, state size 4)",
    ),
    row(
        "`GRU` with `linear_before_reset=1`",
        one_node("GRU", linear_before_reset=1),
        "GRU (3 inputs, 4 units, state size 4)",
    ),
    row("`GRU`", one_node("GRU"), "GRU (reset before weights) (3 inputs, 4 units, state size 4)"),
    row("`LSTM` without biases", one_node("LSTM", _no_bias), "LSTM (3 inputs, 4 units, state size 8)"),
    row("`LSTM` with `layout=1`", one_node("LSTM", layout=1), "LSTM (3 inputs, 4 units, state size 8)"),
    row("`LSTM`, weights in a file beside it", in_another_file, "LSTM (3 inputs, 4 units, state size 8)"),
    row(
        "`GRU` that starts from a state which the model is given",
        one_node("GRU", more_inputs=("", "h"), run_time={"h": [1, None, N_UNITS]}, linear_before_reset=1),
        "GRU (3 inputs, 4 units, state size 4)",
        warning="zeros were taken",
    ),
    from_torch(
        "`nn.LSTM(batch_first=True)`, two layers, and a head, exported by PyTorch",
        exported(lambda: nn.LSTM(N_INPUTS, N_UNITS, 2, batch_first=True)),
        "LSTM (3 inputs, 4 + 4 units, state size 16)",
    ),
    from_torch(
        "`nn.GRU` and a head, exported by PyTorch",
        exported(lambda: nn.GRU(N_INPUTS, N_UNITS)),
        "GRU (3 inputs, 4 units, state size 4)",
    ),
    from_torch(
        "`nn.RNN`, two layers, exported by PyTorch",
        exported(lambda: nn.RNN(N_INPUTS, N_UNITS, 2, dropout=0.2, batch_first=True)),
        "tanh RNN (3 inputs, 4 + 4 units, state size 8)",
    ),
    from_torch(
        "embedding and `nn.GRU`, exported by PyTorch",
        exported(lambda: nn.GRU(N_INPUTS, N_UNITS, batch_first=True), embeds=True),
        "GRU (3 inputs, 4 units, state size 4)",
        warning="inputs are the vectors that it makes of tokens",
    ),
    from_torch(
        "embedding and `nn.GRU`, exported by PyTorch, inputs are tokens",
        exported(lambda: nn.GRU(N_INPUTS, N_UNITS, batch_first=True), embeds=True, takes_tokens=True),
        "embedding of 7 tokens → GRU (3 inputs, 4 units, state size 4) (state size 4)",
        options={"embedding": "embedding.weight"},
    ),
    refused(
        "`nn.LSTM(bidirectional=True)`, exported by PyTorch",
        exported(lambda: nn.LSTM(N_INPUTS, N_UNITS, bidirectional=True), is_read=False),
        "it is bidirectional",
    ),
    refused(
        "`GRU` with `direction=reverse`",
        one_node("GRU", is_read=False, direction="reverse"),
        "its direction is 'reverse'",
    ),
    refused(
        "`LSTM` with `activations`",
        one_node("LSTM", is_read=False, activations=["HardSigmoid", "Tanh", "Tanh"]),
        "its activations are hardsigmoid, tanh, tanh, where sigmoid, tanh, tanh is understood",
    ),
    refused("`RNN` with `clip`", one_node("RNN", is_read=False, clip=2.0), "at 2.0 (clip)"),
    refused(
        "`LSTM` with `input_forget`", one_node("LSTM", is_read=False, input_forget=1), "are coupled (input_forget)"
    ),
    refused(
        "`LSTM` with peepholes",
        one_node("LSTM", lambda w: w | {"P": np.ones((1, 12), "f4")}, ("", "", "", "P"), is_read=False),
        "it has peephole weights (P)",
    ),
    refused(
        "`GRU` with `sequence_lens`",
        one_node("GRU", lambda w: w | {"lengths": np.array([3], "i4")}, ("lengths",), is_read=False),
        "have lengths of their own (sequence_lens)",
    ),
    refused(
        "`GRU` that starts from a stored state other than zero",
        one_node("GRU", lambda w: w | {"h": np.ones((1, 1, 4), "f4")}, ("", "h"), is_read=False),
        "through a start state that is not zero (initial_h)",
    ),
    refused(
        "`GRU` whose weights are computed",
        one_node("GRU", lambda w: {"W": w["W"]}, is_read=False, run_time={"R": [1, 12, 4]}),
        "its R is computed when the network runs, not stored",
    ),
    refused(
        "two `GRU` with `Relu` between them",
        two_nodes(lambda name: [*_squeezed(name), node("Relu", ["S"], ["Z"])]),
        "does not read 'Y' directly but through Relu 'Z'",
    ),
    refused(
        "two `GRU` of which the second takes trajectories for time",
        two_nodes(lambda name: [*_squeezed(name), node("Transpose", ["S"], ["Z"], perm=[1, 0, 2])]),
        "through a permutation of its dimensions to (batch, time, unit)",
    ),
    refused(
        "two `GRU` of which the second starts from a stored state",
        two_nodes(lambda name: [node("Squeeze", [name, "axis"], ["Z"])], starts=True),
        "through a start state that is not zero (initial_h)",
    ),
]
