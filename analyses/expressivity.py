"""Train the paper's networks on its tasks, over a grid of residuals and weight seeds (Figures 3 to 6, both tables).

    python analyses/expressivity.py --task smnist --sweep radius   # into data/expressivity/quick/smnist_radius.nc
    python analyses/expressivity.py --scale paper --device cuda    # everything, the most wanted first
    python analyses/expressivity.py --dry-run                      # the queue, what is done, what the rest costs

A cell is one network: a task, an architecture, a value of the swept parameter and a weight seed. Each has a file, and a
folder with its state and checkpoints; what is done, here or in the file of its sweep, is not done again, and a run that
was stopped goes on with the iteration it had reached. One process per core takes one cell after the other; on a GPU, or
with --together, all cells of a sweep are trained as one ensemble, which is faster for short sequences; on a Dask
cluster (--scheduler ADDRESS) the workers take cells, and must share the folder. Either way all networks of a task see
the same stream of batches.

Scale "paper" is that of the paper (N = 100, batches of 128, full length, 5 seeds), as far as it can be known; "quick"
is what two CPU cores can do in an hour or two: images of 14×14 pixels, 196 steps, a few epochs; "full-length" has all
784 steps, and a few dozen epochs. A network whose number of iterations is raised goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import importlib
import json
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import lyapkit as lk
from analyses.grid import (
    N_EIGENVALUES,
    N_MEASURED,
    ORDER,
    SETTINGS,
    Settings,
    build,
    cached_task,
    cells_of,
    measured_at,
    options_of,
    own,
    settings_of,
)
from analyses.swept import SWEEPS
from lyapkit.models.network import Network
from lyapkit.provenance import provenance
from lyapkit.sweeps import Cell, cell_path, is_done, join_cells, parted, run_cells, save_cell
from lyapkit.tasks.task import as_tensors
from lyapkit.training import Ensemble, checkpoints, train

ROOT = Path(__file__).resolve().parent.parent


def learn(
    cells: list[Cell], kept_in: Path, *, time_budget: float | None = None, device: str = "cpu", progress: bool = False
) -> list[xr.Dataset] | None:
    """Train the networks of cells as one ensemble, analyse them at checkpoints, and return a dataset for each.

    None if the time is over before they are done. Their state is kept in the folder `kept_in`.
    """
    first, settings = cells[0], Settings(**dict(cells[0]["settings"]))
    result = train(
        [build(cell["sweep"], cell["value"], cell["network"], settings) for cell in cells],
        cached_task(settings.task),
        **options_of(first["sweep"], first["value"], settings),
        folder=kept_in,
        checkpoints=sorted({iteration for cell in cells for iteration in measured_at(cell)}),
        resume=True,
        time_budget=time_budget,
        device=device,
        progress=progress,
    )
    if not result.is_finished:
        return None
    learnt = []
    for index, cell in enumerate(cells):
        ds = result.metrics.isel(network=index, drop=True)
        if at := measured_at(cell):
            ds = ds.merge(measured(checkpoints(kept_in, index), at, settings, cell["scale"]))
        learnt.append(ds)
    return learnt


def compute(*, folder: Path, deadline: float = np.inf, device: str = "cpu", **cell: object) -> xr.Dataset | None:
    """Return the dataset of one cell, or None if the time is over before it is done."""
    left = deadline - time.time()
    if left < 0:
        return None
    learnt = learn([cell], run_folder(folder, cell), time_budget=None if left == np.inf else left, device=device)
    return None if learnt is None else learnt[0]


def run_folder(folder: Path, cell: Cell) -> Path:
    """Return where the state of a cell is kept; its settings are part of the name, but not how long it is trained."""
    settings = {name: value for name, value in dict(cell["settings"]).items() if name != "n_iterations"}
    return folder / f"{cell_path(folder, cell).stem}_{_digest(dict(cell) | {'settings': settings})}.run"


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]


def measured(kept: dict[int, Path], at: list[int], settings: Settings, scale: str) -> xr.Dataset:
    """Return exponents, gradient norms and leading Hessian eigenvalues of a network at some of its checkpoints."""
    found = {iteration: kept[iteration] for iteration in at if iteration in kept}
    the_task = cached_task(settings.task)
    n_samples, n_for_exponents = N_MEASURED[scale]
    inputs, targets = the_task.test_samples(n_samples)
    given = (inputs.astype(np.float64), targets, the_task.loss)
    spectra = lk.over_training(_mean_spectrum, found, given[0][:n_for_exponents])
    norms = lk.over_training(lk.gradient_norms, found, *given)["gradient_norm"]
    logs = np.log(norms.where(norms.min("time") > 0)).mean("sample")
    curvature = lk.over_training(lk.hessian_eigenvalues, found, *given, N_EIGENVALUES, tolerance=1e-2)
    ds = xr.Dataset(
        {
            "lyapunov_exponent": spectra["lyapunov_exponent"],
            "log_gradient_norm": logs.assign_attrs(units="1", long_name="log ‖∂L/∂h_t‖, mean over samples"),
            "hessian_eigenvalue": curvature["hessian_eigenvalue"],
            "eigenvalue_residual": curvature["residual_norm"],
        }
    )
    ds = ds.drop_vars([name for name in ds.coords if name not in ds.dims]).rename(step="checkpoint")
    ds["checkpoint"].attrs = {"units": "1", "long_name": "training iteration of a checkpoint"}
    return ds


def _mean_spectrum(model: Network, inputs: np.ndarray) -> xr.Dataset:
    return lk.ensemble_mean(lk.lyapunov_spectrum(model, inputs))[["lyapunov_exponent"]]


def compute_together(cells: list[Cell], folder: Path, device: str, time_budget: float | None) -> None:
    """Train the cells of a sweep that are not done as one ensemble per architecture, and write each to its file."""
    waiting: dict[str, list[Cell]] = {}
    for cell in cells:
        if not is_done(cell, cell_path(folder, cell)):
            group = str(cell["value"]) if cell["sweep"] == "architecture" else ""
            waiting.setdefault(group, []).append(cell)
    started = time.time()
    for group in waiting.values():
        left = None if time_budget is None else max(0.0, time_budget - (time.time() - started))
        kept_in = folder / f"together_{_digest(group)}.run"
        learnt = learn(group, kept_in, time_budget=left, device=device, progress=True)
        for cell, ds in zip(group, learnt or [], strict=False):
            save_cell(cell, ds, cell_path(folder, cell))


def seconds_per_cell(sweep: str, value: float | str, settings: Settings, device: str) -> float:
    """Return what one network costs on this machine, from a few iterations and an evaluation that are timed now."""
    the_task = cached_task(settings.task)
    ensemble = Ensemble([build(sweep, value, 0, settings)], torch.float32, device)
    samples = the_task.batch(0, settings.batch_size)
    batch = as_tensors(samples, torch.float32, torch.device(device))

    def seconds(function: Callable[[], object], n: int) -> float:
        function()
        started = time.perf_counter()
        for _ in range(n):
            function()
        return (time.perf_counter() - started) / n

    step = seconds(lambda: ensemble.losses_and_gradients(*batch, the_task.loss), 3)
    test = seconds(lambda: ensemble.outputs(batch[0]), 3) / settings.batch_size
    n_test = settings.n_test_samples or len(the_task.test_samples()[0])
    n_evaluations = settings.n_iterations / settings.evaluate_every + 1
    return settings.n_iterations * step + n_evaluations * n_test * test


def output_path(folder: Path, scale: str, task_name: str, sweep: str) -> Path:
    """Return the file of a sweep of a task."""
    return folder / scale / f"{task_name}_{sweep}.nc"


def restore(cells: list[Cell], folder: Path, output: Path) -> None:
    """Give the cells that the file of a sweep holds files of their own, so that they are not trained again.

    A file whose networks learnt in another way than these cells holds none of them.
    """
    waiting = {(cell["value"], cell["network"]): cell for cell in cells if not is_done(cell, cell_path(folder, cell))}
    if not waiting or not output.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    ds = lk.load(output).load()
    dim = SWEEPS[cells[0]["sweep"]].dim
    rates = ds["learning_rate"].to_series()
    about = {name: ds.attrs[name] for name in ("created_at", "lyapkit_version", "git_commit", "versions")}
    for place, part in parted(ds.rename({dim: "value"}), ["value", "network"]):
        cell = waiting.get((place["value"], place["network"]))
        if cell is None:
            continue
        settings = Settings(**dict(cell["settings"]))
        wanted = _parameters(cell["sweep"], ds[dim].values.tolist()[0], settings)
        found = json.loads(ds.attrs["parameters"]) | {"learning_rate": float(rates[place["value"]])}
        if found == json.loads(json.dumps(wanted)):
            save_cell(cell, part.assign_attrs(about), cell_path(folder, cell))


def _parameters(sweep: str, value: float | str, settings: Settings) -> dict[str, object]:
    """Return what the file of a sweep says about how its networks were trained."""
    return dataclasses.asdict(settings) | options_of(sweep, value, settings)


def write(sweep: str, scale: str, folder: Path, output: Path, task_name: str, settings: Settings) -> None:
    """Join the cells of a sweep that are done into one file."""
    cells = cells_of(sweep, settings, scale)
    paths = [cell_path(folder, cell) for cell in cells if is_done(cell, cell_path(folder, cell))]
    if not paths:
        return
    dim = SWEEPS[sweep].dim
    ds = join_cells(paths, ["value", "network"]).rename(value=dim)
    units = {"radius": "1", "frequency": "rad per step", "spread": "1", "coupling": "1"}
    names = {
        "radius": "radius r",
        "frequency": "frequency ω",
        "spread": "spread ε of the radii",
        "coupling": "coupling α",
    }
    ds[dim].attrs = {"units": units.get(dim, "1"), "long_name": names.get(dim, dim)}
    ds["network"].attrs |= {"long_name": "weight seed"}
    the_task = cached_task(settings.task)
    made = provenance(**_parameters(sweep, ds[dim].values.tolist()[0], settings)) | the_task.description
    rates = [own(value, settings).learning_rate for value in ds[dim].values.tolist()]
    ds["learning_rate"] = (dim, rates, {"units": "1", "long_name": "learning rate η"})
    ds.attrs = (
        made
        | ds.attrs
        | {
            "title": f"Learning {task_name}: sweep of {sweep}",
            "command": f"python analyses/expressivity.py --scale {scale} --task {task_name} --sweep {sweep}",
            "scale": "paper" if scale == "paper" else "quick",
            "n_cells_wanted": len(cells),
            "references": "Dubinin & Effenberger 2024, Section 4",
        }
    )
    if output.is_file() and lk.load(output).attrs["n_cells"] > len(paths):
        print(f"{output.name} holds more than the {len(paths)} cells that are done here, and is kept as it is")
        return
    lk.save(ds, output)
    score = ds["best_score"].mean("network").values
    print(f"{output.relative_to(folder.parent)}: {len(paths)} of {len(cells)} cells; best {the_task.score_name}:")
    print("   " + ", ".join(f"{value}: {best:.3f}" for value, best in zip(ds[dim].values, score, strict=True)))


def main() -> None:
    """Print the queue, compute what is missing, join, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=list(SETTINGS), default="quick")
    parser.add_argument("--task", action="append", help="only this task; may be given several times")
    parser.add_argument("--sweep", action="append", help="only this sweep; may be given several times")
    parser.add_argument("--value", action="append", help="only this value of the swept parameter, likewise")
    parser.add_argument("--seeds", type=int, help="number of weight seeds; default: 3, at the scale paper 5")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--together", action="store_true", help="train a sweep as one ensemble; so it is on a GPU")
    parser.add_argument("--scheduler", help="address of a Dask scheduler whose workers share this folder")
    parser.add_argument("--time-budget", type=float, help="seconds after which to stop; the next run goes on")
    parser.add_argument("--workers", type=int, help="processes; default: one per core")
    parser.add_argument("--dry-run", action="store_true", help="print the queue and what it costs, and stop")
    parser.add_argument("--folder", type=Path, default=ROOT / "data" / "expressivity", help="where to write")
    options = parser.parse_args()
    chosen = [
        (sweep, name)
        for sweep, name in ORDER
        if name in SETTINGS[options.scale]
        and (options.task is None or name in options.task)
        and (options.sweep is None or sweep in options.sweep)
    ]
    if not chosen:
        parser.error(f"no such cells: choose from {', '.join(f'{name} {sweep}' for sweep, name in ORDER)}")
    deadline = np.inf if options.time_budget is None else time.time() + options.time_budget
    queue = []
    for sweep, name in chosen:
        settings = settings_of(options.scale, name, sweep)
        output = output_path(options.folder, options.scale, name, sweep)
        cells = [
            cell
            for cell in cells_of(sweep, settings, options.scale)
            if (options.value is None or str(cell["value"]) in options.value)
            and (options.seeds is None or cell["network"] < options.seeds)
        ]
        if cells:
            queue.append((cells, output.with_suffix(".parts"), output, name, settings))
    for cells, folder, output, *_ in queue:
        restore(cells, folder, output)
    print_queue(queue, options.device)
    if options.dry_run:
        return
    executor, function = cluster(options.scheduler) if options.scheduler else (None, compute)
    for cells, folder, output, name, settings in queue:
        folder.mkdir(parents=True, exist_ok=True)
        if options.device == "cuda" or options.together:
            compute_together(cells, folder, options.device, None if deadline == np.inf else deadline - time.time())
        do = functools.partial(function, folder=folder, deadline=deadline, device=options.device)
        run_cells(do, cells, folder, n_workers=1 if options.device == "cuda" else options.workers, executor=executor)
        write(cells[0]["sweep"], options.scale, folder, output, name, settings)


def cluster(address: str) -> tuple[Executor, Callable[..., xr.Dataset | None]]:
    """Return an executor on a Dask cluster, and `compute` as its machines know it, to whom the scripts are sent."""
    from distributed import Client

    client = Client(address)
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "analyses.zip"
        with zipfile.ZipFile(package, "w") as archive:
            for name in ("__init__.py", "swept.py", "grid.py", "expressivity.py"):
                archive.write(Path(__file__).with_name(name), f"analyses/{name}")
        client.upload_file(str(package))
    return client.get_executor(), importlib.import_module("analyses.expressivity").compute


def print_queue(queue: list[tuple], device: str) -> None:
    """Print what is done, and what the rest costs, measured now."""
    torch.set_num_threads(1)
    total = 0.0
    print(f"{'task':<12}{'sweep':<16}{'done':>10}{'s per cell':>12}{'core hours left':>17}")
    for cells, folder, *_, settings in queue:
        waiting = [cell for cell in cells if not is_done(cell, cell_path(folder, cell))]
        cost = 0.0
        if waiting:
            distinct = (
                {cell["value"] for cell in waiting} if cells[0]["sweep"] == "architecture" else {waiting[0]["value"]}
            )
            costs = [seconds_per_cell(cells[0]["sweep"], value, settings, device) for value in distinct]
            cost = sum(costs) / len(costs)
        left = cost * len(waiting) / 3600
        total += left
        done = f"{len(cells) - len(waiting)} of {len(cells)}"
        print(f"{settings.task:<12}{cells[0]['sweep']:<16}{done:>10}{cost:>12.0f}{left:>17.2f}")
    print(f"{total:.2f} core hours in all, without the analyses at checkpoints", flush=True)


if __name__ == "__main__":
    main()
