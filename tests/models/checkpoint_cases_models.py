"""Rows of the table of checkpoint files: models around recurrent modules, what lies beside them, lyapkit's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from checkpoint_cases import GRU, LSTM, gru, lstm, module_step, prefixed, saved, seeded
from checkpoint_table import Case, Made, after_lookup, autograd_exponents
from torch import Tensor, nn

import lyapkit as lk


def cell() -> nn.Module:
    return nn.LSTMCell(3, 4)


def beside(prefix: str, **others: Tensor) -> Callable[[Path], Made]:
    """Return what writes an LSTM, or a cell for the prefix "cell.", and other tensors (dots in their names as __)."""
    return saved(cell if prefix == "cell." else lstm, prefixed(prefix, **others))


def own(build: Callable[[], lk.Network], is_old: bool = False) -> Callable[[Path], Made]:
    """Return what writes a network of lyapkit's own, and refers to its own step."""

    def make(folder: Path) -> Made:
        network = seeded(build)
        state = {name: t for name, t in network.state_dict().items() if not (is_old and name == "_extra_state")}
        torch.save(state, folder / "model.pt")

        def step(state: Tensor, input: Tensor) -> Tensor:
            return network.step(state[None], input[None])[0]

        return Made(folder / "model.pt", autograd_exponents(step, network.state_size))

    return make


def language_model(folder: Path) -> Made:
    """Write embedding, LSTM and decoder, and refer to embedding and LSTM."""
    model = seeded(lambda: nn.ModuleDict({"encoder": nn.Embedding(9, 3), "rnn": lstm(), "decoder": nn.Linear(4, 9)}))
    torch.save(model.state_dict(), folder / "lm.pt")
    step, size = module_step(model["rnn"])
    table = model["encoder"].weight.detach()
    return Made(folder / "lm.pt", autograd_exponents(after_lookup(step, table), size), n_tokens=len(table))


def two_in_a_row(folder: Path) -> Made:
    """Write an encoder and a decoder, and refer to the step of both, one after the other."""
    model = seeded(lambda: nn.ModuleDict({"encoder": gru(), "decoder": nn.LSTM(4, 5)}))
    torch.save(model.state_dict(), folder / "model.pt")
    (lower, size), (upper, upper_size) = map(module_step, model.values())

    def step(state: Tensor, input: Tensor) -> Tensor:
        below = lower(state[:size], input)
        return torch.cat([below, upper(state[size:], below)])

    return Made(folder / "model.pt", autograd_exponents(step, size + upper_size))


def with_bridge(folder: Path) -> Made:
    """Write an encoder, a decoder, and a linear layer that fits between them."""
    model = seeded(lambda: nn.ModuleDict({"encoder": gru(), "bridge": nn.Linear(4, 4), "decoder": nn.LSTM(4, 5)}))
    torch.save(model.state_dict(), folder / "model.pt")
    return Made(folder / "model.pt")


def without(*names: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: {name: tensor for name, tensor in state.items() if name not in names}


def ur_lstm() -> lk.Network:
    return lk.RefinedLSTM(3, 4, 2)


def relu_network() -> lk.Network:
    """Return a network with positive weights, so that units are active."""
    readout = nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Linear(9, 2))
    network = lk.RecurrentNetwork(nn.RNN(3, 4, nonlinearity="relu"), readout)
    with torch.no_grad():
        for parameter in network.recurrent.parameters():
            parameter.abs_().add_(0 if parameter.ndim == 2 else 3)
    return network


class Unregistered(lk.RefinedLSTM):
    """A network whose class nobody has registered."""


MODELS = "Models around a recurrent module"
BESIDE = "What lies beside the recurrent tensors"
OWN = "lyapkit's own networks"
STEP = "autograd of its own step"
CHANGES = "holds tensors beside the recurrent ones that may change what the network computes, "
CASES = [
    Case(
        MODELS,
        "a language model: `encoder` (embedding), `rnn`, `decoder`; said: inputs are what `encoder` returns",
        beside(
            "rnn.", encoder__weight=torch.ones(50, 3), decoder__weight=torch.ones(50, 4), decoder__bias=torch.ones(50)
        ),
        LSTM,
    ),
    Case(
        MODELS,
        "a language model, inputs are tokens",
        language_model,
        "embedding of 9 tokens → LSTM (3 inputs, 4 units, state size 8) (state size 8)",
        options={"embedding": "encoder.weight"},
    ),
    Case(
        MODELS,
        "a classifier: `rnn`, `fc1`, `fc2`; the head does not matter for the spectrum",
        beside("rnn.", fc1__weight=torch.ones(9, 4), fc1__bias=torch.ones(9), fc2__weight=torch.ones(2, 9)),
        LSTM,
    ),
    Case(
        MODELS,
        "a cell with an `embedding` in front and a `readout`",
        beside("cell.", embedding__weight=torch.ones(50, 3), readout__weight=torch.ones(2, 4)),
        LSTM,
    ),
    Case(
        MODELS,
        "convolutions and batch norm in front, under a name that says so",
        beside(
            "rnn.", cnn__0__weight=torch.ones(3, 1, 5), cnn__1__weight=torch.ones(3), cnn__1__running_mean=torch.ones(3)
        ),
        LSTM,
    ),
    Case(
        MODELS,
        "an `attention` beside an LSTM",
        beside("rnn.", attention__weight=torch.ones(7, 7)),
        LSTM,
        warning="attention are taken to act before the recurrent module 'rnn.' or after it",
    ),
    Case(
        MODELS,
        "an encoder and a decoder, both recurrent",
        saved(gru, lambda state: prefixed("encoder.")(state) | prefixed("decoder.")(state)),
        refusal="holds several recurrent modules, 'decoder.', 'encoder.': choose one with prefix=, or name several in "
        "a row, from the input upwards; where anything lies between them, build the module and give it to from_module",
    ),
    Case(
        MODELS,
        "an encoder and a decoder, both recurrent, in a row",
        two_in_a_row,
        "GRU (3 inputs, 4 units, state size 4) → LSTM (4 inputs, 5 units, state size 10) (state size 14)",
        options={"prefix": ["encoder", "decoder"]},
    ),
    Case(
        MODELS,
        "an encoder and a decoder, both recurrent, and a linear layer that would fit between them",
        with_bridge,
        refusal=CHANGES + "'bridge.weight', 'bridge.bias' (they may lie between 'encoder.' and 'decoder.')",
        options={"prefix": ["encoder", "decoder"]},
    ),
    Case(
        MODELS,
        "an encoder and a decoder, both recurrent, one chosen",
        saved(gru, lambda state: prefixed("encoder.")(state) | prefixed("decoder.")(state)),
        GRU,
        options={"prefix": "encoder"},
    ),
    Case(
        MODELS,
        "no recurrent module at all",
        saved(gru, lambda state: {"fc.weight": torch.ones(3, 3)}),
        refusal="holds no recurrent layer: no tensor is called weight_hh_l0 or weight_hh",
    ),
    Case(
        BESIDE,
        "an LSTM cell with layer norms in it",
        beside("cell.", cell__ln_ih__weight=torch.ones(16), cell__ln_ih__bias=torch.ones(16)),
        refusal=CHANGES + "'cell.ln_ih.weight', 'cell.ln_ih.bias' (parameters in the recurrent module 'cell.' itself",
    ),
    Case(
        BESIDE,
        "a layer norm of as many units beside an LSTM",
        beside("rnn.", norm__weight=torch.ones(4), norm__bias=torch.ones(4)),
        refusal=CHANGES + "'norm.weight', 'norm.bias' (modules beside the recurrent one: they may act on the states)",
    ),
    Case(
        BESIDE,
        "a layer norm of as many units beside an LSTM, said to come after it",
        beside("rnn.", norm__weight=torch.ones(4), norm__bias=torch.ones(4)),
        LSTM,
        options={"ignore": ["norm.*"]},
    ),
    Case(
        BESIDE,
        "a leak, `alpha`",
        beside("rnn.", alpha=torch.tensor(0.2)),
        refusal=CHANGES + "'alpha' (parameters of the model itself, that PyTorch's have not)",
    ),
    Case(
        BESIDE,
        "a time constant per unit, `rnn.tau`",
        beside("rnn.", rnn__tau=torch.ones(4)),
        refusal=CHANGES + "'rnn.tau'",
    ),
    Case(
        BESIDE,
        "a single `bias` in place of PyTorch's two",
        saved(cell, lambda s: without("bias_ih", "bias_hh")(s) | {"bias": s["bias_ih"]}),
        refusal=CHANGES + "'bias'",
    ),
    Case(
        BESIDE,
        "peepholes",
        beside("cell.", cell__weight_ci=torch.ones(4), cell__weight_cf=torch.ones(4)),
        refusal=CHANGES + "'cell.weight_ci', 'cell.weight_cf'",
    ),
    Case(
        BESIDE,
        "a multiplicative LSTM",
        beside("cell.", wmx__weight=torch.ones(4, 3), wmh__weight=torch.ones(4, 4)),
        refusal=CHANGES + "'wmh.weight', 'wmx.weight'",
    ),
    Case(
        BESIDE,
        "low-rank adapters (LoRA)",
        beside("rnn.", rnn__lora_A=torch.ones(2, 4), rnn__lora_B=torch.ones(16, 2)),
        refusal=CHANGES + "'rnn.lora_A', 'rnn.lora_B'",
    ),
    Case(
        BESIDE,
        "a mask of the connections",
        beside("rnn.", mask=torch.ones(4, 4)),
        refusal=CHANGES + "'mask'",
    ),
    Case(
        BESIDE,
        "a learnt initial state",
        beside("rnn.", h0=torch.zeros(1, 1, 4)),
        refusal=CHANGES + "'h0'",
    ),
    Case(
        BESIDE,
        "a stack without its middle layer",
        saved(lambda: nn.GRU(3, 4, 3), lambda s: {name: tensor for name, tensor in s.items() if "_l1" not in name}),
        refusal="the parameters of layer(s) [1] are missing",
    ),
    Case(
        BESIDE,
        "a stack of which one layer lacks a bias",
        saved(lambda: nn.GRU(3, 4, 2), without("bias_hh_l1")),
        refusal="layer 1 has one of bias_ih and bias_hh, PyTorch's layers have both or none",
    ),
    Case(
        OWN,
        "WCRNN",
        own(lambda: lk.build_network("wcrnn", 3, 4, 2, residual=lk.residuals.rotation(4, 0.3, 0.9), coupling=0.2)),
        "WCRNN of kind linear (3 inputs, 4 units, dense residual with |eigenvalues| 0.9, α = 0.2)",
        reference=STEP,
    ),
    Case(
        OWN,
        "WCRNN of kind A",
        own(lambda: lk.build_network("wcrnn-a", 3, 4, 2, coupling=0.2)),
        "WCRNN of kind A (3 inputs, 4 units, diagonal residual with |eigenvalues| 1, α = 0.2)",
        reference=STEP,
    ),
    Case(
        OWN,
        "WCRNN of kind B without nonlinearity",
        own(lambda: lk.WCRNN(3, 4, 2, [0.9] * 4, 0.1, "B", activation="identity")),
        "WCRNN of kind B, identity activation (3 inputs, 4 units, diagonal residual with |eigenvalues| 0.9, α = 0.1)",
        reference=STEP,
    ),
    Case(
        OWN,
        "UR-LSTM",
        own(ur_lstm),
        "UR-LSTM (3 inputs, 4 units, state size 8)",
        reference=STEP,
    ),
    Case(
        OWN,
        "UR-LSTM, from before files said what they are",
        own(ur_lstm, is_old=True),
        "UR-LSTM (3 inputs, 4 units, state size 8)",
        reference=STEP,
    ),
    Case(
        OWN,
        "S4",
        own(lambda: lk.S4(3, 2, 2, order=3)),
        "S4 (3 inputs, 2 channels of order 3)",
        reference=STEP,
        atol=1e-8,
    ),
    Case(
        OWN,
        "`RecurrentNetwork` of a relu RNN (not asked for) with a readout of several layers",
        own(relu_network),
        "relu RNN (3 inputs, 4 units, state size 4)",
        reference=STEP,
    ),
    Case(
        OWN,
        "a network of one's own that is not registered",
        own(lambda: Unregistered(3, 4, 2)),
        refusal="it is a Unregistered, a network that is not registered here",
    ),
]
