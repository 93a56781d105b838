"""`lyapkit train`, and `fetch` for the data that it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lyapkit.cli.options import Progress
from lyapkit.cli.results import check_paths, finish


def train(
    context: typer.Context,
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK", help="digits, smnist, psmnist, scifar10, add100, add200, …, or a .npz file of arrays."
        ),
    ],
    network: Annotated[str, typer.Option(help="wcrnn, wcrnn-a, wcrnn-b, wcrnn-identity, lstm, …")] = "wcrnn",
    residual: Annotated[str, typer.Option(help="identity, rotation, heterogeneous or orthogonal.")] = "identity",
    radius: Annotated[list[float] | None, typer.Option(help="r of the residual; may be given several times.")] = None,
    frequency: Annotated[list[float] | None, typer.Option(help="ω of rotations, in rad per step; likewise.")] = None,
    spread: Annotated[list[float] | None, typer.Option(help="ε of heterogeneous radii; likewise.")] = None,
    coupling: Annotated[list[float] | None, typer.Option(help="α; likewise. Default: 0.01.")] = None,
    hidden_size: Annotated[int, typer.Option("--hidden-size", "-n", help="Number of units.")] = 100,
    seeds: Annotated[int, typer.Option(help="Number of weight seeds.")] = 1,
    epochs: Annotated[float | None, typer.Option(help="How long. Default: 1 epoch.")] = None,
    iterations: Annotated[int | None, typer.Option(help="How long, in iterations instead.")] = None,
    batch_size: Annotated[int, typer.Option(help="Samples in a batch.")] = 128,
    learning_rate: Annotated[float, typer.Option("--learning-rate", "-l", help="η.")] = 0.03,
    momentum: Annotated[float, typer.Option(help="Of the gradient descent.")] = 0.9,
    clip: Annotated[float | None, typer.Option(help="Longest gradient, over all parameters of a network.")] = None,
    loss: Annotated[
        str | None, typer.Option(help="cross-entropy, mse, rms, l1 or FILE.py:FUNCTION. Default: the task's.")
    ] = None,
    downsample: Annotated[int, typer.Option(help="Average squares of so many pixels a side.")] = 1,
    evaluate_every: Annotated[
        int | None, typer.Option(help="Iterations between evaluations. Default: 1 epoch.")
    ] = None,
    test_samples: Annotated[int | None, typer.Option(help="Samples to evaluate on. Default: all.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where to keep the run: state, metrics, checkpoints.")] = None,
    checkpoint: Annotated[list[int] | None, typer.Option(help="Iteration of which to keep the networks.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --folder.")] = False,
    time_budget: Annotated[float | None, typer.Option(help="Seconds after which to stop cleanly.")] = None,
    threads: Annotated[int | None, typer.Option(help="Of torch. Default: 1 or all, whichever is faster.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, … Default: cpu.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the metrics to this .nc or .csv file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw learning curves to this .png, .pdf or .svg file.")] = None,
    progress: Progress = None,
) -> None:
    """Train networks on TASK, one for every combination of settings and seeds, all at once."""
    import lyapkit as lk
    from lyapkit.training import network_grid

    check_paths(output, plot, task)
    if folder is not None:
        context.find_root().obj = f"what {folder} holds goes on with --resume"
    the_task = lk.task(task, downsample=downsample)
    if epochs is not None and iterations is not None:
        raise ValueError("give epochs or iterations, not both")
    if iterations is None:
        iterations = round((1.0 if epochs is None else epochs) * the_task.iterations_per_epoch(batch_size))
    swept = {"radii": radius, "frequencies": frequency, "spreads": spread, "couplings": coupling}
    grid = {name: tuple(values or ()) for name, values in swept.items()}
    networks, settings = network_grid(network, the_task, hidden_size, shape=residual, **grid, n_seeds=seeds)
    result = lk.train(
        networks,
        the_task,
        iterations,
        batch_size=batch_size,
        learning_rate=learning_rate,
        momentum=momentum,
        clip_norm=clip,
        loss=loss,
        evaluate_every=evaluate_every,
        n_test_samples=test_samples,
        folder=folder,
        checkpoints=checkpoint or (),
        resume=resume,
        time_budget=time_budget,
        threads=threads,
        device=device,
        progress=progress,
    )
    ds = result.metrics
    for name in settings[0]:
        ds = ds.assign_coords({name: ("network", [own[name] for own in settings], {"units": "1", "long_name": name})})
    heading = f"{the_task}, {ds.attrs['n_iterations']} iterations of {batch_size} samples\n\n"
    ending = ""
    if not result.is_finished:
        way_on = "--resume goes on" if folder else "without --folder it cannot be gone on with"
        ending = f"\n\nstopped for the time; {way_on}"
    finish(ds, output, plot, lk.plot_learning_curves, lambda ds: heading + lk.table(ds) + ending)


def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="mnist or cifar10.")],
) -> None:
    """Download a data set, for where there is no folder LYAPKIT_DATA with it."""
    from lyapkit.tasks import files

    for path in files.fetch(name):
        print(path)
