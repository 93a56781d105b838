"""`load_system`, `load_network`: a recurrent network from a file of tensors, without running any code in the file."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lyapkit.files.tensors import CheckpointError, read_tensors
from lyapkit.models import extra_state
from lyapkit.models.activations import check_said
from lyapkit.models.checkpoint_file import CheckpointFile, naming, source_of
from lyapkit.models.compositions import Composition
from lyapkit.models.described_networks import described_network, described_system
from lyapkit.models.network import Network
from lyapkit.models.recurrent import Recurrent


def load_system(
    path: str | Path,
    *,
    prefix: str | Sequence[str] | None = None,
    embedding: str | None = None,
    nonlinearity: str | None = None,
    key: str | None = None,
    ignore: Sequence[str] = (),
) -> Recurrent | Network | Composition:
    """Return the recurrent network in a checkpoint file.

    What it is, an RNN, a GRU, an LSTM or a network of lyapkit's own (WCRNN, UR-LSTM, S4, a registered one), its sizes,
    layers, biases and projection, is read off the names and shapes of the tensors. All tensors in the file must be
    accounted for: what lies beside the recurrent ones and may change the equations is refused. Nothing in the file can
    run code: pickled files are read with ``weights_only=True``.

    Parameters
    ----------
    path : str or Path
        A file of any kind that lyapkit knows, told by its content: see docs/checkpoints.md.
    prefix : str or sequence of str, optional
        Which recurrent module to take, by the beginning of its tensors' names ("encoder.lstm."). Needed only if
        the file has several. Several are one system: from the input upwards, every one driven by the output of the one
        before it, with nothing in between; where something lies there, build the module and give it to `from_module`.
    embedding : str, optional
        The name of a table (tokens, features), "encoder.weight" for instance, whose rows are the inputs: the system
        then takes tokens.
    nonlinearity : "tanh" or "relu", optional
        An Elman network's activation function, where the file does not tell. For others, leave it out.
    key : str, optional
        Which state dict to take, by the keys that lead to it, "ema/model" for instance. Needed only if the file holds
        several.
    ignore : sequence of str
        Names, or patterns with * and ?, of tensors that do not act on the recurrence.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, of an unknown type, or unsafe; if it holds no recurrent network, several and
        no `prefix`, one that has no Lyapunov spectrum (a bidirectional one), or tensors that are not accounted for; if
        there is no such embedding, sizes do not fit, or `nonlinearity` contradicts the file or has no meaning for it.

    Warns
    -----
    CheckpointWarning
        If what lies elsewhere in the model was taken for harmless and nothing but its place says so.

    Examples
    --------
    >>> import lyapkit as lk
    >>> checkpoint, _ = lk.examples.digits()
    >>> print(lk.load_system(checkpoint))
    LSTM (8 inputs, 64 units, state size 128)
    """
    tensors = read_tensors(path, key)
    prefixes = [prefix] if prefix is None or isinstance(prefix, str) else list(prefix)
    with naming(path):
        if tensors.network is not None:
            system = described_system(tensors.network, prefix, nonlinearity, source_of(path), ignore, embedding)
        elif embedding is None and len(prefixes) == 1:
            system = CheckpointFile(Path(path), tensors, nonlinearity, ignore).system(prefixes[0])
        else:
            system = CheckpointFile(Path(path), tensors, nonlinearity, ignore).composition(prefixes, embedding)
        check_said(nonlinearity, system)
    return system


def load_checkpoint(path: str | Path, **options: Any) -> Recurrent | Network | Composition:
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

    Examples
    --------
    >>> import lyapkit as lk
    >>> checkpoint, inputs = lk.examples.digits()
    >>> network = lk.load_network(checkpoint)
    >>> network.readout
    Linear(in_features=64, out_features=10, bias=True)
    """
    if module is not None:
        return load_into(module if isinstance(module, nn.Module) else module(), path, key)
    tensors = read_tensors(path, key)
    with naming(path):
        if tensors.network is not None:
            network = described_network(tensors.network, prefix, nonlinearity, readout, source_of(path), ignore)
        else:
            network = CheckpointFile(Path(path), tensors, nonlinearity, ignore).network(prefix, readout)
        check_said(nonlinearity, network)
    return network


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
