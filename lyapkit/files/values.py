"""Which tensors have values that can be computed with: dense, present, and no more of them than a file holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from lyapkit.files.errors import CheckpointError, listed
from lyapkit.files.limits import SMALL, check_size, readable

REPETITION = 16  # how often the bytes of a file may stand for values: tied weights have several names


def plain(path: Path, tensors: Mapping[str, Tensor], n_stored: int) -> tuple[dict[str, Tensor], list[str]]:
    """Return tensors as dense ones without history, and notes on what was converted.

    Quantised tensors are multiplied out; all others stay as they are stored.

    Parameters
    ----------
    path : Path
        For messages.
    tensors : mapping of str to Tensor
        What the file holds.
    n_stored : int
        Bytes that the file takes.

    Raises
    ------
    CheckpointError
        If tensors are sparse, nested, or have no values; if they would take more memory than a file may, or many times
        what the file takes, because entries are repeated.
    """
    for words, remedy, is_bad in (
        ("sparse", "save them dense, tensor.to_dense()", lambda t: t.layout != torch.strided and not t.is_nested),
        ("nested", "save their parts", lambda t: t.is_nested),
        ("without values, of the device meta", "save the module after its weights were loaded", lambda t: t.is_meta),
    ):
        if bad := [name for name, tensor in tensors.items() if is_bad(tensor)]:
            raise CheckpointError(f"{path} holds tensors that are {words}, {listed(bad)}: {remedy}")
    n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if n_bytes > REPETITION * n_stored + SMALL:
        raise CheckpointError(
            f"{path} takes {readable(n_stored)} and its tensors would take {readable(n_bytes)}, because they repeat "
            "few values (expanded or shared memory): save them without the repetitions"
        )
    check_size(path, n_bytes)
    quantised = [name for name, tensor in tensors.items() if tensor.is_quantized]
    dense = {name: tensor.detach() for name, tensor in tensors.items()}
    dense |= {name: dense[name].dequantize() for name in quantised}
    return dense, [f"multiplied out quantised tensors: {listed(quantised)}"] if quantised else []
