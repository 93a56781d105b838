"""The command line: `lyapkit spectrum`, `covariant`, `sweep`, `report`, `gradients`, `curvature`, `train`, others."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    import xarray as xr
    from matplotlib.axes import Axes


class _Commands(typer.core.TyperGroup):
    """The commands, of which an interrupted one ends with exit code 130."""

    def invoke(self, ctx: typer.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            kept = ctx.find_object(str) or "nothing was written"
            _complain(f"interrupted: {kept}")
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_Commands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Lyapunov spectra of recurrent networks, from their checkpoint files, and what they mean for learning.",
    epilog="Exit codes: 0, done; 2, something that you can mend, said in one line; 130, interrupted.",
)


def _print_version(asked: bool) -> None:
    if asked:
        from lyapkit import __version__

        print(f"lyapkit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version, and leave.")
    ] = False,
) -> None:
    pass


def _there(path: Path) -> Path:
    """Refuse a file that does not exist before anything is loaded that takes time."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    return path


Checkpoint = Annotated[
    Path, typer.Argument(callback=_there, help="The network: safetensors, PyTorch, Keras, ONNX, told by content.")
]
Checkpoints = Annotated[
    list[Path],
    typer.Argument(
        callback=lambda paths: [_there(path) for path in paths],
        help="The networks: safetensors, PyTorch, Keras, ONNX, told by content.",
    ),
]
Inputs = Annotated[Path, typer.Option(help="Input sequences (trajectory, time, feature): .npy .npz .nc .pt .csv")]
OptionalInputs = Annotated[
    Path | None, typer.Option(help="Input sequences (trajectory, time, feature), or tokens: .npy .npz .nc .pt .csv")
]
Embedding = Annotated[str | None, typer.Option(help="The tensor whose rows are the inputs of tokens.")]
Steps = Annotated[int | None, typer.Option(help="How many steps count. Without --inputs the input is zero.")]
NumberOfExponents = Annotated[
    int | None, typer.Option("-k", "--n-exponents", help="Only the k largest exponents. Default: all.")
]
Precision = Annotated[str, typer.Option(help="float64 or float32.")]
Prefix = Annotated[str | None, typer.Option(help="Which recurrent module, if the file has several.")]
Transient = Annotated[int, typer.Option("--transient", help="Leading steps that are not counted.")]
Targets = Annotated[Path, typer.Option(help="One target per sample: .npy .npz .pt .csv")]
LossName = Annotated[str, typer.Option(help="cross-entropy, mse, rms, l1, or FILE.py:FUNCTION of outputs and targets.")]
ModuleHook = Annotated[
    str | None, typer.Option(help="FILE.py:FUNCTION that returns your untrained module; CHECKPOINT is loaded into it.")
]
Readout = Annotated[str | None, typer.Option(help="Which linear layer reads the state, if several would fit.")]
Nonlinearity = Annotated[str | None, typer.Option(help="tanh or relu, for an RNN.")]
Ignore = Annotated[
    list[str] | None,
    typer.Option(help="Tensors that do not act on the recurrence: a name or pattern; may be given several times."),
]
Key = Annotated[str | None, typer.Option(help="Which state dict, if CHECKPOINT holds several: the keys, with slashes.")]


def _limit(context: typer.Context, size: str) -> str:
    """Set how much files may unpack to while a command runs."""
    from lyapkit.files.limits import maximum_size

    context.with_resource(maximum_size(size))
    return size


MaxSize = Annotated[str, typer.Option(callback=_limit, help="How much memory the content of a file may take.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")]


@app.command()
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
    lengths: Annotated[Path | None, typer.Option(help="How many steps of each padded sequence count: a file.")] = None,
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
    max_size: MaxSize = "2GiB",
    quiet: Quiet = False,
) -> None:
    """Compute the Lyapunov spectrum of the recurrent network in each of CHECKPOINTS along --inputs, or without.

    Several are compared, in one table, picture and file.
    """
    import lyapkit as lk
    from lyapkit.files.sequences import read_targets
    from lyapkit.hooks import load_module

    given = [path for path in (*checkpoints, inputs, lengths) if path is not None]
    _check_paths(output, plot, *given, module)
    if closed_loop and (inputs is not None or embedding is not None or len(prefix or ()) > 1):
        raise ValueError("--closed-loop makes the inputs itself: leave out --inputs, --embedding and a second --prefix")
    if inputs is None and steps is None:
        raise ValueError(
            "give --inputs, or --steps for a closed loop or for a network whose input is zero at every step"
        )
    if rows and pixels:
        raise ValueError("give --rows or --pixels, not both")
    options = {"nonlinearity": nonlinearity, "key": key, "ignore": ignore or ()}
    if readout is not None and not closed_loop:
        raise ValueError("--readout says what --closed-loop feeds back; without that, no readout acts on a spectrum")
    if module is not None:
        _refuse_with_module(
            prefix=prefix, embedding=embedding, readout=readout, nonlinearity=nonlinearity, ignore=ignore
        )

    def system_in(checkpoint: Path) -> lk.System:
        if module is not None:
            loaded = load_module(module, checkpoint, key)
            return lk.closed_loop(loaded) if closed_loop else lk.from_module(loaded)
        if closed_loop:
            one = prefix[0] if prefix else None
            return lk.closed_loop(lk.load_network(checkpoint, prefix=one, readout=readout, **options))
        return lk.load_system(checkpoint, prefix=prefix or None, embedding=embedding, **options)

    systems = {_name_among(checkpoints, path): system_in(path) for path in checkpoints}
    sequences = None
    if rows or pixels:
        if inputs is None:
            raise ValueError("--rows and --pixels say how images are read: give them by --inputs")
        sequences = lk.as_sequences(_of_one_length(inputs), "rows" if rows else "pixels")
    elif inputs is not None:
        sequences = lk.read_inputs(inputs)
    measured = partial(
        lk.lyapunov_spectrum,
        inputs=sequences,
        n_steps=steps,
        lengths=None if lengths is None else read_targets(lengths),
        n_transient=n_transient,
        n_exponents=n_exponents,
        reorthonormalize=int(reorthonormalize) if reorthonormalize.isdigit() else reorthonormalize,
        initial_frame=initial_frame,
        dtype=dtype,
        device=device,
        seed=seed,
        check=not no_check,
        progress=not quiet,
    )
    spectra = {name: measured(system) for name, system in systems.items()}
    if len(spectra) > 1:
        _finish(lk.compare(spectra), lk.comparison_table, output, plot, lk.plot_comparison)
    else:
        _finish(*spectra.values(), _table_and_words, output, plot, lk.plot_spectrum)


@app.command()
def covariant(
    checkpoint: Checkpoint,
    inputs: OptionalInputs = None,
    output: Annotated[Path | None, typer.Option(help="Write the vectors to this .nc or .csv file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw angles and directions to this file: .png .pdf .svg")] = None,
    n_exponents: NumberOfExponents = None,
    steps: Steps = None,
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
    quiet: Quiet = False,
) -> None:
    """Compute the covariant Lyapunov vectors of the network in CHECKPOINT: the directions behind its exponents."""
    import lyapkit as lk

    _check_paths(output, plot, checkpoint, inputs)
    if inputs is None and steps is None:
        raise ValueError("give --inputs, or --steps for a network whose input is zero at every step")
    reading = {"prefix": prefix or None, "embedding": embedding, "nonlinearity": nonlinearity, "key": key}
    ds = lk.covariant_vectors(
        lk.load_system(checkpoint, **reading, ignore=ignore or ()),
        None if inputs is None else _of_one_length(inputs),
        n_steps=steps,
        n_transient=n_transient,
        n_backward_transient=n_backward_transient,
        n_exponents=n_exponents,
        dtype=dtype,
        seed=seed,
        progress=not quiet,
    )
    _finish(ds, lk.covariant_table, output, plot, lk.plot_covariant_vectors)


@app.command()
def report(
    checkpoint: Checkpoint,
    inputs: Inputs,
    targets: Annotated[Path | None, typer.Option(help="One target per sample, for gradients and curvature.")] = None,
    output: Annotated[Path, typer.Option(help="The page, .html; data go into a .nc file beside it.")] = Path(
        "report.html"
    ),
    n_transient: Transient = 0,
    n_eigenvalues: Annotated[int, typer.Option("-k", help="How many Hessian eigenvalues.")] = 10,
    loss: LossName = "cross-entropy",
    module: ModuleHook = None,
    prefix: Prefix = None,
    readout: Readout = None,
    nonlinearity: Nonlinearity = None,
    key: Key = None,
    ignore: Ignore = None,
    max_size: MaxSize = "2GiB",
    quiet: Quiet = False,
) -> None:
    """Measure the network in CHECKPOINT along --inputs, and write all of it into one HTML page."""
    import lyapkit as lk
    from lyapkit.hooks import load_module
    from lyapkit.html_report import report_files

    report_files(output, _files_among(checkpoint, inputs, targets, module, loss))
    options = {"prefix": prefix, "nonlinearity": nonlinearity, "key": key, "ignore": ignore or ()}
    if module is None:
        system = lk.load_system(checkpoint, **options)
    else:
        system = lk.from_module(load_module(module, checkpoint, key))
    sequences = lk.read_inputs(inputs)
    measured = {"spectrum": lk.lyapunov_spectrum(system, sequences, n_transient=n_transient, progress=not quiet)}
    if targets is not None:
        problem = _learning_problem(
            checkpoint, inputs, targets, loss, module, prefix, readout, nonlinearity, key, ignore
        )
        measured["gradients"] = lk.gradient_norms(*problem, progress=not quiet)
        measured["curvature"] = lk.hessian_eigenvalues(*problem, k=n_eigenvalues, progress=not quiet)
    command = shlex.join(["lyapkit", *sys.argv[1:]])
    written = lk.report(measured, output, title=f"{checkpoint.name}: {system}", command=command)
    print(_table_and_words(measured["spectrum"]), "", *(f"wrote {path}" for path in written), sep="\n")


@app.command()
def sweep(
    system: Annotated[str, typer.Argument(help="henon, lorenz, … of lyapkit.classical, or a checkpoint.")],
    parameters: Annotated[
        list[str] | None, typer.Argument(help="NAME=FIRST:LAST:NUMBER or NAME=VALUE,VALUE,… of one or two parameters.")
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
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler: tcp://host:8786")] = None,
    nonlinearity: Nonlinearity = None,
    key: Key = None,
    prefix: Prefix = None,
    seed: Annotated[int, typer.Option(help="Seeds random initial states and frames.")] = 0,
    max_size: MaxSize = "2GiB",
    quiet: Quiet = False,
) -> None:
    """Compute how the exponents of SYSTEM change with one or two parameters."""
    import lyapkit as lk
    from lyapkit.swept_systems import named_system, scaled_checkpoint, values_of
    from lyapkit.tables import sweep_table

    given = [values_of(text) for text in [*(parameters or ()), *([scale] if scale else ())]]
    values = dict(given)
    if len(values) < len(given):
        raise ValueError("a parameter is given twice")
    if not values or len(values) > 2:
        raise ValueError(f"give one or two parameters, NAME=FIRST:LAST:NUMBER, got {len(values)}")
    path = Path(system)
    _check_paths(output, plot, path, inputs)
    if path.is_file():
        reading = {"nonlinearity": nonlinearity, "key": key, "prefix": prefix}
        build = scaled_checkpoint(path, [*values], **reading)
    else:
        build = named_system(system, [*values])
    ds = lk.sweep(
        build,
        values,
        inputs=None if inputs is None else _of_one_length(inputs),
        n_steps=10_000 if steps is None and inputs is None else steps,
        n_transient=n_transient,
        continued=continued,
        folder=folder,
        n_workers=workers,
        executor=scheduler,
        n_exponents=n_exponents,
        seed=seed,
        progress=not quiet,
    )
    _finish(ds, sweep_table, output, plot, lk.plot_sweep)


@app.command()
def validate(
    checkpoint: Checkpoint,
    inputs: Inputs,
    output: Annotated[Path | None, typer.Option(help="Write the exponents to this .nc or .csv file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them to this .png, .pdf or .svg file.")] = None,
    n_transient: Transient = 0,
    prefix: Prefix = None,
    key: Key = None,
    max_size: MaxSize = "2GiB",
    quiet: Quiet = False,
) -> None:
    """Check on the WCRNN in CHECKPOINT that its exponents are those of its residual (Eq. 13)."""
    import lyapkit as lk

    _check_paths(output, plot, checkpoint, inputs)
    system = lk.load_system(checkpoint, prefix=prefix, nonlinearity="tanh", key=key)
    if not isinstance(system, lk.WCRNN):
        raise ValueError(f"{checkpoint} holds a network without a residual, {system}: only a WCRNN can be validated")
    ds = lk.validate_weak_coupling(system, _of_one_length(inputs), n_transient=n_transient, progress=not quiet)
    _finish(ds, lambda ds: f"{lk.spectrum_table(ds)}\n\n{ds.attrs['verdict']}", output, plot, lk.plot_weak_coupling)


@app.command()
def gradients(
    checkpoint: Checkpoint,
    inputs: Inputs,
    targets: Targets,
    output: Annotated[Path | None, typer.Option(help="Write the norms to this .nc or .csv file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them to this .png, .pdf or .svg file.")] = None,
    loss: LossName = "cross-entropy",
    module: ModuleHook = None,
    prefix: Prefix = None,
    readout: Readout = None,
    nonlinearity: Nonlinearity = None,
    key: Key = None,
    ignore: Ignore = None,
    max_size: MaxSize = "2GiB",
    quiet: Quiet = False,
) -> None:
    """Compute how the gradients of the network in CHECKPOINT fade or grow on their way back (Eq. 10 and 15)."""
    import lyapkit as lk

    _check_paths(output, plot, checkpoint, inputs, targets, module, loss)
    given = _learning_problem(checkpoint, inputs, targets, loss, module, prefix, readout, nonlinearity, key, ignore)
    ds = lk.gradient_norms(*given, progress=not quiet)
    _finish(ds, _decay_rates, output, plot, lk.plot_gradient_norms)


@app.command()
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
    module: ModuleHook = None,
    prefix: Prefix = None,
    readout: Readout = None,
    nonlinearity: Nonlinearity = None,
    key: Key = None,
    ignore: Ignore = None,
    max_size: MaxSize = "2GiB",
    seed: Annotated[int, typer.Option(help="Seeds the start vector.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Compute leading Hessian eigenvalues of the loss of the network in CHECKPOINT (Eq. 6)."""
    import lyapkit as lk

    _check_paths(output, plot, checkpoint, inputs, targets, module, loss)
    given = _learning_problem(checkpoint, inputs, targets, loss, module, prefix, readout, nonlinearity, key, ignore)
    block = parameters.split(",") if "," in parameters else parameters
    ds = lk.hessian_eigenvalues(*given, n_eigenvalues, which=which, parameters=block, seed=seed, progress=not quiet)
    _finish(ds, _eigenvalue_table, output, plot, lk.plot_hessian_eigenvalues)


def _decay_rates(ds: xr.Dataset) -> str:
    """Return measured and predicted decay rates of gradients as text."""
    lines = [ds.attrs["system"], f"{ds.sizes['sample']} samples of {ds.sizes['time']} steps", ""]
    for name, label in {
        "decay_rate": "measured",
        "averaged_decay_rate": "averaged Jacobian (first order)",
        "predicted_decay_rate": "residual alone (Eq. 15)",
    }.items():
        if name in ds:
            rate = f"{float(ds[name].mean()):+.5f} ± {float(ds[name].std('sample')):.5f}"
            lines.append(f"decay rate, {label:<32} {rate} nats per step of distance")
    return "\n".join(lines)


def _eigenvalue_table(ds: xr.Dataset) -> str:
    """Return Hessian eigenvalues as a table."""
    lines = [
        f"{ds.attrs['system']}\nloss {ds.attrs['loss']:.5g} of {ds.attrs['n_samples']} samples, "
        f"{ds.attrs['n_parameters']} parameters: {ds.attrs['block']}\n\n rank    eigenvalue      residual"
    ]
    for rank in ds["eigenvalue"].values:
        one = ds.sel(eigenvalue=rank)
        note = "" if one["converged"] else "  not converged"
        lines.append(f"{rank:5d}  {float(one['hessian_eigenvalue']):12.5g}  {float(one['residual_norm']):12.2g}{note}")
    return "\n".join([*lines, "", "loss per squared parameter"])


def _learning_problem(
    checkpoint: Path,
    inputs: Path,
    targets: Path,
    loss: str,
    module: str | None,
    prefix: str | None,
    readout: str | None,
    nonlinearity: str | None,
    key: str | None,
    ignore: list[str] | None,
) -> tuple:
    """Return model, inputs, targets and loss."""
    import lyapkit as lk
    from lyapkit.files.sequences import read_targets
    from lyapkit.hooks import load_module, named_loss

    if module is None:
        chosen = {"prefix": prefix, "readout": readout, "nonlinearity": nonlinearity, "key": key}
        model = lk.load_network(checkpoint, **chosen, ignore=ignore or ())
    else:
        _refuse_with_module(prefix=prefix, readout=readout, nonlinearity=nonlinearity, ignore=ignore)
        model = load_module(module, checkpoint, key)
    return model, _of_one_length(inputs), read_targets(targets), named_loss(loss)


def _refuse_with_module(**given: object) -> None:
    """Refuse options that say what a file's tensors mean, where --module says it."""
    if said := [f"--{name}" for name, value in given.items() if value]:
        raise ValueError(f"--module says what the tensors mean: leave out {', '.join(said)}")


def _of_one_length(path: Path) -> np.ndarray | xr.DataArray:
    """Return the input sequences in a file, which must not differ in length."""
    import lyapkit as lk

    sequences = lk.read_inputs(path)
    if isinstance(sequences, list):
        raise ValueError(f"{path}: its sequences differ in length: pad them, and in Python give their lengths=")
    return sequences


def _name_among(paths: list[Path], path: Path) -> str:
    """Return a name that tells a file from the others: its own, or with its folder."""
    return str(path) if [other.stem for other in paths].count(path.stem) > 1 else path.stem


def _table_and_words(ds: xr.Dataset) -> str:
    import lyapkit as lk

    return f"{lk.spectrum_table(ds)}\n\n{lk.in_words(ds)}"


def _check_paths(output: Path | None, plot: Path | None, *inputs: str | Path | None) -> None:
    """Find out before the work starts whether its results can be written, and would not replace what it reads."""
    from lyapkit.files.datasets import check_ending
    from lyapkit.files.writing import check_writable
    from lyapkit.plots import check_drawable

    given = _files_among(*inputs)
    if output is not None:
        check_ending(check_writable(output, given))
    if plot is not None:
        check_drawable(plot, given)


def _files_among(*inputs: str | Path | None) -> list[str | Path]:
    """Return the files that a command reads, those with functions (FILE.py:FUNCTION) among them."""
    return [str(path).rpartition(".py:")[0] + ".py" if ".py:" in str(path) else path for path in inputs if path]


def _finish(
    ds: xr.Dataset,
    describe: Callable[[xr.Dataset], str],
    output: Path | None,
    plot: Path | None,
    draw: Callable[[xr.Dataset], Axes],
) -> None:
    """Write and draw what was asked for, then print it as text, even if a file cannot be written."""
    import lyapkit as lk
    from lyapkit.files.datasets import left_out
    from lyapkit.plots import save_figure

    done = []
    try:
        if output is not None:
            lk.save(ds, output)
            done.append(f"\nwrote {output}")
            if output.suffix == ".csv" and (names := left_out(ds)):
                done.append(f"which has no room for {', '.join(names)}: a .nc file has")
        if plot is not None:
            ax = draw(ds)
            save_figure(ax, plot)
            done.append(f"drew {plot}")
    finally:
        print(describe(ds), *done, sep="\n")


@app.command()
def train(
    context: typer.Context,
    task: Annotated[
        str, typer.Argument(help="digits, smnist, psmnist, scifar10, add100, add200, …, or a .npz file of arrays.")
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
    device: Annotated[str | None, typer.Option(help="cpu, cuda, … Default: cpu.")] = None,
    output: Annotated[Path | None, typer.Option(help="Write the metrics to this .nc or .csv file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw learning curves to this .png, .pdf or .svg file.")] = None,
    quiet: Quiet = False,
) -> None:
    """Train networks on TASK, one for every combination of settings and seeds, all at once."""
    import lyapkit as lk
    from lyapkit.tables import training_table
    from lyapkit.training import network_grid

    _check_paths(output, plot, task)
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
        device=device,
        progress=not quiet,
    )
    ds = result.metrics
    for name in settings[0]:
        ds = ds.assign_coords({name: ("network", [own[name] for own in settings], {"units": "1", "long_name": name})})
    heading = f"{the_task}, {ds.attrs['n_iterations']} iterations of {batch_size} samples\n\n"
    ending = ""
    if not result.is_finished:
        way_on = "--resume goes on" if folder else "without --folder it cannot be gone on with"
        ending = f"\n\nstopped for the time; {way_on}"
    _finish(ds, lambda ds: heading + training_table(ds) + ending, output, plot, lk.plot_learning_curves)


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="mnist or cifar10.")],
) -> None:
    """Download a data set, for where there is no folder LYAPKIT_DATA with it."""
    from lyapkit.tasks import files

    for path in files.fetch(name):
        print(path)


@app.command()
def inspect(checkpoint: Checkpoint, key: Key = None, max_size: MaxSize = "2GiB") -> None:
    """List the tensors in CHECKPOINT, the recurrent networks they make, and what the other tensors are taken for."""
    from lyapkit.files.tensors import read_tensors
    from lyapkit.models.inspection import inspect_accounts

    tensors = read_tensors(checkpoint, key)
    width = max((len(name) for name in tensors), default=0)
    for name, tensor in tensors.items():
        role = "" if tensors.network is None else f"  {tensors.network.roles[name]}"
        print(f"{name:<{width}}  {str(tensor.dtype).removeprefix('torch.'):<9} {tuple(tensor.shape)}{role}")
    accounts = inspect_accounts(tensors)
    print()
    for note in tensors.notes:
        print(note)
    for prefix, (description, account) in accounts.items():
        print(f"recurrent network {prefix!r}: {description}")
        if account is not None:
            print(*(f"  {line}" for line in account.describe().splitlines()), sep="\n")
    if not accounts:
        print("no recurrent network")


@app.command()
def plot(
    file: Annotated[Path, typer.Argument(help="A netCDF file that another command wrote.")],
    folder: Annotated[Path | None, typer.Option(help="Where the pictures go. Default: beside FILE.")] = None,
    suffix: Annotated[str, typer.Option("--format", help="png, pdf or svg.")] = "png",
) -> None:
    """Draw what is in FILE, a spectrum, gradients, eigenvalues or learning curves: pictures beside it."""
    import lyapkit as lk
    from lyapkit.plots import pictures_of, save_figure

    ds = lk.load(file)
    try:
        pictures = pictures_of(ds)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    folder = file.parent if folder is None else folder
    for name, draw in pictures.items():
        ax, path = draw(ds), folder / f"{file.stem}_{name}.{suffix}"
        save_figure(ax, path)
        print(f"drew {path}")


class _Unread:
    """A stream whose reader may leave: what is written then is dropped, so that the work ends as if it were read."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with self._dropping():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._dropping():
            self.stream.flush()

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())  # for what is still in the buffer, too
            if not isinstance(error, BrokenPipeError):
                raise OSError(f"cannot write to {self.stream.name}: {error.strerror}") from error


def main() -> None:
    """Run the command line; what the user can mend is one line on stderr and exit code 2."""
    os.environ["MPLBACKEND"] = "Agg"
    warnings.showwarning = lambda message, *_, **__: _complain(f"warning: {message}")
    out, err = (_Unread(stream or io.StringIO()) for stream in (sys.stdout, sys.stderr))  # None: it was closed
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            try:
                app()
            finally:
                out.flush()
        except (ValueError, OSError, ArithmeticError, ImportError) as error:
            _complain(error)
            sys.exit(2)


_OPTIONS = {
    "n_transient": "--transient",
    "n_exponents": "--n-exponents",
    "n_steps": "--steps",
    "n_backward_transient": "--backward-transient",
    "initial_frame": "--initial-frame",
    "batch_size": "--batch-size",
    "learning_rate": "--learning-rate",
    "clip_norm": "--clip",
    "prefix": "--prefix",
    "nonlinearity": "--nonlinearity",
    "ignore": "--ignore",
    "key": "--key",
    "module": "--module",
    "embedding": "--embedding",
    "readout": "--readout",
    "lengths": "--lengths",
    "dtype": "--dtype",
    "device": "--device",
}
_NAMED = re.compile(
    r"\b(?P<before>" + "|".join(_OPTIONS) + r")=(?P<value>'[^']*'|\[[^\]]*\]|[\w.]+)?|"
    r"\b(?P<bare>" + "|".join(name for name in _OPTIONS if "_" in name) + r")\b"
)


def _in_words_of_the_shell(text: str) -> str:
    """Return a message with options called as the command line calls them: ``dtype='float64'`` is --dtype float64."""

    def called(match: re.Match) -> str:
        if match["bare"]:
            return _OPTIONS[match["bare"]]
        value = (match["value"] or "").strip("'[]")
        return f"{_OPTIONS[match['before']]} {value}".rstrip()

    return _NAMED.sub(called, text)


def _complain(what: object) -> None:
    """Say something on stderr, in one line."""
    print(f"lyapkit: {_in_words_of_the_shell(' '.join(str(what).split()))}", file=sys.stderr)


if __name__ == "__main__":
    main()
