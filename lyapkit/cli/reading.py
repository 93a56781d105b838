"""What commands read: sequences of one length, networks with data and a loss, names of several files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import xarray as xr


def learning_problem(
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
) -> tuple[Any, Any, Any, Any]:
    """Return model, inputs, targets and loss."""
    import lyapkit as lk
    from lyapkit.files.sequences import read_targets
    from lyapkit.hooks import load_module, named_loss

    if module is None:
        chosen: dict[str, Any] = {"prefix": prefix, "readout": readout, "nonlinearity": nonlinearity, "key": key}
        model = lk.load_network(checkpoint, **chosen, ignore=ignore or ())
    else:
        refuse_with_module(prefix=prefix, readout=readout, nonlinearity=nonlinearity, ignore=ignore)
        model = load_module(module, checkpoint, key)
    return model, of_one_length(inputs), read_targets(targets), named_loss(loss)


def loaded(
    load: Callable[..., Any], checkpoint: Path, *, several: bool, nonlinearity: str | None, **options: Any
) -> Any:
    """Return what `load` reads; of several files, `nonlinearity` is for those that do not tell it."""
    from lyapkit.files.errors import NeedlessOptionError

    try:
        return load(checkpoint, nonlinearity=nonlinearity, **options)
    except NeedlessOptionError:
        if not several:
            raise
        return load(checkpoint, **options)


def named(name: Path, parameter: list[str] | None, **of_files: object) -> Any:
    """Return the system of `lyapkit.classical` of a name, which takes no options that say how files are read."""
    from lyapkit.sweeps.systems import named_system, number_of

    if said := [f"--{option.replace('_', '-')}" for option, value in of_files.items() if value]:
        raise ValueError(f"a system of lyapkit.classical is no file: leave out {', '.join(said)}")
    given = [number_of(text) for text in parameter or ()]
    parameters = dict(given)
    if len(parameters) < len(given):
        raise ValueError("a parameter is given twice")
    return named_system(str(name), [*parameters])(**parameters)


def refuse_with_module(**given: object) -> None:
    """Refuse options that say what a file's tensors mean, where --module says it."""
    if said := [f"--{name}" for name, value in given.items() if value]:
        raise ValueError(f"--module says what the tensors mean: leave out {', '.join(said)}")


def of_one_length(path: Path) -> np.ndarray | xr.DataArray:
    """Return the input sequences in a file, which must not differ in length."""
    import lyapkit as lk

    sequences = lk.read_inputs(path)
    if isinstance(sequences, list):
        raise ValueError(
            f"{path}: its sequences differ in length: pad them; spectrum, gradients and "
            "curvature take --lengths, how many steps of each count"
        )
    return sequences


def steps_that_count(lengths: Path | None) -> np.ndarray | None:
    """Return how many steps of each sequence count, if there is a file that says it."""
    from lyapkit.files.sequences import read_targets

    return None if lengths is None else read_targets(lengths)


def name_among(paths: list[Path], path: Path) -> str:
    """Return a name that tells a file from the others: its own, or with its folder."""
    return str(path) if [other.stem for other in paths].count(path.stem) > 1 else path.stem
