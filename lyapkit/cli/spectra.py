"""`lyapkit spectrum`, `covariant` and `validate`: exponents of networks in files, and their directions."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lyapkit.cli.options import (
    Checkpoint,
    CheckpointOrName,
    Checkpoints,
    Embedding,
    Ignore,
    Inputs,
    Key,
    Lengths,
    MaxSize,
    ModuleHook,
    Nonlinearity,
    NumberOfExponents,
    OptionalInputs,
    Parameter,
    Precision,
    Prefix,
    Progress,
    Readout,
    Steps,
    Transient,
    Verbose,
)
from lyapkit.cli.reading import loaded, name_among, named, of_one_length, refuse_with_module, steps_that_count
from lyapkit.cli.results import check_paths, finish

if TYPE_CHECKING:
    import xarray as xr

    import lyapkit as lk


def spectrum(
    checkpoints: Checkpoints,
    inputs: OptionalInputs = None,
    output: Annotated[Path | None, typer.Option(help="Write the spectrum to this .nc or .csv file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the spectrum to this .png, .pdf or .svg file.")] = None,
    n_exponents: NumberOfExponents = None,
    n_transient: Transient = 0,
    module: ModuleHook = None,
    prefix: Annotated[
        list[str] | None,
        typer.Option(help="Which recurrent module, if the file has several; several, one driving the next: repeat it."),
    ] = None,
    embedding: Embedding = None,
    closed_loop: Annotated[
        bool, typer.Option("--closed-loop", help="Feed the readout back as the next input; needs --steps.")
    ] = False,
    readout: Readout = None,
    steps: Steps = None,
    parameter: Parameter = None,
    lengths: Lengths = None,
    rows: Annotated[bool, typer.Option("--rows", help="The inputs are images, read row by row.")] = False,
    pixels: Annotated[bool, typer.Option("--pixels", help="The inputs are images, read pixel by pixel.")] = False,
    nonlinearity: Nonlinearity = None,
    key: Key = None,
    ignore: Ignore = None,
    reorthonormalize: Annotated[str, typer.Option(help="'adaptive' or a number of steps.")] = "adaptive",
    initial_frame: Annotated[
        str, typer.Option(help="'identity', or 'random', better for stacked layers.")
    ] = "identity",
    dtype: Precision = "float64",
    device: Annotated[str | None, typer.Option(help="cpu, cuda, … Default: cpu.")] = None,
    seed: Annotated[int, typer.Option(help="Seeds random frames.")] = 0,
    no_check: Annotated[
        bool,
        typer.Option(
            "--no-check", help="Do not compute the beginning of one trajectory a second time, plainly, to compare."
        ),
    ] = False,
    keep_state: Annotated[
        bool,
        typer.Option("--keep-state", help="Keep what --extend needs; Ctrl-C then ends with what was done."),
    ] = False,
    extend: Annotated[
        Path | None,
        typer.Option(help="Go on from this .nc file, made with --keep-state, by --steps."),
    ] = None,
    max_size: MaxSize = "2GiB",
    progress: Progress = None,
    verbose: Verbose = False,
) -> None:
    """Compute the Lyapunov spectrum of the recurrent network in each of CHECKPOINTS along --inputs, or without.

    Several are compared, in one table, picture and file. A name such as henon is that of a system of lyapkit.classical,
    whose parameters --parameter sets.
    """
    import lyapkit as lk
    from lyapkit.hooks import load_module

    given = [path for path in (*checkpoints, inputs, lengths, extend) if path is not None]
    check_paths(output, plot, *given, module)
    if closed_loop and (inputs is not None or embedding is not None or len(prefix or ()) > 1):
        raise ValueError("--closed-loop makes the inputs itself: leave out --inputs, --embedding and a second --prefix")
    if inputs is None and steps is None:
        raise ValueError(
            "give --inputs, or --steps for a closed loop, a classical system, or a network whose input is zero"
        )
    if rows and pixels:
        raise ValueError("give --rows or --pixels, not both")
    reading: dict[str, Any] = {"key": key, "ignore": ignore or ()}
    if readout is not None and not closed_loop:
        raise ValueError("--readout says what --closed-loop feeds back; without that, no readout acts on a spectrum")
    if module is not None:
        refuse_with_module(
            prefix=prefix, embedding=embedding, readout=readout, nonlinearity=nonlinearity, ignore=ignore
        )
    if parameter and any(path.exists() for path in checkpoints):
        raise ValueError("--parameter is of systems of lyapkit.classical, by name")
    of_files: dict[str, Any] = {"module": module, "prefix": prefix, "embedding": embedding, "closed_loop": closed_loop}
    of_files |= {"nonlinearity": nonlinearity, "key": key, "ignore": ignore}

    def system_in(checkpoint: Path) -> lk.System:
        if not checkpoint.exists():
            return named(checkpoint, parameter, **of_files)
        if module is not None:
            own = load_module(module, checkpoint, key)
            return lk.closed_loop(own) if closed_loop else lk.from_module(own)
        shared: dict[str, Any] = reading | {"several": len(checkpoints) > 1, "nonlinearity": nonlinearity}
        if closed_loop:
            first = prefix[0] if prefix else None
            return lk.closed_loop(loaded(lk.load_network, checkpoint, prefix=first, readout=readout, **shared))
        return loaded(lk.load_system, checkpoint, prefix=prefix or None, embedding=embedding, **shared)

    systems = {name_among(checkpoints, path): system_in(path) for path in checkpoints}
    sequences = None
    if rows or pixels:
        if inputs is None:
            raise ValueError("--rows and --pixels say how images are read: give them by --inputs")
        sequences = lk.as_sequences(of_one_length(inputs), "rows" if rows else "pixels")
    elif inputs is not None:
        sequences = lk.read_inputs(inputs)
    options: dict[str, Any] = {
        "n_steps": steps,
        "lengths": steps_that_count(lengths),
        "n_transient": n_transient,
        "n_exponents": n_exponents,
        "reorthonormalize": int(reorthonormalize) if reorthonormalize.isdecimal() else reorthonormalize,
        "initial_frame": initial_frame,
        "dtype": dtype,
        "device": device,
        "seed": seed,
        "check": not no_check,
        "progress": progress,
    }
    if extend is not None:
        if len(systems) > 1 or lengths is not None or n_transient or n_exponents is not None:
            raise ValueError("--extend goes on as --keep-state began: with one checkpoint, --inputs and --steps")
        if isinstance(sequences, list):
            raise ValueError("--extend is for trajectories of one length")
        (system,) = systems.values()
        ds = lk.extend(lk.load(extend), system, sequences, n_steps=steps, device=device, progress=progress)
        _finish_one(ds, output, plot, verbose)
        return
    options["keep_state"] = keep_state
    spectra = {name: lk.lyapunov_spectrum(system, sequences, **options) for name, system in systems.items()}
    if len(spectra) > 1:
        finish(lk.compare(spectra), output, plot, lk.plot_comparison)
    else:
        (ds,) = spectra.values()
        _finish_one(ds, output, plot, verbose)


def _finish_one(ds: xr.Dataset, output: Path | None, plot: Path | None, verbose: bool) -> None:
    import lyapkit as lk

    finish(ds, output, plot, lk.plot_spectrum, partial(lk.spectrum_table, verbose=verbose))
    if "interrupted" in ds.attrs:
        raise typer.Exit(130)


def covariant(
    checkpoint: CheckpointOrName,
    inputs: OptionalInputs = None,
    output: Annotated[Path | None, typer.Option(help="Write the vectors to this .nc or .csv file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw angles and directions to this file: .png .pdf .svg")] = None,
    n_exponents: NumberOfExponents = None,
    steps: Steps = None,
    parameter: Parameter = None,
    n_transient: Annotated[
        int | None, typer.Option("--transient", help="Steps before those that count. Default: a quarter of the inputs.")
    ] = None,
    n_backward_transient: Annotated[
        int | None, typer.Option("--backward-transient", help="Steps after those that count. Default: likewise.")
    ] = None,
    prefix: Annotated[list[str] | None, typer.Option(help="Which recurrent modules, as in spectrum.")] = None,
    embedding: Embedding = None,
    nonlinearity: Nonlinearity = None,
    key: Key = None,
    ignore: Ignore = None,
    dtype: Precision = "float64",
    seed: Annotated[int, typer.Option(help="Seeds frames and coordinates to start with.")] = 0,
    max_size: MaxSize = "2GiB",
    progress: Progress = None,
) -> None:
    """Compute the covariant Lyapunov vectors of the network in CHECKPOINT: the directions behind its exponents.

    Or of a system of lyapkit.classical, by its name.
    """
    import lyapkit as lk

    check_paths(output, plot, checkpoint, inputs)
    if inputs is None and steps is None:
        raise ValueError("give --inputs, or --steps for a network whose input is zero at every step")
    reading: dict[str, Any] = {
        "prefix": prefix or None,
        "embedding": embedding,
        "nonlinearity": nonlinearity,
        "key": key,
        "ignore": ignore or (),
    }
    if not checkpoint.exists():
        system = named(checkpoint, parameter, **reading)
    elif parameter:
        raise ValueError("--parameter is of systems of lyapkit.classical, by name")
    else:
        system = lk.load_system(checkpoint, **reading)
    ds = lk.covariant_vectors(
        system,
        None if inputs is None else of_one_length(inputs),
        n_steps=steps,
        n_transient=n_transient,
        n_backward_transient=n_backward_transient,
        n_exponents=n_exponents,
        dtype=dtype,
        seed=seed,
        progress=progress,
    )
    finish(ds, output, plot, lk.plot_covariant_vectors)


def validate(
    checkpoint: Checkpoint,
    inputs: Inputs,
    output: Annotated[Path | None, typer.Option(help="Write the exponents to this .nc or .csv file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them to this .png, .pdf or .svg file.")] = None,
    n_transient: Transient = 0,
    prefix: Prefix = None,
    key: Key = None,
    max_size: MaxSize = "2GiB",
    progress: Progress = None,
) -> None:
    """Check on the WCRNN in CHECKPOINT that its exponents are those of its residual (Eq. 13)."""
    import lyapkit as lk

    check_paths(output, plot, checkpoint, inputs)
    system = loaded(lk.load_system, checkpoint, several=True, nonlinearity="tanh", prefix=prefix, key=key)
    if not isinstance(system, lk.WCRNN):
        raise ValueError(f"{checkpoint} holds a network without a residual, {system}: only a WCRNN can be validated")
    ds = lk.validate_weak_coupling(system, of_one_length(inputs), n_transient=n_transient, progress=progress)
    finish(ds, output, plot, lk.plot_weak_coupling)
