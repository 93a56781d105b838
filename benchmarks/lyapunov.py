"""Time `lyapunov_spectrum` against the loop that everyone writes, and against what its matrix products alone cost.

    python benchmarks/lyapunov.py             # twenty minutes; writes benchmarks/lyapunov.json
    python benchmarks/lyapunov.py henon       # one section only; the others stay as they are in the file
    python benchmarks/lyapunov.py --quick     # smaller, prints only

All comparisons are ratios within one process, each the median over alternating repetitions. The loop takes the dense
Jacobian of every trajectory, multiplies it with the frame and calls `torch.linalg.qr`, at every step. Its Jacobian is
built from the weights by formulas derived by hand, or, as most people do, by `torch.func.vmap(jacrev(step))`. The floor
is one product of the frame with the recurrent weights per step and nothing else; for the WCRNN also that product times
the gains plus r times the frame, without which there is no tangent map.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import lyapkit as lk
from lyapkit.provenance import provenance

OUTPUT = Path(__file__).with_suffix(".json")
FLOORS = {"times_the_floor": "products", "times_the_floor_with_residual": "products_with_residual"}


def elman_jacobian(module: nn.RNN, state: Tensor, input: Tensor) -> tuple[Tensor, Tensor]:
    """Return the next state and the dense Jacobians (B, N, N) of a tanh RNN."""
    new = torch.tanh(
        input @ module.weight_ih_l0.mT + module.bias_ih_l0 + state @ module.weight_hh_l0.mT + module.bias_hh_l0
    )
    return new, (1 - new**2)[:, :, None] * module.weight_hh_l0


def relu_jacobian(module: nn.RNN, state: Tensor, input: Tensor) -> tuple[Tensor, Tensor]:
    """Return the next state and the dense Jacobians (B, N, N) of a relu RNN."""
    z = input @ module.weight_ih_l0.mT + module.bias_ih_l0 + state @ module.weight_hh_l0.mT + module.bias_hh_l0
    return torch.relu(z), (z > 0).to(z)[:, :, None] * module.weight_hh_l0


def lstm_jacobian(module: nn.LSTM, state: Tensor, input: Tensor) -> tuple[Tensor, Tensor]:
    """Return the next state (h, c) and the dense Jacobians (B, 2H, 2H) of an LSTM."""
    hidden, cell = state.chunk(2, -1)
    z = input @ module.weight_ih_l0.mT + module.bias_ih_l0 + hidden @ module.weight_hh_l0.mT + module.bias_hh_l0
    i, f, g, o = z.chunk(4, -1)
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    new_cell = f * cell + i * g
    tanh_cell = torch.tanh(new_cell)
    w_i, w_f, w_g, w_o = module.weight_hh_l0.chunk(4)
    gains = [g * i * (1 - i), cell * f * (1 - f), i * (1 - g**2)]
    n = hidden.shape[1]
    jacobian = state.new_empty(len(state), 2 * n, 2 * n)
    into_cell = sum(gain[:, :, None] * w for gain, w in zip(gains, (w_i, w_f, w_g), strict=True))
    slope = o * (1 - tanh_cell**2)
    jacobian[:, n:, :n] = into_cell
    jacobian[:, n:, n:] = torch.diag_embed(f)
    jacobian[:, :n, :n] = slope[:, :, None] * into_cell + (tanh_cell * o * (1 - o))[:, :, None] * w_o
    jacobian[:, :n, n:] = torch.diag_embed(slope * f)
    return torch.cat([o * tanh_cell, new_cell], -1), jacobian


def wcrnn_jacobian(module: lk.WCRNN, state: Tensor, input: Tensor) -> tuple[Tensor, Tensor]:
    """Return the next state and the dense Jacobians (B, N, N) of a WCRNN of kind "linear"."""
    activity = torch.tanh(module.recurrent(state) + module.input(input))
    gain = module.coupling * (1 - activity**2)
    residual = module.residual.matrix
    return state @ residual.mT + module.coupling * activity, residual + gain[:, :, None] * module.recurrent.weight


@torch.no_grad()
def dense_loop(jacobian: Callable, module: nn.Module, inputs: Tensor, state_size: int) -> Tensor:
    """Return the exponents (B, N) by the dense loop, one QR per step."""
    n_trajectories, n_steps, _ = inputs.shape
    state = inputs.new_zeros(n_trajectories, state_size)
    frame = torch.eye(state_size, dtype=inputs.dtype).repeat(n_trajectories, 1, 1)
    total = torch.zeros_like(state)
    for t in range(n_steps):
        state, dense = jacobian(module, state, inputs[:, t])
        frame, upper = torch.linalg.qr(dense @ frame)
        total += upper.diagonal(dim1=-2, dim2=-1).abs().log()
    return total / n_steps


@torch.no_grad()
def shared_products(weight: Tensor, n_trajectories: int, n_rows: int, n_steps: int) -> None:
    """Multiply n_rows perturbations per trajectory with one weight matrix, n_steps times: the floor."""
    rows = torch.randn(n_trajectories, n_rows, weight.shape[1], dtype=weight.dtype)
    for _ in range(n_steps):
        nn.functional.linear(rows, weight)


@torch.no_grad()
def shared_products_with_residual(weight: Tensor, n_trajectories: int, n_rows: int, n_steps: int) -> None:
    """Do the same, and weight each product with gains and add 0.98 times the perturbations."""
    rows = torch.randn(n_trajectories, n_rows, weight.shape[1], dtype=weight.dtype)
    gain = torch.full((n_trajectories, 1, len(weight)), 0.01, dtype=weight.dtype)
    for _ in range(n_steps):
        rows = nn.functional.linear(rows, weight).mul_(gain).add_(rows, alpha=0.98)


def medians(repetitions: int, **functions: Callable[[], object]) -> dict[str, float]:
    """Return the median seconds of each function, called in turn, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for repetition in range(repetitions + 1):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            if repetition:
                seconds[name].append(time.perf_counter() - started)
    return {name: float(np.median(values)) for name, values in seconds.items()}


def compare(
    name: str, build: Callable[[], nn.Module], jacobian: Callable, n_steps: int, repetitions: int, n_networks: int
) -> dict[str, object]:
    """Return the times of the loop, of lyapkit and of the floor for networks of one kind, and how well they agree."""
    networks = [compare_one(build, jacobian, n_steps, repetitions, seed) for seed in range(n_networks)]

    def middle(key: str) -> float:
        return float(np.median([network[key] for network in networks]))

    ratios = [network["times_faster_than_loop"] for network in networks]
    print(f"{name}, {n_steps} steps, 8 trajectories, median of {n_networks} random networks:")
    print(f"  {np.median(ratios):.2f}× faster than the loop ({min(ratios):.2f} … {max(ratios):.2f}),", end=" ")
    print(f"{middle('times_faster_than_loop_with_autograd'):.2f}× if its Jacobians come from autograd;", end=" ")
    floors = {name: middle(name) for name in FLOORS if name in networks[0]}
    told = ", ".join(f"{value:.2f}×{name.removeprefix('times').replace('_', ' ')}" for name, value in floors.items())
    print(f"10 leading exponents {middle('times_faster_10_leading'):.1f}×; {told}")
    print(f"  self-check {middle('self_check_share'):.1%} of the time;", end=" ")
    print(f"{middle('reorthonormalizations'):.0f} QR and {middle('reconditionings'):.0f} LU factorisations;", end=" ")
    print(f"exponents {middle('largest_exponent'):.2f} … {middle('smallest_exponent'):.2f};", end=" ")
    print(f"differences up to {max(network['largest_difference'] for network in networks):.1e}")
    return {
        "name": name,
        "n_steps": n_steps,
        "n_trajectories": 8,
        "times_faster_than_loop": float(np.median(ratios)),
        "times_faster_than_loop_with_autograd": middle("times_faster_than_loop_with_autograd"),
        "self_check_share": middle("self_check_share"),
        **floors,
        "networks": networks,
    }


def compare_one(
    build: Callable[[], nn.Module], jacobian: Callable, n_steps: int, repetitions: int, seed: int
) -> dict[str, object]:
    """Return `compare`'s figures for the network of one seed."""
    torch.manual_seed(seed)
    module = build()
    inputs = torch.rand(8, n_steps, module.input_size, dtype=torch.float64)
    system = lk.from_module(module)
    n = system.state_size
    is_wcrnn = isinstance(module, lk.WCRNN)
    weight = (module.recurrent.weight if is_wcrnn else module.weight_hh_l0).detach()
    results = {}

    def loop() -> None:
        results["loop"] = dense_loop(jacobian, module, inputs, n)

    @torch.no_grad()
    def differentiated(_: nn.Module, state: Tensor, input: Tensor) -> tuple[Tensor, Tensor]:
        dense = torch.func.vmap(torch.func.jacrev(lambda s, x: system.step(s[None], x[None])[0]))(state, input)
        return system.step(state, input), dense

    def lyapkit() -> None:
        results["lyapkit"] = lk.lyapunov_spectrum(system, inputs)

    floor_with_residual = {}
    if is_wcrnn:
        floor_with_residual["products_with_residual"] = lambda: shared_products_with_residual(weight, 8, n, n_steps)
    seconds = medians(
        repetitions,
        loop=loop,
        lyapkit=lyapkit,
        loop_with_autograd=lambda: dense_loop(differentiated, module, inputs, n),
        products=lambda: shared_products(weight, len(inputs), n, n_steps),
        leading=lambda: lk.lyapunov_spectrum(system, inputs, n_exponents=10),
        unchecked=lambda: lk.lyapunov_spectrum(system, inputs, check=False),
        **floor_with_residual,
    )
    ds = results["lyapkit"]
    difference = np.abs(ds.lyapunov_exponent.values - np.sort(results["loop"].numpy())[:, ::-1])
    difference = np.nan_to_num(difference, nan=0.0, posinf=0.0).max()  # dead directions: −∞, or noise in the loop
    return {
        "seed": seed,
        "seconds": seconds,
        "times_faster_than_loop": seconds["loop"] / seconds["lyapkit"],
        "times_faster_than_loop_with_autograd": seconds["loop_with_autograd"] / seconds["lyapkit"],
        "times_faster_10_leading": seconds["loop"] / seconds["leading"],
        "self_check_share": 1 - seconds["unchecked"] / seconds["lyapkit"],
        **{name: seconds["lyapkit"] / seconds[products] for name, products in FLOORS.items() if products in seconds},
        "reorthonormalizations": ds.attrs["n_reorthonormalizations"],
        "reconditionings": ds.attrs["n_reconditionings"],
        "largest_exponent": float(ds.lyapunov_exponent.max()),
        "smallest_exponent": float(ds.lyapunov_exponent.min()),
        "largest_difference": float(difference),
    }


def henon_batch(repetitions: int) -> dict[str, float]:
    """Return how much cheaper a map step is in a batch of 1000 trajectories than in one alone."""
    system = lk.classical.henon()
    seconds = medians(
        repetitions,
        batch=lambda: lk.lyapunov_spectrum(system, n_steps=1000, n_trajectories=1000),
        alone=lambda: lk.lyapunov_spectrum(system, n_steps=1000),
    )
    ratio = 1000 * seconds["alone"] / seconds["batch"]
    print(f"Hénon map: {ratio:.0f}× faster per map step in a batch of 1000 trajectories than one at a time")
    return {"seconds": seconds, "times_faster_per_step": ratio}


def scaling(repetitions: int, quick: bool) -> list[dict[str, float]]:
    """Return the seconds of a tanh RNN's spectrum against N, T and B around N=100, T=200, B=8."""
    base = {"n": 100, "n_steps": 200, "n_trajectories": 8}
    sweeps = {"n": [25, 50, 100, 200, 400], "n_steps": [50, 100, 200, 400, 800], "n_trajectories": [1, 2, 4, 8, 16, 32]}
    if quick:
        sweeps = {name: values[:3] for name, values in sweeps.items()}
    rows = []
    for name, values in sweeps.items():
        previous = None
        for value in values:
            sizes = base | {name: value}
            torch.manual_seed(0)
            system = lk.from_module(nn.RNN(1, sizes["n"], dtype=torch.float64))
            inputs = torch.rand(sizes["n_trajectories"], sizes["n_steps"], 1, dtype=torch.float64)
            found = {}

            def spectrum(system: lk.System = system, inputs: Tensor = inputs, found: dict = found) -> None:
                found["ds"] = lk.lyapunov_spectrum(system, inputs)

            row = sizes | {"seconds": medians(repetitions, spectrum=spectrum)["spectrum"], "varied": name}
            row |= {name: found["ds"].attrs[name] for name in ("n_reorthonormalizations", "n_reconditionings")}
            if previous is not None:
                row["local_exponent"] = float(
                    np.log(row["seconds"] / previous["seconds"]) / np.log(value / previous[name])
                )
            previous = row
            rows.append(row)
            print(
                f"N={sizes['n']:4d} T={sizes['n_steps']:4d} B={sizes['n_trajectories']:3d}: {row['seconds']:7.3f} s, "
                f"{row['n_reorthonormalizations']} QR and {row['n_reconditionings']} LU factorisations"
                + (f", cost ~ {name}^{row['local_exponent']:.2f}" if "local_exponent" in row else "")
            )
    return rows


def peak_memory() -> dict[str, float]:
    """Return the peak memory (GiB) of a process that computes N=100, T=10 000, B=8, and of one that only imports."""

    def peak(work: bool) -> float:
        command = [sys.executable, __file__, "--memory-worker", str(int(work))]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])

    memory = {"with_imports_gib": peak(True), "imports_alone_gib": peak(False)}
    print(f"N=100, T=10 000, B=8: peak memory {memory['with_imports_gib']:.2f} GiB, imports alone ", end="")
    print(f"{memory['imports_alone_gib']:.2f} GiB")
    return memory


def memory_worker(work: bool) -> None:
    """Print this process's peak memory in GiB, after computing a spectrum if `work`."""
    if work:
        system = lk.from_module(nn.RNN(1, 100, dtype=torch.float64))
        lk.lyapunov_spectrum(system, torch.rand(8, 10_000, 1, dtype=torch.float64))
    status = Path("/proc/self/status").read_text()  # unlike getrusage, not inherited from the parent
    print(int(status.split("VmHWM:")[1].split()[0]) / 2**20)


def machine() -> dict[str, object]:
    """Return what the numbers were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": len(models) or None,
        "torch_threads": torch.get_num_threads(),
        "blas": "MKL" if torch.backends.mkl.is_available() else "other",
        "system": platform.system(),
    }


def separated_lstm() -> nn.LSTM:
    """Return an LSTM of 128 units that forget at graded rates, with exponents from about −0.1 to −3.6."""
    module = nn.LSTM(28, 128, dtype=torch.float64)
    rate = torch.exp(-0.1 - 2.9 * torch.arange(128, dtype=torch.float64) / 128)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(0.2)
        module.bias_ih_l0[128:256] += torch.logit(rate.sqrt())
        module.bias_ih_l0[256:384] += 2.0
        module.weight_hh_l0[384:] += torch.diag(4.0 * rate)
    return module


def main() -> None:
    """Run the benchmarks asked for, print them, and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", help="which to run; default: all")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller runs, nothing written")
    parser.add_argument("--memory-worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_worker is not None:
        memory_worker(bool(options.memory_worker))
        return
    quick = options.quick
    repetitions = 1 if quick else 3

    def networks(
        name: str, build: Callable[[], nn.Module], jacobian: Callable, n_steps: int, n_networks: int
    ) -> Callable[[], object]:
        steps, n = (20, 1) if quick else (n_steps, n_networks)
        return lambda: compare(name, build, jacobian, steps, repetitions, n)

    double = {"dtype": torch.float64}
    identity, rotation = lk.residuals.scaled_identity(100, 0.98), lk.residuals.rotation(100, 0.2, 0.98)

    def wcrnn(residual: lk.Residual) -> lk.WCRNN:
        return lk.WCRNN(1, 100, 10, residual, 0.01, **double)

    sections = {
        "elman": networks("Elman network, N=100", lambda: nn.RNN(1, 100, **double), elman_jacobian, 784, 3),
        "relu": networks(
            "relu RNN, N=100", lambda: nn.RNN(1, 100, nonlinearity="relu", **double), relu_jacobian, 784, 2
        ),
        "wcrnn": networks("WCRNN, N=100, r·I", lambda: wcrnn(identity), wcrnn_jacobian, 784, 2),
        "rotating_wcrnn": networks("WCRNN, N=100, rotation", lambda: wcrnn(rotation), wcrnn_jacobian, 784, 2),
        "lstm": networks("LSTM, H=128, default weights", lambda: nn.LSTM(28, 128, **double), lstm_jacobian, 400, 2),
        "separated_lstm": networks("LSTM, H=128, separated exponents", separated_lstm, lstm_jacobian, 784, 1),
        "henon": lambda: henon_batch(repetitions),
        "scaling": lambda: scaling(repetitions, quick),
        "memory": peak_memory,
    }
    if unknown := set(options.sections) - set(sections):
        parser.error(f"no section {', '.join(sorted(unknown))}: choose from {', '.join(sections)}")
    results = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
    for section in options.sections or sections:
        made = provenance(repetitions=repetitions)
        results[section] = {"made": made, "machine": machine(), "result": sections[section]()}
        if not quick:
            OUTPUT.write_text(json.dumps(results, indent=2) + "\n")
            print(f"wrote {section} to {OUTPUT.name}")


if __name__ == "__main__":
    main()
