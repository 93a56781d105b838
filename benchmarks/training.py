"""Time training: an iteration of an ensemble against a plain PyTorch loop with automatic differentiation.

    python benchmarks/training.py              # a few minutes; writes benchmarks/training.json
    python benchmarks/training.py --quick      # smaller, prints only
    python benchmarks/training.py --device cuda

N = 100 units, T = 784 steps, batches of 128, float32, SGD with momentum. The loop is what everyone writes: the
network's own step, called 784 times (for an LSTM, PyTorch's own module, which has kernels for all steps at once),
`loss.backward()` and `torch.optim.SGD`. The floor is the time of the matrix products that an iteration cannot do
without: T products with W forwards, T back, and one for the weights' gradient. All times are per network and
iteration, alternating in one process, the median of several. On a GPU: 50 networks at once, whose steps are captured
in a CUDA graph, and how many epochs of MNIST they do per second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from lyapunov import machine
from torch import Tensor

import lyapkit as lk
from lyapkit.provenance import provenance
from lyapkit.tasks.images import Images, ImageTask
from lyapkit.training import Ensemble
from lyapkit.training.descent import Descent, GraphedStep

OUTPUT = Path(__file__).with_suffix(".json")
EPOCH = 60_000 // 128
N = 100
RESIDUALS = {
    "r·I": lambda seed: lk.residuals.scaled_identity(N, 0.99),
    "rotation": lambda seed: lk.residuals.rotation(N, 0.22, 0.99),
}
KINDS = (("wcrnn", "r·I"), ("wcrnn", "rotation"), ("wcrnn-a", "r·I"), ("wcrnn-b", "r·I"), ("lstm", None))


def networks(n: int, kind: str, residual: str | None) -> list[lk.Network]:
    """Return networks that differ in their weights."""
    chosen = {} if residual is None else {"residual": RESIDUALS[residual](0)}
    return [lk.build_network(kind, 1, N, 10, **chosen, seed=seed) for seed in range(n)]


def loop(network: lk.Network, task: ImageTask) -> Callable[[Tensor, Tensor], None]:
    """Return one iteration as everyone writes it."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

    def outputs(inputs: Tensor) -> Tensor:
        if isinstance(network, lk.RecurrentNetwork):  # the module's own kernels
            return network.readout(network.recurrent(inputs.transpose(0, 1))[0][-1])
        return network(inputs)

    def iteration(inputs: Tensor, targets: Tensor) -> None:
        optimizer.zero_grad()
        task.loss(outputs(inputs), targets).backward()
        optimizer.step()

    return iteration


def ensemble(members: list[lk.Network], task: ImageTask, device: str, batch: tuple[Tensor, Tensor]) -> Callable:
    """Return one iteration of an ensemble."""
    rates = torch.full((len(members),), 0.01)
    descent = Descent(Ensemble(members, device=device), task.loss, rates)
    members = torch.arange(len(members), device=device)
    if device == "cuda":
        return GraphedStep(descent, *batch, members)
    return lambda inputs, targets: descent.step(inputs, targets, members)


def floor(n: int, n_steps: int, n_samples: int, n_rows: int, is_dense: bool, device: str) -> Callable:
    """Return the matrix products of an iteration alone, with weights (n_rows, N)."""
    weight = torch.randn(n, n_rows, N, device=device) / N
    states = torch.randn(n, n_samples, N, device=device)
    gates, out = torch.randn(n, n_samples, n_rows, device=device), torch.empty_like(states)
    history = torch.randn(n, n_steps * n_samples, N, device=device)
    of_gates = history if n_rows == N else torch.randn(n, n_steps * n_samples, n_rows, device=device)

    def iteration(inputs: Tensor, targets: Tensor) -> None:
        for _ in range(n_steps * (2 if is_dense else 1)):
            torch.bmm(states, weight.mT, out=gates)
            torch.bmm(gates, weight, out=out)
        torch.bmm(of_gates.mT, history)

    return iteration


def medians(ways: dict[str, Callable], sizes: dict[str, int], batch: tuple[Tensor, Tensor], n: int) -> dict[str, float]:
    """Return the median time of each way, per network, in ms; the ways take turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for repetition in range(n + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way(*batch)
            if batch[0].is_cuda:
                torch.cuda.synchronize()
            if repetition:  # the first one warms up
                times[name].append((time.perf_counter() - started) * 1e3 / sizes[name])
    return {name: statistics.median(values) for name, values in times.items()}


def compare(
    kind: str, residual: str | None, task: ImageTask, n_samples: int, n_together: int, n: int, device: str
) -> dict:
    """Return times and ratios for one kind of network."""
    inputs, targets = (torch.from_numpy(array).to(device) for array in task.batch(0, n_samples))
    batch = inputs.float(), targets
    many = networks(n_together, kind, residual)
    is_dense = residual == "rotation" and kind != "wcrnn-b"
    n_rows = 4 * N if kind == "lstm" else N
    ways: dict[str, Callable] = {
        "loop": loop(networks(1, kind, residual)[0].to(device), task),
        "one": ensemble(many[:1], task, device, batch),
        "together": ensemble(many, task, device, batch),
        "floor": floor(n_together, task.n_steps, n_samples, n_rows, is_dense, device),
    }
    sizes = {"loop": 1, "one": 1, "together": n_together, "floor": n_together}
    result = {f"{name}_ms": value for name, value in medians(ways, sizes, batch, n).items()}
    result["one_against_loop"] = result["loop_ms"] / result["one_ms"]
    result["together_against_loop"] = result["loop_ms"] / result["together_ms"]
    result["together_against_floor"] = result["together_ms"] / result["floor_ms"]
    result["epochs_per_second"] = 1e3 / (result["together_ms"] * EPOCH)
    print(
        f"{kind:<10}{residual or '':<10} loop {result['loop_ms']:.0f} ms; one network {result['one_ms']:.0f} ms, "
        f"{result['one_against_loop']:.1f}× faster; {n_together} together {result['together_ms']:.0f} ms each, "
        f"{result['together_against_loop']:.1f}× faster, {result['together_against_floor']:.1f}× the matrix products "
        f"alone; {result['epochs_per_second']:.3g} epochs of MNIST per second and network",
        flush=True,
    )
    return result


def main() -> None:
    """Run, print ratios, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--quick", action="store_true", help="smaller, prints only")
    options = parser.parse_args()
    n_samples, side, n = (16, 6, 2) if options.quick else (128, 28, 7)
    n_together = 50 if options.device == "cuda" else 8
    torch.manual_seed(0)
    images = torch.rand(n_samples, side, side).double().numpy()
    labels = torch.randint(10, (n_samples,)).numpy()
    task = ImageTask("random images", Images(images, labels, images, labels))
    result = {
        f"{kind}, {residual}" if residual else kind: compare(
            kind, residual, task, n_samples, n_together, n, options.device
        )
        for kind, residual in KINDS
    }
    if options.quick:
        return
    results = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
    about = machine() | ({"gpu": torch.cuda.get_device_name()} if options.device == "cuda" else {})
    sizes = {"n_units": N, "n_steps": task.n_steps, "batch_size": n_samples, "n_together": n_together}
    results[options.device] = {"made": provenance(**sizes), "machine": about, "result": result}
    OUTPUT.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    print(f"wrote {OUTPUT.name}")


if __name__ == "__main__":
    main()
