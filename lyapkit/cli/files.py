"""`lyapkit inspect` and `plot`: what is in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lyapkit.cli.messages import printable
from lyapkit.cli.options import Checkpoint, Key, MaxSize


def inspect(checkpoint: Checkpoint, key: Key = None, max_size: MaxSize = "2GiB") -> None:
    """List the tensors in CHECKPOINT, the recurrent networks they make, and what the other tensors are taken for."""
    from lyapkit.files.tensors import read_tensors
    from lyapkit.models.inspection import inspect_accounts, inspect_weights

    tensors = read_tensors(checkpoint, key)
    width = min(80, max((len(name) for name in tensors), default=0))
    lines = []
    for name, tensor in tensors.items():
        role = "" if tensors.network is None else f"  {tensors.network.roles[name]}"
        lines.append(f"{name:<{width}}  {str(tensor.dtype).removeprefix('torch.'):<9} {tuple(tensor.shape)}{role}")
    accounts = inspect_accounts(tensors)
    lines += ["", *tensors.notes, *inspect_weights(tensors)]
    for prefix, (description, account) in accounts.items():
        lines.append(f"recurrent network {prefix!r}: {description}")
        if account is not None:
            lines += [f"  {line}" for line in account.describe().splitlines()]
    if not accounts:
        lines.append("no recurrent network")
    print(*(printable(line) for line in lines), sep="\n")


def plot(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A netCDF file that another command wrote.")],
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
