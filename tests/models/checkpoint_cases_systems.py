"""Rows of the table of checkpoint files: modules that are given themselves, in a row, and closed loops."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from checkpoint_cases import GRU, LSTM, gru, lstm, module_step, seeded
from checkpoint_table import Case, Made, Step, after_lookup, autograd_exponents
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import lyapkit as lk

MODULES, ROWS, LOOPS = "Modules, given to `from_module`", "Modules in a row", "Closed loops, `closed_loop`"
READOUT = str(nn.Linear(4, 3))


class HardCell(nn.LSTMCell):
    """An LSTM cell with gates of its own."""

    def forward(self, input: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        z = input @ self.weight_ih.T + self.bias_ih + state[0] @ self.weight_hh.T + self.bias_hh
        i, f, g, o = z.chunk(4, -1)
        cell = (0.1 * f + 0.5).clamp(0, 1) * state[1] + (0.1 * i + 0.5).clamp(0, 1) * g.tanh()
        return (0.1 * o + 0.5).clamp(0, 1) * cell.tanh(), cell


class NamedCell(nn.Module):
    """A cell whose state is a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.slow, self.fast = nn.Linear(7, 4), nn.Linear(7, 3)

    def forward(self, input: Tensor, state: dict[str, Tensor]) -> dict[str, Tensor]:
        slow = 0.9 * state["slow"] + 0.1 * torch.tanh(self.slow(torch.cat([input, state["slow"]], -1)))
        return {"slow": slow, "fast": torch.tanh(self.fast(torch.cat([input, slow], -1)) + state["fast"])}


class Model(nn.Module):
    """A classifier; its loop over time may halve the states between steps."""

    def __init__(self, halves: bool = False) -> None:
        super().__init__()
        self.cell, self.head, self.halves = nn.GRUCell(3, 4), nn.Linear(4, 2), halves

    def forward(self, inputs: Tensor) -> Tensor:
        state = inputs.new_zeros(len(inputs), 4)
        for input in inputs.unbind(1):
            state = self.cell(input, state / 2 if self.halves else state)
        return self.head(state)


def given(build: Callable[[], nn.Module], step: Callable[[nn.Module], tuple[Step, int]] = module_step):
    """Return what makes a module, and refers to steps by its own forward."""

    def make(folder: Path) -> Made:
        module = seeded(build)
        return Made(module, autograd_exponents(*step(module)))

    return make


def flat(*sizes: int) -> Callable[[nn.Module], tuple[Step, int]]:
    """Return the steps of a cell whose state is a tuple."""

    def step_of(cell: nn.Module) -> tuple[Step, int]:
        def step(state: Tensor, input: Tensor) -> Tensor:
            parts = tuple(part[None] for part in state.split(sizes))
            return torch.cat([part[0] for part in cell(input[None], parts)])

        return step, sum(sizes)

    return step_of


def named_step(cell: NamedCell) -> tuple[Step, int]:
    """Return the steps of a cell whose state is a dictionary."""

    def step(state: Tensor, input: Tensor) -> Tensor:
        slow, fast = state.split([4, 3])
        output = cell(input[None], {"slow": slow[None], "fast": fast[None]})
        return torch.cat([output["slow"][0], output["fast"][0]])

    return step, 7


def quantised(build: Callable[[], nn.Module]) -> Callable[[Path], Made]:
    """Return what quantises a module, and refers to one in float64 that has the numbers its bytes stand for."""

    def make(folder: Path) -> Made:
        module = seeded(build)
        with warnings.catch_warnings(action="ignore"):
            holder = nn.ModuleDict({"rnn": module.float()})
            few_bits = torch.ao.quantization.quantize_dynamic(holder, {type(module)})["rnn"]
            stored = {**few_bits.get_weight(), **few_bits.get_bias()}
        module.load_state_dict({n: t.dequantize() if t.is_quantized else t for n, t in stored.items()})
        return Made(few_bits, autograd_exponents(*module_step(module.double())))

    return make


def in_a_row() -> nn.Module:
    return nn.Sequential(nn.GRUCell(3, 4), nn.LayerNorm(4), nn.Linear(4, 2), nn.LSTMCell(2, 3))


def row_step(row: nn.Sequential) -> tuple[Step, int]:
    """Return the steps of two cells with layers between them."""

    def step(state: Tensor, input: Tensor) -> Tensor:
        below, *above = (part[None] for part in state.split([4, 3, 3]))
        below = row[0](input[None], below)
        above = row[3](row[2](row[1](below)), tuple(above))
        return torch.cat([below[0], *(part[0] for part in above)])

    return step, 10


def embedded(folder: Path) -> Made:
    """An embedding in front of a GRU."""
    module = seeded(lambda: nn.Sequential(nn.Embedding(6, 3), nn.GRU(3, 4)))
    step, size = module_step(module[1])
    return Made(module, autograd_exponents(after_lookup(step, module[0].weight.detach()), size), n_tokens=6)


def looped(build: Callable[[], nn.Module], in_file: bool = False) -> Callable[[Path], Made]:
    """Return what makes a network with a readout of as many features as it takes, which are its next inputs."""

    def make(folder: Path) -> Made:
        module = seeded(lambda: nn.ModuleDict({"rnn": build(), "decoder": nn.Linear(4, 3)}))
        step, size = module_step(module["rnn"])

        def closed(state: Tensor, _: Tensor) -> Tensor:
            return step(state, module["decoder"](state[:4]))

        torch.save(module.state_dict(), folder / "model.pt")
        network = lk.RecurrentNetwork(module["rnn"], module["decoder"])
        return Made(folder / "model.pt" if in_file else network, autograd_exponents(closed, size), n_inputs=0)

    return make


def loop_of_a_file(path: Path) -> lk.System:
    return lk.closed_loop(lk.load_network(path))


def _module(file: str, make: Callable[[Path], Made], system: str = "", **others: object) -> Case:
    return Case(MODULES, file, make, system, read=lk.from_module, **others)


CASES = [
    _module("`nn.LSTM(batch_first=True)`", given(lambda: nn.LSTM(3, 4, batch_first=True).requires_grad_(False)), LSTM),
    _module(
        "`nn.GRU` with an orthogonal parametrization",
        given(lambda: parametrizations.orthogonal(gru(), "weight_hh_l0")),
        GRU,
    ),
    _module(
        "a dynamically quantised `nn.LSTM`",
        quantised(lstm),
        LSTM,
        warning="is quantised: its weights are taken as the numbers that they stand for",
        reference="autograd of a module with these numbers",
        atol=1e-6,
    ),
    _module(
        "a dynamically quantised `nn.GRU`",
        quantised(gru),
        GRU,
        warning="is quantised: its weights are taken as the numbers that they stand for",
        reference="autograd of a module with these numbers",
        atol=1e-6,
    ),
    _module(
        "a subclass of `nn.LSTMCell` with a forward of its own",
        given(lambda: HardCell(3, 4), flat(4, 4)),
        "HardCell (3 inputs, state size 8)",
    ),
    _module(
        "a cell whose state is a tuple",
        given(lambda: HardCell(3, 4), flat(4, 4)),
        "HardCell (3 inputs, state size 8)",
        options={"state_size": (4, 4)},
    ),
    _module(
        "a cell whose state is a dictionary",
        given(NamedCell, named_step),
        "NamedCell (3 inputs, state size 7)",
        options={"state_size": {"slow": 4, "fast": 3}, "input_size": 3},
        atol=1e-7,  # exponents of so few steps depend on the first frame
    ),
    _module(
        "a model around a cell, whose loop hands the states on",
        given(Model, lambda model: module_step(model.cell)),
        GRU,
    ),
    _module(
        "a model that halves the states between steps",
        given(lambda: Model(halves=True), lambda model: module_step(model.cell)),
        refusal="changes the states of cell between its steps, or does not hand them on",
    ),
    _module(
        "`nn.LSTM(bidirectional=True)`",
        lambda folder: Made(nn.LSTM(3, 4, bidirectional=True)),
        refusal="the network is bidirectional: its backward half reads the sequence from its end",
    ),
    _module(
        "a module on the device meta",
        lambda folder: Made(nn.LSTM(3, 4, device="meta")),
        refusal="has tensors without values, of the device meta",
    ),
    Case(
        ROWS,
        "`nn.Sequential` of cells of different kinds and widths, `LayerNorm` and `Linear` between them",
        given(in_a_row, row_step),
        f"{GRU} → {nn.LayerNorm(4)} → {nn.Linear(4, 2)} → LSTM (2 inputs, 3 units, state size 6) (state size 10)",
        read=lk.from_module,
    ),
    Case(
        ROWS,
        "the same as `lk.Composition`",
        given(in_a_row, row_step),
        f"{GRU} → {nn.LayerNorm(4)} → {nn.Linear(4, 2)} → LSTM (2 inputs, 3 units, state size 6) (state size 10)",
        read=lambda module: lk.Composition(list(module)),
    ),
    Case(
        ROWS,
        "`nn.Embedding` and `nn.GRU`, inputs are tokens",
        embedded,
        f"embedding of 6 tokens → {GRU} (state size 4)",
        read=lk.from_module,
    ),
    Case(
        LOOPS,
        "`RecurrentNetwork` of an LSTM",
        looped(lstm),
        f"closed loop of {LSTM} → {READOUT} (state size 8)",
        read=lk.closed_loop,
    ),
    Case(
        LOOPS,
        "state dict of a GRU and a `decoder`, by `load_network`",
        looped(gru, in_file=True),
        f"closed loop of {GRU} → {READOUT} (state size 4)",
        read=loop_of_a_file,
    ),
    Case(
        LOOPS,
        "an embedding in front: the next token is chosen",
        embedded,
        refusal="are tokens: choosing the next one from its scores, the largest or a random one, is not differentiable",
        read=lk.closed_loop,
    ),
]
