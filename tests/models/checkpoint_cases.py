"""Rows of the table of checkpoint files: PyTorch's modules as they are saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from checkpoint_table import Case, Made, Step, autograd_exponents
from torch import Tensor, nn

N_INPUTS, N_UNITS = 3, 4


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """Return a module with weights that are always the same, larger than PyTorch's, in float64."""
    torch.manual_seed(0)
    module = build().double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.5)
    return module


def module_step(module: nn.Module) -> tuple[Step, int]:
    """Return a step of PyTorch's own module, or cell, on its flat state, and the size of that."""
    is_cell, has_cells = isinstance(module, nn.RNNCellBase), isinstance(module, nn.LSTM | nn.LSTMCell)
    n_layers = 1 if is_cell else module.num_layers
    sizes = [n_layers * (getattr(module, "proj_size", 0) or module.hidden_size)]
    if has_cells:
        sizes.append(n_layers * module.hidden_size)

    def step(state: Tensor, input: Tensor) -> Tensor:
        shape = (1, -1) if is_cell else (n_layers, 1, -1)
        parts = tuple(part.reshape(shape) for part in state.split(sizes))
        given = parts if has_cells else parts[0]
        output = module(input[None], given) if is_cell else module(input[None, None], given)[1]
        return torch.cat([part.flatten() for part in (output if has_cells else (output,))])

    return step, sum(sizes)


def saved(
    build: Callable[[], nn.Module],
    change: Callable[[dict[str, Tensor]], Mapping[str, object]] = dict,
    name: str = "model.pt",
) -> Callable[[Path], Made]:
    """Return what writes a module's state dict, changed, and refers to the module's own forward."""

    def make(folder: Path) -> Made:
        module, path = seeded(build), folder / name
        content = change(module.state_dict())
        if path.suffix == ".safetensors":
            safetensors.torch.save_file(content, path)
        else:
            torch.save(content, path)
        return Made(path, autograd_exponents(*module_step(module)), N_INPUTS)

    return make


def all_positive(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Make weights and biases positive, in place: relu units are then active."""
    for tensor in state.values():
        tensor.abs_()
    return state


def prefixed(prefix: str, **others: Tensor) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Return what puts a prefix before all names, and other tensors beside them (dots in their names as __)."""
    return lambda state: (
        {prefix + name: tensor for name, tensor in state.items()}
        | {name.replace("__", "."): tensor for name, tensor in others.items()}
    )


GRU, LSTM = "GRU (3 inputs, 4 units, state size 4)", "LSTM (3 inputs, 4 units, state size 8)"


def gru() -> nn.Module:
    return nn.GRU(3, 4)


def lstm() -> nn.Module:
    return nn.LSTM(3, 4)


PLAIN = "PyTorch's own modules"
CASES = [
    Case(
        PLAIN,
        "state dict of `nn.RNN`",
        saved(lambda: nn.RNN(3, 4)),
        "tanh RNN (3 inputs, 4 units, state size 4)",
        options={"nonlinearity": "tanh"},
    ),
    Case(
        PLAIN,
        "state dict of `nn.RNN`, relu, two layers",
        saved(lambda: nn.RNN(3, 4, 2, nonlinearity="relu"), change=all_positive),
        "relu RNN (3 inputs, 4 + 4 units, state size 8)",
        options={"nonlinearity": "relu"},
    ),
    Case(
        PLAIN,
        "state dict of `nn.RNN` (tanh or relu is asked for)",
        saved(lambda: nn.RNN(3, 4)),
        refusal="an RNN's parameters do not tell its activation function: say nonlinearity='tanh' or 'relu'",
    ),
    Case(
        PLAIN,
        "state dict of `nn.GRU`, two layers, without biases",
        saved(lambda: nn.GRU(3, 4, 2, bias=False)),
        "GRU (3 inputs, 4 + 4 units, state size 8)",
    ),
    Case(PLAIN, "state dict of `nn.LSTM` in safetensors", saved(lstm, name="model.safetensors"), LSTM),
    Case(
        PLAIN,
        "state dict of `nn.LSTM`, three layers",
        saved(lambda: nn.LSTM(3, 4, 3)),
        "LSTM (3 inputs, 4 + 4 + 4 units, state size 24)",
    ),
    Case(
        PLAIN,
        "state dict of `nn.LSTM` with projection, two layers",
        saved(lambda: nn.LSTM(3, 4, 2, proj_size=2)),
        "LSTM (3 inputs, 4 + 4 units, projected to 2, state size 12)",
    ),
    Case(
        PLAIN,
        "state dict of `nn.RNNCell`",
        saved(lambda: nn.RNNCell(3, 4)),
        "tanh RNN (3 inputs, 4 units, state size 4)",
        options={"nonlinearity": "tanh"},
    ),
    Case(PLAIN, "state dict of `nn.GRUCell`", saved(lambda: nn.GRUCell(3, 4)), GRU),
    Case(PLAIN, "state dict of `nn.LSTMCell`", saved(lambda: nn.LSTMCell(3, 4)), LSTM),
    Case(
        PLAIN,
        "state dict of a bidirectional `nn.LSTM`",
        saved(lambda: nn.LSTM(3, 4, bidirectional=True)),
        refusal="the network is bidirectional: its backward half reads the sequence from its end",
    ),
]
