"""Time spectra of a network of thousands of units, all exponents and the leading ones, on a GPU or a CPU.

    python benchmarks/large.py --device cuda     # N = 4096, 6200 steps; writes benchmarks/large.json
    python benchmarks/large.py --quick           # small, prints only

The best that is published for so many units is a full spectrum of 6200 steps in 289 s on an H100, by one QR
factorisation per step (davidclark1/rnn-lyapunov). Here it is a tanh network whose weights have variance g²/N, g = 2, so
that it is chaotic. The floor is what the products of the frame with the weights alone cost. All exponents are computed
in float64 only: most directions contract too fast for float32, whose steps are then repeated in float64. The leading
ones are compared with those of the full spectrum.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from lyapunov import machine
from torch import nn

import lyapkit as lk
from lyapkit.provenance import provenance

OUTPUT = Path(__file__).with_suffix(".json")
PUBLISHED = 289.0  # seconds
GAIN = 2.0
N_LEADING = 64
N_TRANSIENT = 100


def network(n: int, device: str) -> lk.System:
    """Return a chaotic network without inputs worth the name."""
    module = nn.RNN(1, n, bias=False, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        module.weight_hh_l0.normal_(0.0, GAIN / n**0.5, generator=generator)
        module.weight_ih_l0.zero_()
    return lk.from_module(module.to(device))


def seconds_of_products(n: int, k: int, n_steps: int, dtype: torch.dtype, device: str) -> float:
    """Return what the products of k perturbations with the weights cost over all steps, from a few of them."""
    weight, frame = (torch.randn(rows, n, dtype=dtype, device=device) for rows in (n, k))
    few = min(n_steps, 50)
    frame @ weight.mT
    _wait(device)
    started = time.perf_counter()
    for _ in range(few):
        frame @ weight.mT
    _wait(device)
    return (time.perf_counter() - started) / few * n_steps


def spectrum(
    system: lk.System, n_steps: int, k: int, dtype: str, device: str, start: torch.Tensor
) -> tuple[np.ndarray, dict[str, object]]:
    """Return exponents, and what they cost."""
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    _wait(device)
    started = time.perf_counter()
    ds = lk.lyapunov_spectrum(
        system, n_steps=n_steps, n_transient=N_TRANSIENT, n_exponents=k, initial_state=start, dtype=dtype, device=device
    )
    _wait(device)
    took = time.perf_counter() - started
    exponents = ds["lyapunov_exponent"].values[0]
    floor = seconds_of_products(system.state_size, k, n_steps + N_TRANSIENT, getattr(torch, dtype), device)
    return exponents, {
        "seconds": round(took, 2),
        "times_the_floor": round(took / floor, 2),
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if device == "cuda" else None,
        "reorthonormalisations": ds.attrs["n_reorthonormalizations"],
        "reconditionings": ds.attrs["n_reconditionings"],
        "largest": float(exponents[0]),
        "smallest": float(exponents[-1]),
    }


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Run, print, and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--quick", action="store_true", help="small, nothing written")
    options = parser.parse_args()
    n, n_steps = (128, 200) if options.quick else (4096, 6200)
    system = network(n, options.device)
    start = 0.5 * torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    result: dict[str, dict[str, object]] = {}
    found: dict[str, np.ndarray] = {}
    few = min(N_LEADING, n)
    for dtype, k in (("float32", few), ("float64", few), ("float64", n)):
        key = f"{'all' if k == n else f'{k} leading'}, {dtype}"
        found[key], result[key] = spectrum(system, n_steps, k, dtype, options.device, start)
        print(f"N = {n}, {n_steps} steps, {key}: {result[key]}", flush=True)
        if not options.quick:
            written = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
            made = provenance(n=n, n_steps=n_steps, n_transient=N_TRANSIENT, gain=GAIN, published_seconds=PUBLISHED)
            about = machine() | ({"gpu": torch.cuda.get_device_name()} if options.device == "cuda" else {})
            written[options.device] = {"made": made, "machine": about, "result": result}
            OUTPUT.write_text(json.dumps(written, indent=2) + "\n")
    apart = np.abs(found["all, float64"][:few] - found[f"{few} leading, float64"]).max()
    print(f"the {few} leading of all, and alone, differ by up to {apart:.1e} nats per step")


if __name__ == "__main__":
    main()
