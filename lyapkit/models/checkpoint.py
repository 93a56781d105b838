"""`load_system`, `load_network`: a recurrent network from a file of tensors, without running any code in the file."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from lyapkit.files.tensors import CheckpointError, CheckpointWarning, NamedTensors, read_tensors
from lyapkit.models import extra_state
from lyapkit.models.account import Account, Sizes, account_for
from lyapkit.models.described_networks import described_modules, described_network, described_system
from lyapkit.models.network import Network, RecurrentNetwork
from lyapkit.models.readouts import find_readout
from lyapkit.models.recognition import Found, Module, choose, find_modules
from lyapkit.models.recurrent import Recurrent


def load_system(
    path: str | Path,
    *,
    prefix: str | None = None,
    nonlinearity: str | None = None,
    key: str | None = None,
    ignore: Sequence[str] = (),
) -> Recurrent | Network:
    """Return the recurrent network in a checkpoint file.

    What it is, an RNN, a GRU, an LSTM or a network of lyapkit's own (WCRNN, UR-LSTM, S4, a registered one), its sizes,
    layers, biases and projection, is read off the names and shapes of the tensors. All tensors in the file must be
    accounted for: what lies beside the recurrent ones and may change the equations is refused. Nothing in the file can
    run code: pickled files are read with ``weights_only=True``.

    Parameters
    ----------
    path : str or Path
        A file of any kind that lyapkit knows, told by its content: see docs/checkpoints.md.
    prefix : str, optional
        Which recurrent module to take, by the beginning of its tensors' names ("encoder.lstm."). Needed only if
        the file has several.
    nonlinearity : "tanh" or "relu", optional
        An Elman network's activation function, where the file does not tell.
    key : str, optional
        Which state dict to take, by the keys that lead to it, "ema/model" for instance. Needed only if the file holds
        several.
    ignore : sequence of str
        Names, or patterns with * and ?, of tensors that do not act on the recurrence.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, of an unknown type, or unsafe; if it holds no recurrent network, several and
        no `prefix`, one that has no Lyapunov spectrum (a bidirectional one), or tensors that are not accounted for.

    Warns
    -----
    CheckpointWarning
        If what lies elsewhere in the model was taken for harmless and nothing but its place says so.
    """
    tensors = read_tensors(path, key)
    if tensors.network is not None:
        with _named(path):
            return described_system(tensors.network, prefix, nonlinearity, _source(path), ignore)
    file = _File(path, tensors, prefix, nonlinearity, ignore)
    with _named(path):
        account = file.account()
        account.require_complete()
        return file.finished(file.network, account)


def load_checkpoint(path: str | Path, **options: str | None) -> Recurrent | Network:
    """Return what `load_system` does. Deprecated: the old name of it."""
    warnings.warn("load_checkpoint is called load_system now", DeprecationWarning, stacklevel=2)
    return load_system(path, **options)


def load_network(
    path: str | Path,
    *,
    prefix: str | None = None,
    nonlinearity: str | None = None,
    readout: str | None = None,
    key: str | None = None,
    ignore: Sequence[str] = (),
    module: nn.Module | Callable[[], nn.Module] | None = None,
) -> Network | nn.Module:
    """Return the recurrent network in a checkpoint file together with its readout, for what needs a loss.

    Parameters
    ----------
    path, prefix, nonlinearity, key, ignore
        As for `load_system`.
    readout : str, optional
        The linear layer that reads the uppermost layer's last hidden state, by the beginning of its tensors' names
        ("decoder."). Needed only if several would fit.
    module : nn.Module or callable, optional
        A module of yours, or what returns one, into which the state dict is loaded: for readouts that are more than one
        linear layer. A module that is given is changed.

    Returns
    -------
    Network or nn.Module
        With `module`, that module in float64: how its recurrent part and its readout go together is found out, and
        checked against its own forward, once there are inputs.

    Raises
    ------
    CheckpointError
        As `load_system`; if there is no readout, or several and none is chosen; if anything precedes or follows it; or
        if the state dict does not fit `module`.
    """
    if module is not None:
        return load_into(module if isinstance(module, nn.Module) else module(), path, key)
    tensors = read_tensors(path, key)
    if tensors.network is not None:
        with _named(path):
            return described_network(tensors.network, prefix, nonlinearity, readout, _source(path), ignore)
    file = _File(path, tensors, prefix, nonlinearity, ignore)
    with _named(path):
        if isinstance(file.network, Network):
            account = file.account()
            account.require_complete()
            return file.finished(file.network, account)
        recurrent = file.network.pytorch_module()
        account = file.account()
        size = recurrent.proj_size or recurrent.hidden_size
        head = find_readout(file.found.tensors, account, size, readout)
        account.require_complete("give the code of the module by module=, or --module")
        network = RecurrentNetwork(recurrent, head)
        network.source = file.network.source
        return file.finished(network, account)


def load_into(module: nn.Module, path: str | Path, key: str | None = None) -> nn.Module:
    """Return a module of the user's with a checkpoint's state dict loaded into it, in float64.

    Names may all begin with what DistributedDataParallel or torch.compile put before them.

    Raises
    ------
    CheckpointError
        If the state dict is of another module.
    """
    tensors = dict(read_tensors(path, key))
    for wrapping in ("_orig_mod.", "module.", "_orig_mod."):
        if tensors and all(name.startswith(wrapping) for name in tensors) and not hasattr(module, wrapping[:-1]):
            tensors = {name.removeprefix(wrapping): tensor for name, tensor in tensors.items()}
    expected = module.state_dict()
    tensors = {n: t for n, t in tensors.items() if n in expected or not n.endswith(extra_state.NAME)}  # no weights
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} does not fit the module {type(module).__name__}: {' '.join(str(error).split())}"
        ) from error
    return module.to(torch.float64)


def inspect_checkpoint(path: str | Path, key: str | None = None) -> dict[str, str]:
    """Return the recurrent modules in a checkpoint file: prefix to a line that describes the module.

    `path` and `key` are those of `load_system`.

    Raises
    ------
    CheckpointError
        If the file cannot be read.
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
    accounts = {}
    for prefix, module in found.modules.items():
        try:
            network = module.network("tanh")  # or relu: its description does not say
        except ValueError as error:
            accounts[prefix] = f"not usable: {error}", None
        else:
            accounts[prefix] = str(network).replace("tanh RNN", "RNN"), _account(found, module, network, ())
    return accounts


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Name the file in what is wrong with it."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path} {error}") from error
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: {' '.join(str(error).split())}") from error


def _source(path: str | Path) -> dict[str, str]:
    """Return what a result file says about where weights come from."""
    return {"checkpoint": Path(path).name, "checkpoint_sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}


class _File:
    """A checkpoint file, the recurrent module chosen from it, and its network."""

    def __init__(
        self,
        path: str | Path,
        tensors: NamedTensors,
        prefix: str | None,
        nonlinearity: str | None,
        ignore: Sequence[str],
    ) -> None:
        self.path, self.ignore = Path(path), [ignore] if isinstance(ignore, str) else list(ignore)
        self.found: Found = find_modules(tensors)
        try:
            self.module: Module = choose(self.found, prefix)
        except CheckpointError as error:
            raise CheckpointError(f"{self.path} {error}") from error
        self.notes = [*tensors.notes, *self.found.notes, *self.module.notes]
        with _named(path):
            self.network = self.module.network(nonlinearity, _source(path))

    def account(self) -> Account:
        """Return what the file's tensors are for."""
        return _account(self.found, self.module, self.network, self.ignore)

    def finished(self, network: Recurrent | Network, account: Account) -> Recurrent | Network:
        """Return the network with what was assumed said."""
        if account.doubtful:
            warnings.warn(
                f"{self.path}: {', '.join(account.doubtful)} are taken to act before the recurrent module "
                f"{self.module.prefix!r} or after it, since they lie elsewhere in the model: inputs are to be given as "
                "the recurrent module gets them; ignore= says that this is right",
                CheckpointWarning,
                stacklevel=3,
            )
        if notes := [*self.notes, *account.notes]:
            network.source = {**network.source, "assumptions": "; ".join(notes)}
        return network


def _account(found: Found, module: Module, network: Recurrent | Network, ignore: Sequence[str]) -> Account:
    if isinstance(network, Recurrent):
        uppermost = network.layers[-1]
        sizes = Sizes(network.input_size, uppermost.sizes[0], uppermost.hidden_size)
    else:
        units = getattr(network, "hidden_size", network.state_size)
        sizes = Sizes(network.input_size, units, units)
    return account_for(
        found.tensors,
        module.names(network),
        module.prefix,
        sizes,
        is_cell=module.is_cell,
        is_own=bool(module.own),
        others=[prefix for prefix in found.modules if prefix != module.prefix],
        ignore=ignore,
    )
