"""The registry of architectures: one entry, and a network is built by name, saved, recognised in files, and trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from lyapkit.models.network import Network, RecurrentNetwork
from lyapkit.models.refined_lstm import RefinedLSTM
from lyapkit.models.residuals import Residual, scaled_identity
from lyapkit.models.s4 import S4
from lyapkit.models.wcrnn import WCRNN, elman_with_identity_residual


@dataclass(frozen=True)
class Architecture:
    """An entry of the registry.

    Attributes
    ----------
    network : type of Network
        The class, by whose name its files are recognised and whose `from_parameters` reads them.
    build : callable
        ``build(input_size, hidden_size, output_size)``, an untrained network; one with a residual also takes
        `residual` and `coupling`.
    has_residual : bool
        Whether residual and coupling may be chosen.
    """

    network: type[Network]
    build: Callable[..., Network]
    has_residual: bool = False


def _of_module(
    module: Callable[[int, int], nn.RNNBase], n_inputs: int, n_units: int, n_outputs: int
) -> RecurrentNetwork:
    return RecurrentNetwork(module(n_inputs, n_units), nn.Linear(n_units, n_outputs))


ARCHITECTURES: dict[str, Architecture] = {
    "wcrnn": Architecture(WCRNN, WCRNN, has_residual=True),
    "wcrnn-a": Architecture(WCRNN, partial(WCRNN, kind="A"), has_residual=True),
    "wcrnn-b": Architecture(WCRNN, partial(WCRNN, kind="B"), has_residual=True),
    "wcrnn-identity": Architecture(WCRNN, partial(WCRNN, activation="identity"), has_residual=True),
    "elman-residual": Architecture(WCRNN, elman_with_identity_residual),
    "lstm": Architecture(RecurrentNetwork, partial(_of_module, nn.LSTM)),
    "gru": Architecture(RecurrentNetwork, partial(_of_module, nn.GRU)),
    "ur-lstm": Architecture(RefinedLSTM, RefinedLSTM),
    "s4": Architecture(S4, S4),
}


def register(name: str, network: type[Network], build: Callable[[int, int, int], Network] | None = None) -> None:
    """Enter an architecture of your own, so that it can be built by name, saved, recognised in files, and trained.

    Parameters
    ----------
    name : str
        For `build_network`.
    network : type of Network
        The class. Its `settings` must be what its constructor takes: the default is the three sizes.
    build : callable, optional
        ``build(input_size, hidden_size, output_size)``. Default: the class itself.

    Raises
    ------
    ValueError
        If the class is no `Network`, or the name, or the name of the class, is another's.

    Examples
    --------
    >>> import lyapkit as lk
    >>> class Echo(lk.RefinedLSTM):
    ...     pass
    >>> lk.register("echo", Echo)
    >>> type(lk.build_network("echo", 1, 8, 10)).__name__
    'Echo'
    >>> _ = lk.models.ARCHITECTURES.pop("echo")  # forget it again
    """
    if not (isinstance(network, type) and issubclass(network, Network)):
        raise ValueError(f"{network!r} is not a subclass of lyapkit.Network")
    if name in ARCHITECTURES and ARCHITECTURES[name].network is not network:
        raise ValueError(f"there is a network {name!r} already: {ARCHITECTURES[name].network.__name__}")
    of_the_name = network_class(network.__name__)
    if of_the_name not in (None, network):
        raise ValueError(f"files tell networks by the names of their classes, and {network.__name__} is another's")
    ARCHITECTURES[name] = Architecture(network, build or network)


def network_class(name: str) -> type[Network] | None:
    """Return the registered class of this name, None if there is none."""
    return next((entry.network for entry in ARCHITECTURES.values() if entry.network.__name__ == name), None)


def build_network(
    name: str,
    input_size: int,
    hidden_size: int,
    output_size: int,
    *,
    residual: Residual | None = None,
    coupling: object = None,
    seed: int = 0,
) -> Network:
    """Return an untrained network of one of the paper's architectures, or of a registered one.

    Parameters
    ----------
    name : str
        "wcrnn", "wcrnn-a", "wcrnn-b" (residuals inside the nonlinearity, Eq. 18 and 19), "wcrnn-identity" (no
        nonlinearity), "elman-residual" (R = I, not weakly coupled), "lstm", "gru", "ur-lstm", "s4", or a name given to
        `register`.
    input_size, hidden_size, output_size : int
        Number of input features, of units (channels of S4), and of outputs.
    residual : Residual, optional
        R of a weakly coupled network. Default: the identity.
    coupling : float or array (N,), optional
        α of a weakly coupled network. Default: 0.01.
    seed : int
        Of the weights. The global random state is left alone.

    Raises
    ------
    ValueError
        If the name is unknown, or a residual or a coupling is given to a network that has none.

    Examples
    --------
    >>> import lyapkit as lk
    >>> lstm = lk.build_network("lstm", 1, 8, 10, seed=3)
    >>> residual = lk.residuals.rotation(8, 0.2, 0.99)
    >>> wcrnn = lk.build_network("wcrnn", 1, 8, 10, residual=residual, coupling=0.01)
    >>> lstm.state_size, wcrnn.state_size
    (16, 8)
    """
    if name not in ARCHITECTURES:
        raise ValueError(f"unknown network {name!r}, expected one of {', '.join(ARCHITECTURES)}")
    entry, sizes = ARCHITECTURES[name], (input_size, hidden_size, output_size)
    if not entry.has_residual and (residual is not None or coupling is not None):
        have = ", ".join(name for name, entry in ARCHITECTURES.items() if entry.has_residual)
        raise ValueError(f"{name} has no residual and no coupling to choose: these are {have}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if not entry.has_residual:
            return entry.build(*sizes)
        residual = scaled_identity(hidden_size, 1.0) if residual is None else residual
        return entry.build(*sizes, residual, 0.01 if coupling is None else coupling)
