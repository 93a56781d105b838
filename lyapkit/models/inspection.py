"""`inspect_checkpoint`: which recurrent modules a file holds, and what its other tensors are taken for."""

from __future__ import annotations

from pathlib import Path

from lyapkit.files.tensors import NamedTensors, read_tensors
from lyapkit.models.account import Account
from lyapkit.models.checkpoint_file import account_of
from lyapkit.models.described_networks import described_modules
from lyapkit.models.recognition import find_modules
from lyapkit.models.stored_weights import stored_weights


def inspect_checkpoint(path: str | Path, key: str | None = None) -> dict[str, str]:
    """Return the recurrent modules in a checkpoint file: prefix to a line that describes the module.

    `path` and `key` are those of `load_system`.

    Raises
    ------
    CheckpointError
        If the file cannot be read.

    Examples
    --------
    >>> import lyapkit as lk
    >>> checkpoint, _ = lk.examples.digits()
    >>> lk.inspect_checkpoint(checkpoint)
    {'recurrent.': 'LSTM (8 inputs, 64 units, state size 128)'}
    """
    descriptions = {}
    for prefix, (network, account) in inspect_accounts(read_tensors(Path(path), key)).items():
        unexplained = "" if account is None or not account.unexplained else "; with tensors that are not explained"
        descriptions[prefix] = network + unexplained
    return descriptions


def inspect_accounts(tensors: NamedTensors) -> dict[str, tuple[str, Account | None]]:
    """Return prefix to what the module is, and the account of all tensors seen from it, None if it is not usable."""
    if tensors.network is not None:
        return {name: (line, None) for name, line in described_modules(tensors.network).items()}
    found = find_modules(tensors)
    accounts: dict[str, tuple[str, Account | None]] = {}
    for prefix, module in found.modules.items():
        try:
            network = module.network("tanh")  # or relu: its description does not say
        except ValueError as error:
            accounts[prefix] = f"not usable: {error}", None
        else:
            accounts[prefix] = str(network).replace("tanh RNN", "RNN"), account_of(found, module, network)
    return accounts


def inspect_weights(tensors: NamedTensors) -> list[str]:
    """Return which weights are computed from what is stored under other names, and what cannot be known of them."""
    if tensors.network is not None:
        return []
    stored = stored_weights(tensors)
    doubt = stored.doubt(stored.tensors)
    doubted = {f"{name} {how}" for name, how in stored.parametrized.items()}
    return [note for note in stored.notes if note not in doubted] + ([doubt] if doubt else [])
