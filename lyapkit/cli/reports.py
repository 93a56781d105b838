"""`lyapkit report`: everything about a network, on one page."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lyapkit.cli.options import (
    Checkpoint,
    Ignore,
    Inputs,
    Key,
    LossName,
    MaxSize,
    ModuleHook,
    Nonlinearity,
    Prefix,
    Progress,
    Readout,
    Transient,
)
from lyapkit.cli.reading import learning_problem, of_one_length
from lyapkit.cli.results import files_among


def report(
    checkpoint: Checkpoint,
    inputs: Inputs,
    targets: Annotated[Path | None, typer.Option(help="One target per sample, for gradients and curvature.")] = None,
    output: Annotated[Path, typer.Option(help="The page, .html; data go into a .nc file beside it.")] = Path(
        "report.html"
    ),
    n_transient: Transient = 0,
    n_eigenvalues: Annotated[int, typer.Option("-k", help="How many Hessian eigenvalues.")] = 10,
    covariant: Annotated[
        int | None,
        typer.Option(help="Measure as many leading covariant vectors as well: the directions behind the exponents."),
    ] = None,
    loss: LossName = "cross-entropy",
    module: ModuleHook = None,
    prefix: Prefix = None,
    readout: Readout = None,
    nonlinearity: Nonlinearity = None,
    key: Key = None,
    ignore: Ignore = None,
    max_size: MaxSize = "2GiB",
    progress: Progress = None,
) -> None:
    """Measure the network in CHECKPOINT along --inputs, and write all of it into one HTML page."""
    import lyapkit as lk
    from lyapkit.hooks import load_module
    from lyapkit.html_report import report_files

    report_files(output, files_among(checkpoint, inputs, targets, module, loss))
    options: dict[str, Any] = {"prefix": prefix, "nonlinearity": nonlinearity, "key": key, "ignore": ignore or ()}
    if module is None:
        system = lk.load_system(checkpoint, **options)
    else:
        system = lk.from_module(load_module(module, checkpoint, key))
    if covariant is not None and not 1 <= covariant <= system.state_size:
        raise ValueError(f"--covariant must be between 1 and the state size {system.state_size}, got {covariant}")
    one_length = None if covariant is None else of_one_length(inputs)
    sequences = lk.read_inputs(inputs) if one_length is None else one_length
    measured = {"spectrum": lk.lyapunov_spectrum(system, sequences, n_transient=n_transient, progress=progress)}
    if one_length is not None:
        measured["covariant vectors"] = lk.covariant_vectors(
            system, one_length, n_transient=n_transient or None, n_exponents=covariant, progress=progress
        )
    if targets is not None:
        problem = learning_problem(
            checkpoint, inputs, targets, loss, module, prefix, readout, nonlinearity, key, ignore
        )
        measured["gradients"] = lk.gradient_norms(*problem, progress=progress)
        measured["curvature"] = lk.hessian_eigenvalues(*problem, n_eigenvalues, progress=progress)
    command = shlex.join(["lyapkit", *sys.argv[1:]])
    written = lk.report(measured, output, title=f"{checkpoint.name}: {system}", command=command)
    words = [lk.in_words(ds) for ds in measured.values()]
    print(lk.spectrum_table(measured["spectrum"]), "", *words, *(f"wrote {path}" for path in written), sep="\n")
