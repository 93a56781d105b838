"""`load_composition`: several recurrent modules of one file in a row, with an embedding in front."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from torch import Tensor, nn

from lyapkit.files.errors import CheckpointError
from lyapkit.files.tensors import read_tensors
from lyapkit.models.checkpoint import load_system
from lyapkit.models.compositions import Composition


def load_composition(
    path: str | Path,
    prefix: str | Sequence[str] | None = None,
    *,
    embedding: str | None = None,
    nonlinearity: str | None = None,
    key: str | None = None,
    ignore: Sequence[str] = (),
) -> Composition:
    """Return recurrent modules of a checkpoint file as one system, every one driven by the output of the one before.

    Nothing may lie between them; where something does, build the module and give it to `from_module`.

    Parameters
    ----------
    path, nonlinearity, key, ignore
        As for `load_system`.
    prefix : str or sequence of str, optional
        The recurrent modules from the input upwards, by the beginnings of their tensors' names. Default: the only one.
    embedding : str, optional
        The name of a table (tokens, features), "encoder.weight" for instance, whose rows are the inputs: the system
        then takes tokens.

    Raises
    ------
    CheckpointError
        As `load_system`; if there is no such embedding, or sizes do not fit.
    """
    prefixes = [prefix] if prefix is None or isinstance(prefix, str) else list(prefix)
    options = {"nonlinearity": nonlinearity, "key": key}
    explained = [ignore] if isinstance(ignore, str) else list(ignore)
    parts = []
    if embedding is not None:
        name, weight = _table(path, embedding, key)
        explained.append(name)
        layer = nn.Embedding(*weight.shape, dtype=weight.dtype)
        layer.weight.data.copy_(weight)
        parts.append(layer)
    systems = [load_system(path, prefix=one, ignore=explained, **options) for one in prefixes]
    try:
        composition = Composition([*parts, *systems])
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    assumed = [f"{first!r} drives {second!r}" for first, second in pairwise(prefixes)]
    if assumed:
        composition.source["composition"] = "; ".join(assumed)
    return composition


def _table(path: str | Path, embedding: str, key: str | None) -> tuple[str, Tensor]:
    """Return the full name and the values of an embedding."""
    tensors = read_tensors(Path(path), key)
    for name in (embedding, f"{embedding.removesuffix('.')}.weight"):
        if name in tensors:
            if tensors[name].ndim != 2 or not tensors[name].is_floating_point():
                raise CheckpointError(
                    f"{path}: {name} has shape {tuple(tensors[name].shape)}, an embedding is a table (tokens, features)"
                )
            return name, tensors[name].float() if tensors[name].dtype.itemsize < 4 else tensors[name]
    tables = [name for name, tensor in tensors.items() if tensor.ndim == 2 and "weight_" not in name]
    raise CheckpointError(f"{path} holds no tensor {embedding!r}; tables are {', '.join(tables[:9]) or 'none'}")
