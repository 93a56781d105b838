"""`lyapkit sweep`: exponents over parameters."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated

import typer

from lyapkit.cli.options import Key, MaxSize, Nonlinearity, NumberOfExponents, Prefix, Progress
from lyapkit.cli.reading import of_one_length
from lyapkit.cli.results import check_paths, finish

FEW_CELLS = 64  # that are not worth the seconds in which processes start


def sweep(
    context: typer.Context,
    system: Annotated[
        str, typer.Argument(metavar="SYSTEM", help="henon, lorenz, … of lyapkit.classical, or a checkpoint.")
    ],
    parameters: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PARAMETERS", help="NAME=FIRST:LAST:NUMBER or NAME=VALUE,VALUE,… of one or two parameters."
        ),
    ] = None,
    scale: Annotated[
        str | None, typer.Option(help="Of a checkpoint: recurrent=FIRST:LAST:NUMBER, factors of its recurrent weights.")
    ] = None,
    inputs: Annotated[
        Path | None, typer.Option(help="Input sequences (trajectory, time, feature): .npy .npz .nc .pt .csv")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write the exponents to this .nc or .csv file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them to this .png, .pdf or .svg file.")] = None,
    steps: Annotated[int | None, typer.Option(help="How many steps count. Default: all inputs, or 10000.")] = None,
    n_transient: Annotated[
        int | None, typer.Option("--transient", help="Steps that are not counted. Default: 1000, none with inputs.")
    ] = None,
    n_exponents: NumberOfExponents = None,
    continued: Annotated[bool, typer.Option("--continued", help="Start each cell where the one before ended.")] = False,
    folder: Annotated[Path | None, typer.Option(help="Where to keep what is done: goes on there if stopped.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes. Default: all cores for more than 64 cells.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler: tcp://host:8786")] = None,
    nonlinearity: Nonlinearity = None,
    key: Key = None,
    prefix: Prefix = None,
    seed: Annotated[int, typer.Option(help="Seeds random initial states and frames.")] = 0,
    max_size: MaxSize = "2GiB",
    progress: Progress = None,
) -> None:
    """Compute how the exponents of SYSTEM change with one or two parameters."""
    import lyapkit as lk
    from lyapkit.sweeps.systems import named_system, scaled_checkpoint, values_of

    given = [values_of(text) for text in [*(parameters or ()), *([scale] if scale else ())]]
    values = dict(given)
    if len(values) < len(given):
        raise ValueError("a parameter is given twice")
    if not values or len(values) > 2:
        raise ValueError(f"give one or two parameters, NAME=FIRST:LAST:NUMBER, got {len(values)}")
    if folder is not None:
        context.find_root().obj = f"the same command goes on with what {folder} holds"
    path = Path(system)
    check_paths(output, plot, path, inputs)
    if path.is_file():
        reading = {"nonlinearity": nonlinearity, "key": key, "prefix": prefix}
        build = scaled_checkpoint(path, [*values], **reading)
    else:
        build = named_system(system, [*values])
    ds = lk.sweep(
        build,
        values,
        inputs=None if inputs is None else of_one_length(inputs),
        n_steps=10_000 if steps is None and inputs is None else steps,
        n_transient=n_transient,
        continued=continued,
        folder=folder,
        n_workers=workers or (1 if math.prod(map(len, values.values())) <= FEW_CELLS else os.cpu_count() or 1),
        executor=scheduler,
        n_exponents=n_exponents,
        seed=seed,
        progress=progress,
    )
    finish(ds, output, plot, lk.plot_sweep)
