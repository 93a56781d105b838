"""Compare exponents of networks that input spikes saturate, and the textbook loop's, with hundreds of digits.

    python benchmarks/accuracy.py     # two minutes; writes benchmarks/accuracy.json

Networks of random weights, standard deviation 0.9, 30 inputs uniform in ±0.5 with two spikes of 60 and −80. The
textbook loop is one Householder QR of the dense Jacobian times the frame at every step, in float64, the Jacobian being
exact. The reference is `tests/tangent/extended_precision.py`: network, Jacobian and QR in 500 digits.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from lyapunov import machine
from torch import nn

import lyapkit as lk
from lyapkit.provenance import provenance

OUTPUT = Path(__file__).with_suffix(".json")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "tangent"))
from extended_precision import exponents, recurrent_step, wcrnn_step  # noqa: E402

N_NETWORKS, N_STEPS, DIGITS = 10, 30, 500
SPIKES = {15: 60.0, 22: -80.0}


def network(kind: str, rng: np.random.Generator) -> nn.Module:
    """Return a network of random weights."""
    if kind == "wcrnn-b":
        residual = lk.residuals.rotation(6, 0.3, rng.uniform(0.5, 1.0, 6))
        return lk.WCRNN(1, 6, 1, residual, 0.4, "B", dtype=torch.float64)
    module = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[kind](1, 5, dtype=torch.float64)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.from_numpy(0.9 * rng.normal(size=parameter.shape)))
    return module


def errors(kind: str, seed: int) -> tuple[float, float]:
    """Return the largest error of an exponent, in nats per step, of lyapkit and of the textbook loop."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    module = network(kind, rng)
    inputs = rng.uniform(-0.5, 0.5, (N_STEPS, 1))
    inputs[list(SPIKES)] = np.array(list(SPIKES.values()))[:, None]
    system = lk.from_module(module)
    step = wcrnn_step(module) if kind == "wcrnn-b" else recurrent_step(module)
    exact, textbook = exponents(step, system.state_size, inputs, DIGITS)
    ds = lk.lyapunov_spectrum(system, inputs[None])
    assert not bool(ds["is_bound"].any())
    return float(np.abs(ds["lyapunov_exponent"][0] - exact).max()), float(np.abs(textbook - exact).max())


def main() -> None:
    """Measure, print, and write the JSON file."""
    rows = {}
    for kind in ("rnn", "gru", "lstm", "wcrnn-b"):
        own, textbook = np.array([errors(kind, seed) for seed in range(N_NETWORKS)]).T
        lost = int((textbook > 1e-3).sum())
        rows[kind] = {
            "largest_error": own.max(),
            "textbook_median_error": np.nan_to_num(np.median(textbook), posinf=1e308),
            "textbook_networks_off_by_a_thousandth": lost,
            "textbook_networks_with_infinite_error": int(np.isinf(textbook).sum()),
            "n_networks": N_NETWORKS,
        }
        print(f"{kind:8} largest error {own.max():.1e}; textbook: median {np.median(textbook):.1e}, {lost} of", end=" ")
        print(f"{N_NETWORKS} networks off by more than 0.001 nats per step, {np.isinf(textbook).sum()} with −inf")
    made = provenance(n_networks=N_NETWORKS, n_steps=N_STEPS, digits=DIGITS, spikes=list(SPIKES.items()))
    OUTPUT.write_text(json.dumps({"made": made, "machine": machine(), "result": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
