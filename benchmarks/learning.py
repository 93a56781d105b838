"""Time curvature at the paper's scale: Hessian-vector products, leading Hessian eigenvalues, and the full GGN.

    python benchmarks/learning.py              # half an hour; writes benchmarks/learning.json
    python benchmarks/learning.py full_ggn     # one section only; the others stay as they are in the file
    python benchmarks/learning.py --quick      # smaller, prints only

The network is a WCRNN with N = 100, residual 0.98·I and α = 0.01; sequences have 784 steps; the block is its recurrent
weights. Products are compared with the generic way, double backward through the network's own steps, as ratios
within one process; peak memory comes from a process of its own for each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lyapunov import machine
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

import lyapkit as lk
from lyapkit.learning.objective import Objective
from lyapkit.learning.products import hessian_product
from lyapkit.provenance import provenance

OUTPUT = Path(__file__).with_suffix(".json")
BLOCK = "recurrent.weight"
MIB = 2**20


def problem(n_samples: int, n_steps: int) -> tuple[lk.WCRNN, Tensor, Tensor]:
    """Return a network, inputs between 0 and 1 like pixels, and labels."""
    torch.manual_seed(0)
    residual = lk.residuals.scaled_identity(100, 0.98)
    model = lk.WCRNN(1, 100, 10, residual, 0.01, dtype=torch.float64)
    return model, torch.rand(n_samples, n_steps, 1, dtype=torch.float64), torch.randint(10, (n_samples,))


def double_backward(model: lk.WCRNN, inputs: Tensor, targets: Tensor, vector: Tensor) -> Tensor:
    """Return a Hessian-vector product by differentiating the gradient's product with the vector."""
    weight = model.get_parameter(BLOCK).detach().clone().requires_grad_()
    value = cross_entropy(functional_call(model, {BLOCK: weight}, (inputs,)), targets)
    (gradient,) = torch.autograd.grad(value, weight, create_graph=True)
    return torch.autograd.grad((gradient * vector.view_as(weight)).sum(), weight)[0].reshape(-1)


def products(n_samples: int, n_steps: int, repetitions: int) -> dict[str, float]:
    """Return the times of one product in both ways, alternating, and their peak memories."""
    model, inputs, targets = problem(n_samples, n_steps)
    vector = torch.randn(100 * 100, dtype=torch.float64)
    times: dict[str, list[float]] = {"first": [], "next": [], "double_backward": []}
    for _ in range(repetitions):
        started = time.perf_counter()
        objective = Objective(model, inputs, targets, cross_entropy)
        own = hessian_product(objective, vector)
        times["first"].append(time.perf_counter() - started)
        for _ in range(4):  # as an iteration does
            started = time.perf_counter()
            hessian_product(objective, vector)
            times["next"].append(time.perf_counter() - started)
        started = time.perf_counter()
        generic = double_backward(model, inputs, targets, vector)
        times["double_backward"].append(time.perf_counter() - started)
    medians = {f"{name}_s": float(np.median(values)) for name, values in times.items()}
    memory = {f"{way}_MiB": peak_memory(way, n_samples, n_steps) for way in ("by_hand", "double_backward")}
    result = {
        "n_samples": n_samples,
        "n_steps": n_steps,
        **medians,
        **memory,
        "first_product_faster": medians["double_backward_s"] / medians["first_s"],
        "next_products_faster": medians["double_backward_s"] / medians["next_s"],
        "memory_ratio": memory["by_hand_MiB"] / memory["double_backward_MiB"],
        "largest_relative_difference": float((own - generic).abs().max() / generic.abs().max()),
    }
    print(
        f"Hessian-vector product, {n_samples} samples: {result['next_products_faster']:.1f}× faster than double "
        f"backward (the first {result['first_product_faster']:.1f}×), {result['memory_ratio']:.2f} of its memory, "
        f"differences up to {result['largest_relative_difference']:.1e}"
    )
    return result


def peak_memory(way: str, n_samples: int, n_steps: int) -> float:
    """Return the MiB that two products take on top of the problem, in a process of its own."""
    command = [sys.executable, __file__, "--memory-worker", way, str(n_samples), str(n_steps)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def memory_worker(way: str, n_samples: int, n_steps: int) -> None:
    """Print the MiB that two products take."""
    model, inputs, targets = problem(n_samples, n_steps)
    vector = torch.randn(100 * 100, dtype=torch.float64)
    small = problem(2, 3)  # whatever a first call loads
    double_backward(*small, vector)
    hessian_product(Objective(*small, cross_entropy), vector)
    before = peak_memory_here()
    if way == "by_hand":
        objective = Objective(model, inputs, targets, cross_entropy)
    for _ in range(2):
        if way == "by_hand":
            hessian_product(objective, vector)
        else:
            double_backward(model, inputs, targets, vector)
    print((peak_memory_here() - before) / 1024)


def peak_memory_here() -> int:
    """Return the peak memory of this process in KiB; what getrusage says would include the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def hessian(n_samples: int, n_steps: int, k: int) -> dict[str, float]:
    """Return time, products and residuals of leading Hessian eigenvalues."""
    started = time.perf_counter()
    ds = lk.hessian_eigenvalues(*problem(n_samples, n_steps), cross_entropy, k, tolerance=1e-3)
    result = {
        "n_samples": n_samples,
        "k": k,
        "seconds": time.perf_counter() - started,
        "n_products": ds.attrs["n_products"],
        "largest_relative_residual": float((ds.residual_norm / np.abs(ds.hessian_eigenvalue)).max()),
        "largest": float(ds.hessian_eigenvalue[0]),
        "peak_GiB": peak_memory_here() / MIB,
    }
    print(
        f"top {k} Hessian eigenvalues, {n_samples} samples: {result['seconds']:.0f} s, {result['n_products']} "
        f"products, relative residuals up to {result['largest_relative_residual']:.1e}"
    )
    return result


def full_ggn(n_samples: int, n_steps: int) -> dict[str, float]:
    """Return time and memory of all eigenvalues of the GGN, in a process that has done nothing else."""
    started = time.perf_counter()
    ds = lk.ggn_eigenvalues(*problem(n_samples, n_steps), cross_entropy)
    result = {
        "n_samples": n_samples,
        "n_eigenvalues": ds.sizes["eigenvalue"],
        "seconds": time.perf_counter() - started,
        "expected_memory": ds.attrs["memory"],
        "peak_GiB": peak_memory_here() / MIB,
        "largest": float(ds.ggn_eigenvalue[0]),
    }
    print(
        f"full GGN spectrum, {n_samples} samples, {result['n_eigenvalues']} eigenvalues: {result['seconds']:.0f} s, "
        f"peak {result['peak_GiB']:.1f} GiB (expected {result['expected_memory']})"
    )
    return result


def against_curvlinops(n_samples: int, n_steps: int, k: int) -> dict[str, float]:
    """Return the time of leading GGN eigenvalues by `ggn_eigenvalues`, and by curvlinops with eigsh."""
    from curvlinops import GGNLinearOperator

    model, inputs, targets = problem(n_samples, n_steps)
    started = time.perf_counter()
    ds = lk.ggn_eigenvalues(model, inputs, targets, cross_entropy, k, tolerance=1e-3)
    own = time.perf_counter() - started
    started = time.perf_counter()
    weight = [model.get_parameter(BLOCK)]
    matrix = GGNLinearOperator(
        model, torch.nn.CrossEntropyLoss(), weight, [(inputs, targets)], check_deterministic=False
    )
    size = weight[0].numel()
    operator = LinearOperator(
        (size, size), matvec=lambda v: (matrix @ torch.from_numpy(v.reshape(-1))).detach().numpy(), dtype=np.float64
    )
    start = np.random.default_rng(0).standard_normal(size)
    theirs = eigsh(operator, k, which="LA", v0=start, ncv=2 * k + 1, tol=5e-4)[0][::-1]
    seconds = time.perf_counter() - started
    result = {
        "n_samples": n_samples,
        "k": k,
        "own_s": own,
        "curvlinops_s": seconds,
        "faster": seconds / own,
        "largest_relative_difference": float(np.abs(ds.ggn_eigenvalue.values / theirs - 1).max()),
    }
    print(
        f"top {k} GGN eigenvalues, {n_samples} samples: {result['faster']:.1f}× faster than curvlinops with eigsh, "
        f"relative differences up to {result['largest_relative_difference']:.1e}"
    )
    return result


def main() -> None:
    """Run the sections, print ratios, write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", help="default: all")
    parser.add_argument("--quick", action="store_true", help="smaller, prints only")
    parser.add_argument("--memory-worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_worker is not None:
        way, *sizes = options.memory_worker
        memory_worker(way, *map(int, sizes))
        return
    n_samples, n_steps = (50, 20) if options.quick else (1000, 784)
    few = 20 if options.quick else 125
    sections: dict[str, Callable[[], object]] = {
        "full_ggn": lambda: full_ggn(n_samples, n_steps),
        "hessian_product": lambda: products(few, n_steps, 3),
        "ggn_against_curvlinops": lambda: against_curvlinops(few, n_steps, 10),
        "hessian_eigenvalues": lambda: hessian(n_samples, n_steps, 20),
    }
    if unknown := set(options.sections) - set(sections):
        parser.error(f"no section {', '.join(sorted(unknown))}: choose from {', '.join(sections)}")
    results = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
    for section in options.sections or sections:
        results[section] = {"made": provenance(), "machine": machine(), "result": sections[section]()}
        if not options.quick:
            OUTPUT.write_text(json.dumps(results, indent=2) + "\n")
            print(f"wrote {section} to {OUTPUT.name}")


if __name__ == "__main__":
    main()
