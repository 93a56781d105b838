"""Measure how often exponents lie within two of their standard errors of the limit, in independent runs.

    python benchmarks/coverage.py             # six minutes on one core; writes benchmarks/coverage.json
    python benchmarks/coverage.py intervals   # one section only; the others stay as they are in the file
    python benchmarks/coverage.py --quick     # fewer and shorter runs, prints only

± 2 standard errors are meant as 95 % intervals. A row is one exponent of one system: the fraction of runs whose
exponent lies in its interval, and the standard error, its mean and its median, in units of the true scatter (the root
mean square deviation from the limit). Fractions outside of 90–99 % are marked. The limits are closed forms, or means
over independent and much longer runs, each direction of the frame by itself: sorting them would bias them.

- `along`: `standard_error` of `lyapunov_spectrum`, with its adaptive intervals, about 32 of them.
- `intervals`: the same with very many intervals, and with few, into which those of adaptive runs are joined.
- `ensembles`: `ensemble_mean` of 2, 3, 4 and 8 trajectories of systems; rows pool the exponents of a network.
- `synthetic`: the same of normal exponents that differ between trajectories: `between` is the variance of what they
  tend to, in units of the variance along them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from lyapunov import machine
from scipy.special import digamma
from torch import nn

import lyapkit as lk
from lyapkit.provenance import provenance
from lyapkit.statistics import time_average_standard_error

OUTPUT = Path(__file__).with_suffix(".json")
LOWEST, HIGHEST = 0.90, 0.99
LENGTHS = (500, 2000, 10_000)
GROUPS = (2, 3, 4, 8)
N_UNITS = 10
N_ROWS = 4  # of the random matrices


@dataclass(frozen=True)
class Case:
    """A system: how to run it, and its limits, in closed form or by runs of `limit_steps` steps."""

    name: str
    run: Callable[..., xr.Dataset]
    limits: np.ndarray | None = None
    limit_steps: int = 0

    def limit(self, quick: bool) -> np.ndarray:
        """Return the exponents for T → ∞."""
        if self.limits is not None:
            return self.limits
        ds = self.run(self.limit_steps // (10 if quick else 1), 100 if quick else 400, seed=1000)
        unsorted = np.empty(ds.lyapunov_exponent.shape)
        np.put_along_axis(unsorted, ds.direction.values.astype(int), ds.lyapunov_exponent.values, axis=1)
        return np.sort(unsorted.mean(axis=0))[::-1]


def autonomous(system: lk.System, n_transient: int) -> Callable[..., xr.Dataset]:
    """Return how to run an autonomous system from random points of its attractor."""

    def run(n_steps: int, n_runs: int, seed: int, **options: object) -> xr.Dataset:
        return lk.lyapunov_spectrum(
            system, n_steps=n_steps, n_transient=n_transient, n_trajectories=n_runs, seed=seed, **options
        )

    return run


def driven(system: lk.System, scale: float, n_transient: int) -> Callable[..., xr.Dataset]:
    """Return how to run a system with independent normal inputs."""

    def run(n_steps: int, n_runs: int, seed: int, **options: object) -> xr.Dataset:
        shape = (n_runs, n_transient + n_steps, system.input_size)
        inputs = scale * np.random.default_rng(seed).normal(size=shape)
        return lk.lyapunov_spectrum(
            system, inputs, n_transient=n_transient, initial_frame="random", seed=seed, **options
        )

    return run


def network(gain: float) -> lk.System:
    """Return h ← tanh(g J h + U x + b) with independent normal weights."""
    generator = torch.Generator().manual_seed(3)
    module = nn.RNN(1, N_UNITS, dtype=torch.float64)
    with torch.no_grad():
        module.weight_hh_l0.normal_(generator=generator).mul_(gain / N_UNITS**0.5)
        module.weight_ih_l0.normal_(generator=generator)
        module.bias_ih_l0.normal_(generator=generator).mul_(0.1)
        module.bias_hh_l0.zero_()
    return lk.from_module(module)


def matrices() -> lk.System:
    """Return the map whose Jacobians are its inputs, matrices with `N_ROWS` rows."""
    n = N_ROWS
    return lk.Map(
        lambda state, input: torch.einsum("bij,bj->bi", input.view(-1, n, n), state),
        state_size=n,
        input_size=n * n,
        jacobian=lambda state, input: input.view(-1, n, n),
        batched=True,
        initial_state=np.zeros(n),
        name=f"product of Gaussian {n}×{n} matrices",
    )


def cases() -> dict[str, Case]:
    """Return the systems; the exponents of products of Gaussian matrices are Newman's (1986)."""
    newman = 0.5 * (np.log(2 / N_ROWS) + digamma((N_ROWS - np.arange(N_ROWS)) / 2))
    listed = [
        Case("logistic", autonomous(lk.classical.logistic(), 50), np.array([np.log(2)])),
        Case("henon", autonomous(lk.classical.henon(), 100), limit_steps=20_000),
        Case("lorenz", autonomous(lk.classical.lorenz(), 1000), limit_steps=20_000),
        Case("matrices", driven(matrices(), N_ROWS**-0.5, 50), newman),
        Case("network 0.8", driven(network(0.8), 1.0, 200), limit_steps=10_000),
        Case("network 1.5", driven(network(1.5), 1.0, 200), limit_steps=10_000),
    ]
    return {case.name: case for case in listed}


def measured(exponents: np.ndarray, errors: np.ndarray, limits: np.ndarray, **row: object) -> list[dict[str, object]]:
    """Return a row for each exponent, from (run, exponent) and (exponent,)."""
    deviation = exponents - limits
    scatter = np.sqrt((deviation**2).mean(axis=0))
    inside = (np.abs(deviation) < 2 * errors).mean(axis=0)
    ratio, middle = errors.mean(axis=0) / scatter, np.median(errors, axis=0) / scatter
    bias = deviation.mean(axis=0) / scatter
    return [
        row
        | {"exponent": index + 1, "n_runs": len(exponents), "limit": float(limits[index])}
        | {"coverage": float(inside[index]), "mean_error_over_scatter": float(ratio[index])}
        | {"median_error_over_scatter": float(middle[index]), "bias_over_scatter": float(bias[index])}
        for index in range(len(limits))
    ]


def header(*names: str) -> None:
    """Print the header of a table whose first columns have the given names."""
    title = "".join(f"{name.removeprefix('n_'):>14}" for name in names)
    print(f"\n{title}{'exponent':>10}{'runs':>7}{'coverage':>15}{'error/scatter: mean':>22}{'median':>13}", flush=True)


def report(rows: list[dict[str, object]], *names: str) -> None:
    """Print rows of a table; the exponents of a network in one line, as ranges."""
    many = len(rows) > N_ROWS
    for part in [rows] if many else [[row] for row in rows]:
        line = "".join(f"{part[0][name]!s:>14}" for name in names)
        rank = f"1–{len(part)}" if many else part[0]["exponent"]
        texts = [
            _extent([row[key] for row in part], digits)
            for key, digits in (("coverage", 3), ("mean_error_over_scatter", 2), ("median_error_over_scatter", 2))
        ]
        mark = "" if all(LOWEST <= row["coverage"] <= HIGHEST for row in part) else "  ← outside"
        print(f"{line}{rank!s:>10}{part[0]['n_runs']:>7}{texts[0]:>15}{texts[1]:>22}{texts[2]:>13}{mark}", flush=True)


def _extent(values: list[float], digits: int) -> str:
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return low if len(values) == 1 else f"{low}–{high}"


def along(limits: dict[str, np.ndarray], quick: bool) -> list[dict[str, object]]:
    """Return the rows of errors along trajectories."""
    rows = []
    header("system", "n_steps")
    for name, case in cases().items():
        for n_steps in LENGTHS[:2] if quick else LENGTHS:
            ds = case.run(n_steps, 100 if quick else 400, seed=1)
            found = measured(
                ds.lyapunov_exponent.values, ds.standard_error.values, limits[name], system=name, n_steps=n_steps
            )
            report(found, "system", "n_steps")
            rows += found
    return rows


def intervals(limits: dict[str, np.ndarray], quick: bool) -> list[dict[str, object]]:
    """Return the rows of very many and of few intervals."""
    rows = []
    header("system", "n_steps", "n_intervals")

    def add(name: str, ds: xr.Dataset) -> None:
        errors = time_average_standard_error(ds["log_growth"].values, ds["duration"].values)
        row = {"system": name, "n_steps": n_steps_of(ds), "n_intervals": ds.sizes["interval"]}
        found = measured(ds.lyapunov_exponent.values, errors, limits[name], **row)
        report(found, *row)
        rows.extend(found)

    n_runs = 100 if quick else 400
    for name, n_steps, length in (("logistic", 10_000, 1), ("henon", 10_000, 1), ("lorenz", 10_000, 5)):
        add(name, cases()[name].run(n_steps // (5 if quick else 1), n_runs, seed=2, reorthonormalize=length))
    for name in cases():
        ds = cases()[name].run(2000, n_runs, seed=2)
        for n_joined in (2, 3, 4):
            add(name, lk.coarsen(ds, float(n_joined * ds["duration"][0])))
    return rows


def n_steps_of(ds: xr.Dataset) -> int:
    """Return how many steps a spectrum counted."""
    return round(float(ds["end_time"][-1]) / ds.attrs["time_step"])


def means(exponents: np.ndarray, errors: np.ndarray, n_trajectories: int) -> tuple[np.ndarray, np.ndarray]:
    """Return means and their errors (group, exponent) of consecutive groups of runs, from (run, exponent)."""
    n_groups, k = len(exponents) // n_trajectories, exponents.shape[1]

    def grouped(values: np.ndarray) -> tuple[tuple[str, str], np.ndarray]:
        values = values[: n_groups * n_trajectories].reshape(n_groups, n_trajectories, k)
        return ("trajectory", "exponent"), np.moveaxis(values, 1, 0).reshape(n_trajectories, -1)

    ds = xr.Dataset({"lyapunov_exponent": grouped(exponents), "standard_error": grouped(errors)})
    ds["lyapunov_exponent"].attrs["units"] = "nats per step"
    mean = lk.ensemble_mean(ds)
    return tuple(mean[name].values.reshape(n_groups, k) for name in ("lyapunov_exponent", "standard_error"))


def ensembles(limits: dict[str, np.ndarray], quick: bool) -> list[dict[str, object]]:
    """Return the rows of means over trajectories of systems."""
    rows = []
    header("system", "n_steps", "n_trajectories")
    for name in ("henon", "lorenz", "network 0.8", "network 1.5"):
        ds = cases()[name].run(500 if quick else 1000, 400 if quick else 2400, seed=3)
        for n_trajectories in GROUPS:
            found = means(ds.lyapunov_exponent.values, ds.standard_error.values, n_trajectories)
            row = {"system": name, "n_steps": n_steps_of(ds), "n_trajectories": n_trajectories}
            measurement = measured(*found, limits[name], **row)
            report(measurement, *row)
            rows += measurement
    return rows


def synthetic(limits: dict[str, np.ndarray], quick: bool) -> list[dict[str, object]]:
    """Return the rows of means of normal exponents; errors along them are as uncertain as from 32 batches."""
    rows = []
    header("between", "n_trajectories")
    rng = np.random.default_rng(4)
    for between in (0.0, 0.3, 1.0, 3.0, 10.0, 100.0, 10_000.0):
        for n_trajectories in GROUPS:
            shape = ((2000 if quick else 10_000) * n_trajectories, 1)
            exponents = np.sqrt(1 + between) * rng.normal(size=shape)
            found = means(exponents, np.sqrt(rng.chisquare(31, size=shape) / 31), n_trajectories)
            measurement = measured(*found, np.zeros(1), between=between, n_trajectories=n_trajectories)
            report(measurement, "between", "n_trajectories")
            rows += measurement
    return rows


SECTIONS = {"along": along, "intervals": intervals, "ensembles": ensembles, "synthetic": synthetic}


def main() -> None:
    """Run the sections asked for, print them, and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", help=f"which to run, of {', '.join(SECTIONS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs, nothing written")
    options = parser.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        parser.error(f"no section {', '.join(sorted(unknown))}: choose from {', '.join(SECTIONS)}")
    torch.set_num_threads(1)
    started = time.perf_counter()
    chosen = options.sections or list(SECTIONS)
    limits = {name: case.limit(options.quick) for name, case in cases().items()} if chosen != ["synthetic"] else {}
    results = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
    for section in chosen:
        rows = SECTIONS[section](limits, options.quick)
        seconds = round(time.perf_counter() - started, 1)
        results[section] = {"made": provenance(seconds=seconds), "machine": machine(), "result": rows}
        if not options.quick:
            OUTPUT.write_text(json.dumps(results, indent=2) + "\n")
            print(f"wrote {section} to {OUTPUT.name} after {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
