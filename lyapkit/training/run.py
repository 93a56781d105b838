"""`train`: learning curves and checkpoints of an ensemble on a task, from a run that may be stopped at any moment."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import xarray as xr
from torch import Tensor
from tqdm import tqdm

from lyapkit.arguments import available_device
from lyapkit.files.datasets import save
from lyapkit.models.network import Network
from lyapkit.provenance import provenance
from lyapkit.tasks.task import Task, as_tensors
from lyapkit.training.descent import Descent, GraphedStep
from lyapkit.training.ensemble import Ensemble
from lyapkit.training.history import History
from lyapkit.training.storage import checkpoint_path, read_state, save_tensors

STATE, METRICS = "state.safetensors", "metrics.nc"


@dataclass(frozen=True)
class Training:
    """What `train` returns.

    Attributes
    ----------
    networks : list of Network
        As they are at the end; one that diverged as it was before the step at which it did.
    metrics : xarray.Dataset
        Learning curves and what follows from them.
    is_finished : bool
        False if the time budget ended first.
    """

    networks: list[Network]
    metrics: xr.Dataset
    is_finished: bool


def train(
    networks: Sequence[Network],
    task: Task,
    n_iterations: int,
    *,
    batch_size: int = 128,
    learning_rate: float | Sequence[float] = 0.01,
    momentum: float = 0.9,
    clip_norm: float | None = None,
    seed: int = 0,
    evaluate_every: int | None = None,
    n_test_samples: int | None = None,
    stop_at_minimal_performance: bool = False,
    minimal_performance: float | None = None,
    folder: str | Path | None = None,
    checkpoints: Sequence[int] = (),
    resume: bool = False,
    time_budget: float | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> Training:
    """Train several networks of one architecture at once, on the same stream of batches, by SGD with momentum.

    Parameters
    ----------
    networks : sequence of Network
        E of them, of one architecture and size; they are not changed.
    task : Task
        What to learn, see `lyapkit.tasks.task`.
    n_iterations : int
        Steps, one batch each; `task.iterations_per_epoch(batch_size)` make an epoch.
    batch_size : int
        Samples in a batch. Default 128.
    learning_rate : float or sequence of float
        η, one for all networks or one each. Default 0.01.
    momentum : float
        Default 0.9.
    clip_norm : float, optional
        Longest gradient, per network over all its parameters. Default: no limit.
    seed : int
        Of the stream of batches.
    evaluate_every : int, optional
        Iterations between two evaluations on test samples. Default: an epoch. The first is before training.
    n_test_samples : int, optional
        Test samples to evaluate on, the first ones. Default: all.
    stop_at_minimal_performance : bool
        Let a network rest as soon as it is found to have reached minimal performance.
    minimal_performance : float, optional
        Accuracy or RMS error that counts as such. Default: the task's, 0.5 or 0.25.
    folder : str or Path, optional
        Where to keep the run. At every evaluation `state.safetensors`, all that is needed to go on, and `metrics.nc`
        are replaced there, each as a whole; checkpoints are kept beside them.
    checkpoints : sequence of int
        Iterations at which each network is written to a file that `load_network` reads, besides the last one.
    resume : bool
        Go on with the run in `folder`, if there is one. On a CPU the result is the same, bit for bit, as if it had
        not been stopped. `n_iterations` may be larger than it was; the evaluation at the old end remains.
    time_budget : float, optional
        Seconds after which to save everything and return.
    dtype, device : optional
        What to compute in, and where. Default: float32, where the networks are.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Training
        Networks and metrics: `test_score`, `test_loss`, `train_loss` (network, iteration), the last one the mean since
        the evaluation before; `elapsed_time` (iteration), in s of computing; `best_score`,
        `iterations_to_minimal_performance` (NaN: never), `divergence_iteration` (NaN: never), each (network).

    Raises
    ------
    ValueError
        If numbers are out of range, networks do not fit the task, or `folder` holds a run: another one, or one and
        `resume` is not set.
    OSError
        If the folder cannot be written to.
    """
    if n_iterations < 1:
        raise ValueError(f"n_iterations must be at least 1, got {n_iterations}")
    epoch = task.iterations_per_epoch(batch_size)
    evaluate_every = epoch if evaluate_every is None else evaluate_every
    if evaluate_every < 1:
        raise ValueError(f"evaluate_every must be at least 1, got {evaluate_every}")
    networks = list(networks)
    device = available_device(device) if device is not None else None
    ensemble = Ensemble(networks, dtype, device)
    settings = {
        "batch_size": batch_size,
        "learning_rate": learning_rate if isinstance(learning_rate, int | float) else list(learning_rate),
        "momentum": momentum,
        "clip_norm": clip_norm,
        "seed": seed,
        "evaluate_every": evaluate_every,
        "n_test_samples": n_test_samples,
        "stop_at_minimal_performance": stop_at_minimal_performance,
        "minimal_performance": task.minimal_performance if minimal_performance is None else minimal_performance,
        "dtype": str(dtype).removeprefix("torch."),
    }
    run = _Run(ensemble, task, settings)
    run.folder = None if folder is None else Path(folder)
    if run.folder is not None:
        run.open(resume)
    with _flushing_denormals(), _bar(run, n_iterations, progress) as bar:
        is_finished = run.go(n_iterations, set(checkpoints) | {n_iterations}, time_budget, bar)
    return Training([ensemble.network(index) for index in range(len(ensemble))], run.metrics(), is_finished)


class _Run:
    """State and history of a run."""

    def __init__(self, ensemble: Ensemble, task: Task, settings: dict) -> None:
        rates = torch.as_tensor(settings["learning_rate"], dtype=torch.float64)
        if rates.shape not in ((), (len(ensemble),)) or not bool((rates > 0).all()):
            raise ValueError(
                f"learning_rate must be a positive number or {len(ensemble)} of them, one per network, got "
                f"{settings['learning_rate']}"
            )
        if not 0 <= settings["momentum"] < 1:
            raise ValueError(f"momentum must be at least 0 and below 1, got {settings['momentum']}")
        if settings["clip_norm"] is not None and settings["clip_norm"] <= 0:
            raise ValueError(f"clip_norm must be positive, got {settings['clip_norm']}")
        self.ensemble, self.task, self.settings = ensemble, task, settings
        self.descent = Descent(
            ensemble, task.loss, rates.expand(len(ensemble)), settings["momentum"], settings["clip_norm"]
        )
        samples = task.test_samples(settings["n_test_samples"])
        self.test_inputs, self.test_targets = as_tensors(samples, ensemble.dtype, ensemble.device)
        self._check_sizes()
        self.history = History(len(ensemble), task, settings["minimal_performance"])
        self.spent = 0.0
        self.folder: Path | None = None
        self.configuration = {
            "task": task.description,
            "settings": settings,
            "networks": [str(ensemble.network(index)) for index in range(len(ensemble))],
            "initial_sha256": _digest(self.descent.state),
        }

    def _check_sizes(self) -> None:
        """Refuse networks whose inputs and outputs are not those of the task."""
        task, network = self.task, self.ensemble.network(0)
        n_outputs = None
        if network.input_size == task.input_size:
            with torch.no_grad():
                n_outputs = network(self.test_inputs[:1]).shape[-1]
            if n_outputs == task.output_size or (task.kind == "classification" and n_outputs > task.output_size):
                return
        has = f"{network.input_size} inputs" + ("" if n_outputs is None else f" and {n_outputs} outputs")
        raise ValueError(
            f"the networks have {has}, the task {task.name} {task.input_size} inputs and {task.output_size} outputs: "
            f"build them with input_size={task.input_size}, output_size={task.output_size}"
        )

    @property
    def iteration(self) -> int:
        """Steps done."""
        return int(self.descent.iteration)

    def go(self, n_iterations: int, checkpoints: set[int], time_budget: float | None, bar: tqdm) -> bool:
        """Train until the end, or until the time is over; return whether it was the end."""
        started, spent_before = time.monotonic(), self.spent
        if not self.history.iterations:
            self.evaluate()
            if 0 in checkpoints:
                self.write_checkpoints(0)
        members, step = self._training(), None
        batch_size, device = self.settings["batch_size"], self.ensemble.device
        done = self.iteration
        while done < n_iterations and len(members):
            self.spent = spent_before + time.monotonic() - started
            if time_budget is not None and time.monotonic() - started > time_budget:
                self.keep()
                return False
            samples = self.task.batch(done, batch_size, self.settings["seed"])
            batch = as_tensors(samples, self.ensemble.dtype, device)
            if device.type == "cuda":
                step = step or GraphedStep(self.descent, *batch, members)
                step(*batch)
            else:
                self.descent.step(*batch, members)
            done += 1
            bar.update()
            if done % self.settings["evaluate_every"] == 0 or done == n_iterations:
                self.evaluate()
                still = self._training()
                if len(still) != len(members):
                    members, step = still, None
                bar.set_postfix_str(self.history.summary())
            if done in checkpoints:
                self.write_checkpoints(done)
            if done == self.history.iterations[-1]:
                self.keep()
        if not self.has_checkpoints(done):  # all networks rest before the end
            self.write_checkpoints(done)
        self.keep()
        return True

    def evaluate(self) -> None:
        """Add a point to the learning curves."""
        n_networks, iteration, history = len(self.ensemble), self.iteration, self.history
        alive = (self.descent.diverged_at == 0).nonzero()[:, 0]
        point = {name: torch.full((n_networks,), torch.nan, dtype=torch.float64) for name in history.curves}
        if len(alive):
            inputs = self.test_inputs.split(self.settings["batch_size"])
            outputs = torch.cat([self.ensemble.outputs(part, alive) for part in inputs], dim=1).double()
            targets = self.test_targets.double() if self.test_targets.is_floating_point() else self.test_targets
            point["test_score"][alive.cpu()] = self.task.score(outputs, targets).cpu()
            point["test_loss"][alive.cpu()] = self.task.loss(outputs, targets).cpu()
        if history.iterations:
            resting = ~torch.isin(torch.arange(n_networks), self._training().cpu())
            n_steps = iteration - history.iterations[-1]
            point["train_loss"] = (self.descent.loss_sum.cpu() / max(n_steps, 1)).masked_fill(resting, torch.nan)
        self.descent.loss_sum.zero_()
        history.add(iteration, self.spent, point)

    def _training(self) -> Tensor:
        """Return the indices of the networks that still train."""
        active = self.descent.diverged_at == 0
        if self.settings["stop_at_minimal_performance"] and self.history.iterations:
            active = active & ~self.history.reached.to(active.device)
        return active.nonzero()[:, 0]

    def open(self, resume: bool) -> None:
        """Prepare the folder; continue the run in it, if there is one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / STATE
        if not path.is_file():
            return
        if not resume:
            raise ValueError(f"{self.folder} holds a run already: continue it with resume, or choose another folder")
        tensors, kept = read_state(path)
        configuration = json.loads(json.dumps(self.configuration))
        if kept != configuration:
            raise ValueError(f"{self.folder} holds a run of another configuration: {_difference(kept, configuration)}")
        self.descent.restore(tensors)
        self.history.restore(tensors)
        self.spent = float(tensors["spent"])

    def keep(self) -> None:
        """Write state and metrics to the folder, if there is one."""
        if self.folder is None:
            return
        state = self.descent.state | self.history.tensors() | {"spent": torch.tensor(self.spent, dtype=torch.float64)}
        save_tensors(state, self.folder / STATE, {"configuration": self.configuration})
        save(self.metrics(), self.folder / METRICS)

    def has_checkpoints(self, iteration: int) -> bool:
        """Return whether the networks of an iteration are in the folder; also true if there is none."""
        return self.folder is None or all(
            checkpoint_path(self.folder, index, iteration).is_file() for index in range(len(self.ensemble))
        )

    def write_checkpoints(self, iteration: int) -> None:
        """Write each network to a file of its own."""
        if self.folder is None:
            return
        for index in range(len(self.ensemble)):
            network = self.ensemble.network(index)
            about = {"iteration": iteration, "task": self.task.description, "settings": self.settings}
            path = checkpoint_path(self.folder, index, iteration)
            save_tensors(network.state_dict(), path, about | provenance())

    def metrics(self) -> xr.Dataset:
        """Return learning curves and what follows from them, with where they come from."""
        made = provenance(**self.settings) | self.task.description
        made |= {
            "n_iterations": self.iteration,
            "device": str(self.ensemble.device),
            "system": str(self.ensemble.network(0)),
        }
        return self.history.metrics(self.descent.diverged_at).assign_attrs(made)


def _digest(state: dict[str, Tensor]) -> str:
    """Return the SHA-256 of all parameters."""
    digest = hashlib.sha256()
    for name, value in state.items():
        if name.startswith("parameter."):
            digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _difference(kept: dict, wanted: dict) -> str:
    """Return in words where two configurations differ."""
    found = []
    for name in sorted(kept.keys() | wanted.keys()):
        old, new = kept.get(name), wanted.get(name)
        if isinstance(old, dict) and isinstance(new, dict) and old != new:
            found.append(_difference(old, new))
        elif old != new:
            found.append(f"{name} is {old} there and {new} here")
    return "; ".join(found)


@contextlib.contextmanager
def _flushing_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero: vanishing gradients would take ten times as long."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _bar(run: _Run, n_iterations: int, progress: bool) -> tqdm:
    return tqdm(total=n_iterations, initial=run.iteration, unit="iteration", disable=not progress)
