"""Choose the learning rates of `expressivity.py`: a short training at several rates.

    python analyses/learning_rate.py                   # all tasks at the scale quick, into data/learning_rate/quick/
    python analyses/learning_rate.py --task add100
    python analyses/learning_rate.py --scale full-length --task smnist   # one epoch at 784 steps, half a core hour
    python analyses/learning_rate.py --task smnist --sweep architecture --value lstm --value gru
    python analyses/learning_rate.py --task smnist --sweep coupling      # three networks at each α, a core hour

One weight seed, a part of the iterations, for a few radii of the residual r·I, or for other architectures. The rate to
take is the largest at which no network of the three is unstable, or the one at which the loss of an architecture has
come lowest; the table printed in the end shows training losses and test scores, by which to judge. On the adding
problem nothing is learnt in so short a time; there it shows how large a rate can be before the loss leaves the level of
chance upwards. Over couplings α the rates make a grid on which η α and η α² repeat; there a network is trained until
minimal performance, to see which of them decides how soon that is.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
from pathlib import Path

import numpy as np
import xarray as xr

import lyapkit as lk
from analyses.expressivity import ROOT, run_folder
from analyses.grid import SETTINGS, Settings, as_pairs, build, cached_task, options_of
from lyapkit.models import ARCHITECTURES
from lyapkit.provenance import provenance
from lyapkit.sweeps import cell_path, is_done, join_cells, run_cells
from lyapkit.training import train

HALF_DECADES = tuple(float(f"{10 ** (exponent / 2):.4g}") for exponent in range(-5, 2))  # 0.003162 to 3.162
SWEEPS = {"radius": (0.97, 0.99, 1.0), "architecture": tuple(ARCHITECTURES), "coupling": HALF_DECADES[:4]}
LONG_RADII, LONG_RATES = (0.97, 0.99, 1.0, 1.005), (0.0003, 0.001, 0.003, 0.01, 0.03)  # of whole images, 784 steps
RATES = {
    ("radius", "image"): (0.03, 0.1, 0.3, 1.0),
    ("radius", "add"): (0.01, 0.05, 0.1, 0.3),
    ("architecture", "image"): (0.0001, 0.001, 0.01, 0.03, 0.1, 0.3, 1.0),
    ("architecture", "add"): (0.0001, 0.001, 0.01, 0.05, 0.3),
    ("coupling", "image"): HALF_DECADES,
}
N_ITERATIONS = {"image": 468, "add": 2000}
LONG_NAMES = {"radius": "radius r", "architecture": "architecture", "coupling": "coupling α"}
OVER_COUPLINGS = {"n_iterations": 936, "evaluate_every": 39}  # two epochs
N_NETWORKS = {"coupling": 3}  # of others one


def compute(
    learning_rate: float, settings: list, *, folder: Path, network: int | None = None, **swept: float | str
) -> xr.Dataset:
    """Return the learning curves of one network, the first if it has no number."""
    cell = {"learning_rate": learning_rate, **swept, **({} if network is None else {"network": network})}
    cell["settings"] = settings
    ((sweep, value),) = swept.items()
    settings = Settings(**dict(settings))
    stops = {"stop_at_minimal_performance": True} if sweep == "coupling" else {}
    options = options_of(sweep, value, settings) | stops | {"learning_rate": learning_rate}
    network = build(sweep, value, network or 0, settings)
    result = train([network], cached_task(settings.task), **options, folder=run_folder(folder, cell), resume=True)
    return result.metrics.isel(network=0, drop=True)


def table(ds: xr.Dataset, sweep: str) -> str:
    """Return training loss and test score at the end, per learning rate and swept value; of the first network."""
    first = ds.isel(network=0) if "network" in ds.dims else ds
    symbol = {"radius": "r", "coupling": "α"}.get(sweep)
    names = [value if isinstance(value, str) else f"{symbol} = {value:g}" for value in ds[sweep].values.tolist()]
    lines = ["learning rate" + "".join(f"{name:>18}" for name in names)]
    for rate in ds["learning_rate"].values:
        one = first.sel(learning_rate=rate)
        cells = (
            f"{_last(losses):>10.3f}{_last(scores):>8.3f}"
            for losses, scores in zip(one["train_loss"].values, one["test_score"].values, strict=True)
        )
        lines.append(f"{rate:<13g}" + "".join(cells))
    return "\n".join(lines)


def _last(curve: np.ndarray) -> float:
    """Return what a learning curve ends with, where training may have stopped early."""
    known = curve[~np.isnan(curve)]
    return float(known[-1]) if known.size else np.nan


def main() -> None:
    """Compute what is missing, join, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=list(SETTINGS), default="quick")
    parser.add_argument("--task", action="append", help="only this task; may be given several times")
    parser.add_argument("--sweep", choices=list(SWEEPS), default="radius", help="over what; default: radius")
    parser.add_argument(
        "--value", action="append", help="only this radius, architecture or α; may be given several times"
    )
    parser.add_argument("--rate", action="append", type=float, help="only this rate; may be given several times")
    parser.add_argument("--workers", type=int, help="processes; default: one per core")
    parser.add_argument("--folder", type=Path, default=ROOT / "data" / "learning_rate", help="where to write")
    options = parser.parse_args()
    folder = options.folder / options.scale
    folder.mkdir(parents=True, exist_ok=True)
    for name, full in SETTINGS[options.scale].items():
        if options.task is not None and name not in options.task:
            continue
        kind = "add" if name.startswith("add") else "image"
        if (options.sweep, kind) not in RATES:
            continue
        n_iterations, rates, values = N_ITERATIONS[kind], RATES[options.sweep, kind], SWEEPS[options.sweep]
        if kind == "image" and options.scale != "quick" and options.sweep == "radius":
            rates, values = LONG_RATES, LONG_RADII
        settings = dataclasses.replace(full, n_iterations=n_iterations)
        if options.sweep == "coupling":
            settings = dataclasses.replace(full, **OVER_COUPLINGS)
        n_networks = N_NETWORKS.get(options.sweep)
        numbers = [{}] if n_networks is None else [{"network": number} for number in range(n_networks)]
        cells = [
            {"learning_rate": rate, options.sweep: value, **number, "settings": as_pairs(settings)}
            for number in numbers
            for rate in rates
            for value in values
        ]
        chosen = [
            cell
            for cell in cells
            if (options.rate is None or cell["learning_rate"] in options.rate)
            and (options.value is None or str(cell[options.sweep]) in options.value)
        ]
        output = folder / f"{name}_{options.sweep}.nc"
        parts = output.with_suffix(".parts")
        run_cells(functools.partial(compute, folder=parts), chosen, parts, n_workers=options.workers)
        paths = [cell_path(parts, cell) for cell in cells if is_done(cell, cell_path(parts, cell))]
        if not paths:
            parser.error(f"no such cells: rates are {rates}, values {values}")
        ds = join_cells(paths, ["learning_rate", options.sweep, *([] if n_networks is None else ["network"])])
        ds["learning_rate"].attrs["long_name"] = "learning rate η"
        ds[options.sweep].attrs["long_name"] = LONG_NAMES[options.sweep]
        the_task = cached_task(settings.task)
        asked = ["python analyses/learning_rate.py", "--scale", options.scale, "--task", name, "--sweep", options.sweep]
        about = {
            "title": f"Learning rates for {name}",
            "command": " ".join(asked),
            "scale": "paper" if options.scale == "paper" else "quick",
        }
        made = provenance(**dataclasses.asdict(settings)) | the_task.description
        ds.attrs = made | ds.attrs | about
        lk.save(ds, output)
        print(
            f"{the_task}, {settings.n_iterations} iterations: training loss and test {the_task.score_name} at the end"
        )
        print(table(ds, options.sweep))


if __name__ == "__main__":
    main()
