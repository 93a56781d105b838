"""Time one long trajectory of small systems, full spectrum with error bars, against pynamicalsys, in one process.

    python -P benchmarks/small_systems.py     # three minutes; writes benchmarks/small_systems.json

(-P, since numba, which pynamicalsys imports, would take the benchmark called coverage for the package of that name.)

Times are medians of alternating repetitions, after compiling. lyapkit is given NumPy functions without Jacobians (and
Hénon and Lorenz in torch, too), pynamicalsys compiled ones with Jacobians. First calls are those of a fresh process,
after `import lyapkit`, the first use of `lyapunov_spectrum`'s module, and a first dataset, for which xarray imports
Dask where it is installed. lyapkit keeps no compiled code: there is no second first call.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import llvmlite
import numba
import numpy as np
import pynamicalsys
import torch

import lyapkit as lk
from lyapkit.provenance import provenance

OUTPUT = Path(__file__).with_suffix(".json")
N_SITES = 40
FIRST_CALL = """
import time, numpy, xarray, lyapkit as lk
lk.lyapunov_spectrum
xarray.Dataset({"first": ("one", numpy.zeros(1))})
system = lk.classical.henon()
start = time.perf_counter()
ds = lk.lyapunov_spectrum(system, n_steps=2000)
assert ds.attrs["computed_by"].startswith("machine code")
print(time.perf_counter() - start)
"""


def henon(s: np.ndarray) -> np.ndarray:
    """Return the Hénon map of (x, y)."""
    return np.array([1 - 1.4 * s[0] ** 2 + s[1], 0.3 * s[0]])


def henon_in_torch(s: torch.Tensor) -> torch.Tensor:
    """Return the Hénon map of (x, y)."""
    return torch.stack([1 - 1.4 * s[0] ** 2 + s[1], 0.3 * s[0]])


def lorenz(s: np.ndarray) -> np.ndarray:
    """Return the Lorenz field."""
    x, y, z = s
    return np.array([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])


def lorenz_in_torch(s: torch.Tensor) -> torch.Tensor:
    """Return the Lorenz field."""
    x, y, z = s
    return torch.stack([10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z])


def lorenz96(s: np.ndarray) -> np.ndarray:
    """Return the field of Lorenz-96."""
    return (np.roll(s, -1) - np.roll(s, 2)) * np.roll(s, 1) - s + 8.0


@numba.njit
def lorenz96_field(time: float, u: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Return the field of Lorenz-96, for pynamicalsys."""
    n = len(u)
    out = np.empty(n)
    for i in range(n):
        out[i] = (u[(i + 1) % n] - u[i - 2]) * u[i - 1] - u[i] + parameters[0]
    return out


@numba.njit
def lorenz96_jacobian(time: float, u: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Return its derivative, for pynamicalsys."""
    n = len(u)
    out = np.zeros((n, n))
    for i in range(n):
        out[i, (i + 1) % n] += u[i - 1]
        out[i, i - 2] -= u[i - 1]
        out[i, i - 1] += u[(i + 1) % n] - u[i - 2]
        out[i, i] -= 1.0
    return out


def medians(calls: dict[str, Callable], n_steps: int, repetitions: int = 5) -> dict[str, float]:
    """Return the microseconds per step of every call, the median of alternating repetitions."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(repetitions):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: round(1e6 * statistics.median(values) / n_steps, 4) for name, values in seconds.items()}


def compared(times: dict[str, float]) -> dict[str, float]:
    """Return times and how many times faster than pynamicalsys each is."""
    theirs = times["pynamicalsys"]
    return times | {f"{name}_times_faster": round(theirs / own, 2) for name, own in times.items() if own is not theirs}


def long_trajectories(n_steps: int) -> dict[str, dict[str, float]]:
    """Return microseconds per step of one trajectory of Hénon, Lorenz and Lorenz-96."""
    start, wide = [1.0, 1.0, 20.0], np.random.default_rng(0).normal(size=N_SITES)
    maps = {"numpy": henon, "torch": henon_in_torch}
    flows = {"numpy": lorenz, "torch": lorenz_in_torch}
    ours = {name: lk.Map(step, 2, initial_state=[0.1, 0.1]) for name, step in maps.items()}
    theirs = pynamicalsys.DiscreteDynamicalSystem(model="henon map")
    calls = {name: (lambda s=s: lk.lyapunov_spectrum(s, n_steps=n_steps)) for name, s in ours.items()}
    calls["pynamicalsys"] = lambda: theirs.lyapunov([0.1, 0.1], n_steps, parameters=[1.4, 0.3])
    results = {"henon": compared(medians(calls, n_steps))}

    ours = {name: lk.Flow(field, 3, 0.01, initial_state=start) for name, field in flows.items()}
    lorenz_of_theirs = pynamicalsys.ContinuousDynamicalSystem(model="lorenz system")
    lorenz_of_theirs.integrator("rk4", time_step=0.01)
    calls = {name: (lambda s=s: lk.lyapunov_spectrum(s, n_steps=n_steps)) for name, s in ours.items()}
    calls["pynamicalsys"] = lambda: lorenz_of_theirs.lyapunov(start, n_steps / 100, parameters=[10.0, 28.0, 8 / 3])
    results["lorenz"] = compared(medians(calls, n_steps, 3))

    own, fewer = lk.Flow(lorenz96, N_SITES, 0.01, initial_state=wide), n_steps // 50
    of_theirs = pynamicalsys.ContinuousDynamicalSystem(
        equations_of_motion=lorenz96_field, jacobian=lorenz96_jacobian, system_dimension=N_SITES, number_of_parameters=1
    )
    of_theirs.integrator("rk4", time_step=0.01)
    calls = {
        "numpy": lambda: lk.lyapunov_spectrum(own, n_steps=fewer),
        "pynamicalsys": lambda: of_theirs.lyapunov(wide, fewer / 100, parameters=[8.0]),
    }
    results["lorenz96"] = compared(medians(calls, fewer, 3))
    return results


def ensemble(n_trajectories: int = 1000, n_steps: int = 2000) -> dict[str, float]:
    """Return microseconds per step and trajectory of many trajectories, compiled and by the engine."""
    calls = {
        name: lambda compile=compile: lk.lyapunov_spectrum(
            lk.classical.henon(), n_steps=n_steps, n_trajectories=n_trajectories, compile=compile
        )
        for name, compile in {"compiled": True, "engine": False}.items()
    }
    times = medians(calls, n_steps * n_trajectories, 3)
    return times | {"times_faster": round(times["engine"] / times["compiled"], 2)}


def first_call(repetitions: int = 5) -> float:
    """Return the seconds of a first call in a fresh process, the median of a few."""
    command = [sys.executable, "-c", FIRST_CALL]
    runs = (subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(repetitions))
    return round(statistics.median(float(run.stdout) for run in runs), 2)


def sweep_of_henon(n_values: int = 500, n_steps: int = 10**5) -> float:
    """Return the seconds of the command that sweeps a parameter and draws it, imports and all."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-P", "-m", "lyapkit", "sweep", "henon", f"a=0.9:1.4:{n_values}", "--quiet"]
        command += ["--steps", str(n_steps), "--plot", str(Path(folder) / "henon.png")]
        start = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        return round(time.perf_counter() - start, 2)


def main() -> None:
    """Measure, print and write."""
    n_steps = 10**6
    results = {
        "microseconds_per_step": long_trajectories(n_steps),
        "ensemble": ensemble(),
        "seconds_of_first_call": first_call(),
        "seconds_of_henon_at_500_values": sweep_of_henon(),
        "libraries": {
            "pynamicalsys": pynamicalsys.__version__,
            "numba": numba.__version__,
            "llvmlite": llvmlite.__version__,
        },
        "threads": torch.get_num_threads(),
    } | provenance(n_steps=n_steps)
    print(json.dumps(results, indent=1))
    OUTPUT.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
