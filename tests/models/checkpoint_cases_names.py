"""Rows of the table of checkpoint files: names, wrappings and dtypes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from checkpoint_cases import GRU, LSTM, gru, lstm, module_step, prefixed, saved, seeded
from checkpoint_table import Case, Made, autograd_exponents
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune


def converted(dtype: torch.dtype) -> Callable[[Path], Made]:
    """Return what writes an LSTM in another dtype; the reference has the same rounded weights, in float64."""

    def make(folder: Path) -> Made:
        module = seeded(lstm)
        state = {name: tensor.to(dtype) for name, tensor in module.state_dict().items()}
        torch.save(state, folder / "model.pt")
        module.load_state_dict({name: tensor.to(torch.float64) for name, tensor in state.items()})
        return Made(folder / "model.pt", autograd_exponents(*module_step(module)))

    return make


NO_TRACE = "a parametrization of another kind, or one more that has no tensors, would leave no trace"


def with_weights(
    apply: Callable[[nn.Module, str], object], kind: Callable[[], nn.Module] = gru, leaf: str = "weight_hh_l0"
) -> Callable[[], nn.Module]:
    """Return what builds a module with one weight computed from others, after a forward pass in train mode."""

    def build() -> nn.Module:
        module = kind()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            apply(module, leaf)
        module(torch.randn(2, 2, 3))
        return module

    return build


def dropped(prefix: str, raw: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    """Return what stores the recurrent weight under another name, and a masked copy of it in its place."""

    def change(state: dict[str, Tensor]) -> dict[str, Tensor]:
        weight = state["weight_hh_l0"]
        masked = weight * (torch.arange(weight.numel()) % 2).view_as(weight)
        return {f"{prefix}{name}": tensor for name, tensor in state.items()} | {
            f"{prefix}weight_hh_l0": masked,
            raw: weight.clone(),
        }

    return change


def twice(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a model and its moving average."""
    return prefixed("model.rnn.")(state) | prefixed("ema.rnn.")({name: 0.9 * tensor for name, tensor in state.items()})


COMPUTED = "Weights under other names"
NAMES = "Prefixes and dtypes"
CASES = [
    Case(NAMES, "a model saved from DistributedDataParallel, `module.rnn.…`", saved(gru, prefixed("module.rnn.")), GRU),
    Case(NAMES, "a model saved from `torch.compile`, `_orig_mod.rnn.…`", saved(gru, prefixed("_orig_mod.rnn.")), GRU),
    Case(
        NAMES,
        "`AveragedModel`, with its counter `n_averaged`",
        saved(gru, prefixed("module.", n_averaged=torch.tensor(7))),
        GRU,
    ),
    Case(
        NAMES,
        "a model and its moving average (EMA) in one state dict",
        saved(gru, twice),
        refusal="holds several recurrent modules, 'ema.rnn.', 'model.rnn.': choose one with prefix=",
    ),
    Case(
        NAMES,
        "a model and its moving average, one chosen",
        saved(gru, twice),
        GRU,
        options={"prefix": "model.rnn"},
    ),
    Case(
        NAMES,
        "a moving average whose names have lost their dots",
        saved(gru, lambda s: prefixed("rnn.")(s) | {f"model_ema.rnn{name}": t for name, t in s.items()}),
        refusal="(named like recurrent weights)",
    ),
    Case(NAMES, "float32 weights", converted(torch.float32), LSTM),
    Case(NAMES, "float16 weights (converted to float32 or more)", converted(torch.float16), LSTM),
    Case(NAMES, "bfloat16 weights (likewise)", converted(torch.bfloat16), LSTM),
    Case(NAMES, "float8 weights (likewise)", converted(torch.float8_e4m3fn), LSTM),
    Case(
        NAMES,
        "int8 weights without a scale",
        saved(lstm, lambda state: {name: (100 * tensor).to(torch.int8) for name, tensor in state.items()}),
        refusal="weight_ih_l0 holds int8 numbers, which are no weights without their scale",
    ),
    Case(
        NAMES,
        "weights that are NaN",
        saved(lstm, lambda state: {name: tensor * torch.nan for name, tensor in state.items()}),
        refusal="weight_ih_l0 holds values that are not finite",
    ),
    Case(
        COMPUTED,
        "`parametrizations.weight_norm`",
        saved(with_weights(parametrizations.weight_norm)),
        GRU,
        warning=NO_TRACE,
    ),
    Case(
        COMPUTED,
        "`parametrizations.weight_norm` of the other dimension",
        saved(with_weights(lambda module, name: parametrizations.weight_norm(module, name, dim=1))),
        GRU,
        warning=NO_TRACE,
    ),
    Case(COMPUTED, "`nn.utils.weight_norm`, the old one", saved(with_weights(nn.utils.weight_norm)), GRU),
    Case(
        COMPUTED,
        "`parametrizations.spectral_norm` (as in eval mode)",
        saved(with_weights(parametrizations.spectral_norm)),
        GRU,
        warning=NO_TRACE,
    ),
    Case(COMPUTED, "`nn.utils.spectral_norm`, the old one", saved(with_weights(nn.utils.spectral_norm)), GRU),
    Case(
        COMPUTED,
        "`nn.utils.spectral_norm` that never ran, so that its vectors are random",
        saved(lambda: nn.utils.spectral_norm(gru(), "weight_hh_l0")),
        refusal="its spectral norm cannot be told from the vectors stored: remove it before saving",
    ),
    Case(
        COMPUTED,
        "`parametrizations.orthogonal`",
        saved(with_weights(parametrizations.orthogonal)),
        refusal="by orthogonal, or another parametrization that only code can compute: remove it before saving",
    ),
    Case(
        COMPUTED,
        "a parametrization of one's own",
        saved(with_weights(lambda m, name: parametrize.register_parametrization(m, name, nn.Tanh()))),
        refusal="by a parametrization that only code can compute: remove it before saving",
    ),
    Case(
        COMPUTED,
        "pruned weights, `_orig` and `_mask`",
        saved(with_weights(lambda module, name: prune.l1_unstructured(module, name, 0.2))),
        GRU,
    ),
    Case(
        COMPUTED,
        "a stack of which one layer is pruned",
        saved(
            with_weights(
                lambda module, name: prune.l1_unstructured(module, name, 0.2), lambda: nn.GRU(3, 4, 2), "weight_hh_l1"
            )
        ),
        "GRU (3 inputs, 4 + 4 units, state size 8)",
    ),
    Case(
        COMPUTED,
        "weight drop as in fastai: a masked copy in the module, the weight beside it as `_raw`",
        saved(lstm, dropped("0.rnns.0.module.", "0.rnns.0.weight_hh_l0_raw")),
        LSTM,
    ),
    Case(
        COMPUTED,
        "weight drop as in AWD-LSTM: `_raw` in the module",
        saved(lstm, dropped("rnns.0.module.", "rnns.0.module.weight_hh_l0_raw")),
        LSTM,
    ),
]
