"""`lyapkit gradients` and `curvature`: what growth does to learning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lyapkit.cli.options import (
    Checkpoint,
    Ignore,
    Inputs,
    Key,
    Lengths,
    LossName,
    MaxSize,
    ModuleHook,
    Nonlinearity,
    Prefix,
    Progress,
    Readout,
    Targets,
)
from lyapkit.cli.reading import learning_problem, steps_that_count
from lyapkit.cli.results import check_paths, finish


def gradients(
    checkpoint: Checkpoint,
    inputs: Inputs,
    targets: Targets,
    output: Annotated[Path | None, typer.Option(help="Write the norms to this .nc or .csv file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them to this .png, .pdf or .svg file.")] = None,
    loss: LossName = "cross-entropy",
    lengths: Lengths = None,
    module: ModuleHook = None,
    prefix: Prefix = None,
    readout: Readout = None,
    nonlinearity: Nonlinearity = None,
    key: Key = None,
    ignore: Ignore = None,
    max_size: MaxSize = "2GiB",
    progress: Progress = None,
) -> None:
    """Compute how the gradients of the network in CHECKPOINT fade or grow on their way back (Eq. 10 and 15)."""
    import lyapkit as lk

    check_paths(output, plot, checkpoint, inputs, targets, lengths, module, loss)
    given = learning_problem(checkpoint, inputs, targets, loss, module, prefix, readout, nonlinearity, key, ignore)
    ds = lk.gradient_norms(*given, lengths=steps_that_count(lengths), progress=progress)
    finish(ds, output, plot, lk.plot_gradient_norms)


def curvature(
    checkpoint: Checkpoint,
    inputs: Inputs,
    targets: Targets,
    output: Annotated[Path | None, typer.Option(help="Write the eigenvalues to this .nc or .csv file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them to this .png, .pdf or .svg file.")] = None,
    n_eigenvalues: Annotated[int, typer.Option("-k", "--n-eigenvalues", help="How many.")] = 10,
    which: Annotated[str, typer.Option(help="magnitude, largest or smallest.")] = "magnitude",
    parameters: Annotated[str, typer.Option(help="'recurrent', 'all', or names, separated by commas.")] = "recurrent",
    loss: LossName = "cross-entropy",
    lengths: Lengths = None,
    module: ModuleHook = None,
    prefix: Prefix = None,
    readout: Readout = None,
    nonlinearity: Nonlinearity = None,
    key: Key = None,
    ignore: Ignore = None,
    max_size: MaxSize = "2GiB",
    seed: Annotated[int, typer.Option(help="Seeds the start vector.")] = 0,
    progress: Progress = None,
) -> None:
    """Compute leading Hessian eigenvalues of the loss of the network in CHECKPOINT (Eq. 6)."""
    import lyapkit as lk

    check_paths(output, plot, checkpoint, inputs, targets, lengths, module, loss)
    given = learning_problem(checkpoint, inputs, targets, loss, module, prefix, readout, nonlinearity, key, ignore)
    block = parameters.split(",") if "," in parameters else parameters
    options: dict[str, Any] = {"which": which, "parameters": block, "seed": seed, "progress": progress}
    ds = lk.hessian_eigenvalues(*given, n_eigenvalues, **options, lengths=steps_that_count(lengths))
    finish(ds, output, plot, lk.plot_hessian_eigenvalues)
