"""The linear layer in a file that reads a network's last state."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from torch import Tensor, nn

from lyapkit.files.errors import CheckpointWarning, listed
from lyapkit.models.account import GIVES, Account, may_be_another_readout
from lyapkit.models.recognition import with_dot

MOST = 32  # parts of a sequence that are looked for: a number in a name may be any


def find_readout(tensors: Mapping[str, Tensor], account: Account, size: int, wanted: str | None) -> nn.Linear:
    """Return the linear layer elsewhere in the model that takes `size` features, or the one asked for.

    In the account its tensors become the readout; what may precede or follow it becomes unexplained.

    Raises
    ------
    ValueError
        If there is none, or several and none is asked for, or it has another shape.

    Warns
    -----
    CheckpointWarning
        If it is not the first part of a sequence, and those before it have no tensors.
    """
    places = [*account.elsewhere, *account.unexplained]
    found = {
        name.removesuffix("weight"): tensors[name]
        for name in places
        if ("." + name).endswith(".weight") and tensors[name].ndim == 2 and tensors[name].shape[1] == size
    }
    wanted = wanted if wanted is None else with_dot(wanted)
    if wanted is not None and wanted not in found:
        raise ValueError(f"no linear layer {wanted!r} takes {size} features; these do: {listed(found) or 'none'}")
    if wanted is None and len(found) != 1:
        raise ValueError(
            f"several linear layers take the network's {size} features, {listed(sorted(found))}: choose the readout"
            if found
            else f"there is no readout: no linear layer takes the network's {size} features"
        )
    chosen = next(iter(found)) if wanted is None else wanted
    _warn_of_what_has_no_tensors(tensors, chosen)
    weight, bias = found[chosen], tensors.get(f"{chosen}bias")
    dtype = weight.dtype if weight.dtype.itemsize >= 4 else None
    readout = nn.Linear(size, len(weight), bias=bias is not None, dtype=dtype)
    readout.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))

    account.readout = [name for name in (f"{chosen}weight", f"{chosen}bias") if name in tensors]
    for name in account.readout:
        account.elsewhere.pop(name, None)
        account.unexplained.pop(name, None)
    parallel = {
        prefix
        for prefix, other in found.items()
        if prefix != chosen and size not in (len(other), len(weight)) and may_be_another_readout(prefix, len(other))
    }
    for name, role in list(account.elsewhere.items()):
        if name.rpartition(".")[0] + "." in parallel:
            account.irrelevant[name] = "of another readout"
        elif role != GIVES:
            account.unexplained[name] = f"what may precede or follow the readout {chosen!r}"
        else:
            continue
        del account.elsewhere[name]
    account.doubtful = []
    return readout


def _warn_of_what_has_no_tensors(tensors: Mapping[str, Tensor], chosen: str) -> None:
    """Say that parts of an nn.Sequential before its linear layer left nothing in the file, if there are any."""
    sequence, _, number = chosen.removesuffix(".").rpartition(".")
    n_before = min(int(number), MOST) if number.isdecimal() else 0
    before = [f"{sequence}.{index}.".lstrip(".") for index in range(n_before)]
    silent = [prefix for prefix in before if not any(name.startswith(prefix) for name in tensors)]
    if silent:
        warnings.warn(
            f"before the readout {chosen!r} lies {listed(silent)}, which has no tensors: it is taken for dropout; if "
            "it is an activation function, give the code of the module by module= or --module",
            CheckpointWarning,
            stacklevel=6,
        )
