"""`train`: learning curves and checkpoints of an ensemble on a task."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import xarray as xr
from torch import nn
from tqdm import tqdm

from lyapkit.labels import counted
from lyapkit.losses import Loss
from lyapkit.models.network import Network
from lyapkit.notebook import preformatted
from lyapkit.progress import progress_bar
from lyapkit.scalars import real, whole
from lyapkit.tables.trainings import training_table
from lyapkit.tasks.task import Task
from lyapkit.training.folder import RunFolder
from lyapkit.training.losses import loss_name
from lyapkit.training.run import Run
from lyapkit.training.settings import Number, dtype_name, learning_rates
from lyapkit.training.threads import on_threads


@dataclass(frozen=True, repr=False)
class Training:
    """What `train` returns.

    Attributes
    ----------
    networks : list of Network or nn.Module
        As they are at the end, each of the class it was given as; one that diverged as it was before the step at which
        it did.
    metrics : xarray.Dataset
        Learning curves and what follows from them.
    is_finished : bool
        False if the time budget ended first.

    Examples
    --------
    >>> import lyapkit as lk
    >>> network = lk.build_network("lstm", 1, 8, 10)
    >>> print(lk.train([network], lk.task("digits"), 4, batch_size=16, n_test_samples=20))
    Training of 1 network, 4 iterations, finished
    """

    networks: list[nn.Module]
    metrics: xr.Dataset
    is_finished: bool

    def __str__(self) -> str:
        networks = counted(len(self.networks), "network")
        iterations = counted(self.metrics.attrs["n_iterations"], "iteration")
        return f"Training of {networks}, {iterations}, {'finished' if self.is_finished else 'stopped for the time'}"

    def __repr__(self) -> str:
        return f"{self}\n{training_table(self.metrics)}"

    def _repr_html_(self) -> str:
        return preformatted(str(self), training_table(self.metrics))


def train(
    networks: Sequence[Network | nn.Module],
    task: Task,
    n_iterations: int,
    *,
    batch_size: int = 128,
    learning_rate: Number | Sequence[Number] = 0.01,
    momentum: float = 0.9,
    clip_norm: float | None = None,
    weight_decay: float = 0.0,
    loss: str | Loss | None = None,
    seed: int = 0,
    evaluate_every: int | None = None,
    n_test_samples: int | None = None,
    stop_at_minimal_performance: bool = False,
    minimal_performance: float | None = None,
    folder: str | Path | None = None,
    checkpoints: Sequence[int] = (),
    resume: bool = False,
    time_budget: float | None = None,
    threads: int | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    progress: bool | None = None,
) -> Training:
    """Train several networks at once, on the same stream of batches, by SGD with momentum.

    Networks that differ in the values of their tensors only are computed together; others take turns, which a warning
    says. Frozen parameters (``requires_grad=False``) stay as they are, tied ones stay tied. Modules are trained in the
    modes they are in, with the same random numbers for dropout in each network and in each repetition of a run, and
    tested in eval mode. Numbers may be NumPy's or torch's scalars.

    Parameters
    ----------
    networks : sequence of Network or nn.Module
        E of them; they are not changed. A module of yours must consist of a recurrent module and a readout, see
        `lyapkit.models.as_network`; it is compared with what it is taken for.
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
    weight_decay : float
        λ: λ w is added to the gradient, as PyTorch's SGD does it. It is no part of the losses reported. Default 0.
    loss : str or callable, optional
        "cross-entropy", "mse", "rms" or "l1", or ``loss(outputs, targets)``, a number, for outputs (B, O), or (B, T, O)
        if the task has targets at every step, and targets as the task gives them. Default: the task's.
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
        not been stopped: it goes on with as many of torch's threads as it began with. `n_iterations` may be
        larger than it was; the evaluation at the old end remains.
    time_budget : float, optional
        Seconds after which to save everything and return.
    threads : int, optional
        Of torch, to compute on. Default: on a CPU, in a run of 50 iterations or more, 1 or as many as torch has now,
        whichever took less time for an iteration before the run; otherwise as many as torch has. Networks that are
        differentiated automatically depend on it in their last bits: say it to have a run a second time. It is in the
        metrics (`n_threads`), and a run that goes on keeps it.
    dtype, device : optional
        What to compute in, and where. Default: float32, where the networks are.
    progress : bool, optional
        Show a progress bar. Default: after two seconds, in terminals and notebooks.

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

    Examples
    --------
    >>> import lyapkit as lk
    >>> network = lk.build_network("lstm", 1, 8, 10)
    >>> result = lk.train([network], lk.task("digits"), 4, batch_size=16, n_test_samples=20)
    >>> result.is_finished, result.metrics.sizes["network"]
    (True, 1)
    """
    n_iterations = whole("n_iterations", n_iterations, 1)
    batch_size = whole("batch_size", batch_size, -(2**62))
    epoch = task.iterations_per_epoch(batch_size)
    models = list(networks)
    if not models:
        raise ValueError("there are no networks to train")
    settings = {
        "batch_size": batch_size,
        "learning_rate": learning_rates(learning_rate, len(models)),
        "momentum": real("momentum", momentum),
        "clip_norm": None if clip_norm is None else real("clip_norm", clip_norm),
        "seed": whole("seed", seed, 0),
        "evaluate_every": epoch if evaluate_every is None else whole("evaluate_every", evaluate_every, 1),
        "n_test_samples": None if n_test_samples is None else whole("n_test_samples", n_test_samples, 1),
        "stop_at_minimal_performance": bool(stop_at_minimal_performance),
        "minimal_performance": task.minimal_performance
        if minimal_performance is None
        else real("minimal_performance", minimal_performance),
        "dtype": dtype_name(dtype),
    }
    if weight_decay := real("weight_decay", weight_decay):
        settings["weight_decay"] = weight_decay
    if loss is not None:
        settings["loss"] = loss_name(loss)
    wanted = {whole("checkpoints", iteration, 0) for iteration in checkpoints}
    time_budget = None if time_budget is None else real("time_budget", time_budget)
    threads = None if threads is None else whole("threads", threads, 1)
    if folder is None and (resume or wanted):
        what = "resume goes on with a run" if resume else "checkpoints are kept"
        raise ValueError(f"{what} in a folder, and none is given: give folder=")
    with contextlib.ExitStack() as stack:
        kept_in = None if folder is None else RunFolder(Path(folder))
        if kept_in is not None:
            stack.enter_context(kept_in.locked())
        run = Run(models, task, settings, loss, dtype, device, kept_in)
        if kept_in is not None:
            run.open(resume, n_iterations, wanted, threads)
        stack.enter_context(_flushing_denormals())
        stack.enter_context(on_threads(run.choose_threads(threads, n_iterations)))
        bar = stack.enter_context(_bar(run, n_iterations, progress))
        is_finished = run.go(n_iterations, wanted | {n_iterations}, time_budget, bar)
        return Training(run.networks(), run.metrics(), is_finished)


@contextlib.contextmanager
def _flushing_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero: vanishing gradients would take ten times as long."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _bar(run: Run, n_iterations: int, progress: bool | None) -> tqdm:
    return progress_bar(progress, total=n_iterations, initial=run.iteration, unit="iteration")
