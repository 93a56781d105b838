"""What several commands take, said once: arguments and options with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _there(path: Path) -> Path:
    """Refuse a file that does not exist before anything is loaded that takes time."""
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    return path


def _there_or_named(path: Path) -> Path:
    """Refuse what is neither a file nor may be the name of a system."""
    return path if str(path).isidentifier() else _there(path)


_KINDS = "safetensors, PyTorch, Keras, ONNX, told by content"
_NAMES = "henon, lorenz, … of lyapkit.classical"
Checkpoint = Annotated[
    Path,
    typer.Argument(metavar="CHECKPOINT", callback=_there, help=f"The network: {_KINDS}."),
]
CheckpointOrName = Annotated[
    Path,
    typer.Argument(
        metavar="CHECKPOINT",
        callback=_there_or_named,
        help=f"The network: {_KINDS}; or {_NAMES}.",
    ),
]
Checkpoints = Annotated[
    list[Path],
    typer.Argument(
        metavar="CHECKPOINTS",
        callback=lambda paths: [_there_or_named(path) for path in paths],
        help=f"The networks: {_KINDS}; or {_NAMES}.",
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
Parameter = Annotated[
    list[str] | None, typer.Option(help="Of a system of lyapkit.classical: a=1.3; may be given several times.")
]
Prefix = Annotated[str | None, typer.Option(help="Which recurrent module, if the file has several.")]
Transient = Annotated[int, typer.Option("--transient", help="Leading steps that are not counted.")]
Targets = Annotated[Path, typer.Option(help="One target per sample: .npy .npz .pt .csv")]
Lengths = Annotated[Path | None, typer.Option(help="How many steps of each padded sequence count: a file.")]
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
Progress = Annotated[
    bool | None,
    typer.Option("--quiet", "-q", callback=lambda quiet: False if quiet else None, help="No progress bar."),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say also how often perturbations were re-orthonormalised.")
]
