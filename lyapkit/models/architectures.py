"""`build_network`: every architecture of the paper by its name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from lyapkit.models.network import Network, RecurrentNetwork
from lyapkit.models.refined_lstm import RefinedLSTM
from lyapkit.models.residuals import Residual, scaled_identity
from lyapkit.models.s4 import S4
from lyapkit.models.wcrnn import WCRNN, elman_with_identity_residual

WEAKLY_COUPLED = {  # kind and activation
    "wcrnn": ("linear", "tanh"),
    "wcrnn-a": ("A", "tanh"),
    "wcrnn-b": ("B", "tanh"),
    "wcrnn-identity": ("linear", "identity"),
}
_OTHERS: dict[str, Callable[[int, int, int], Network]] = {
    "elman-residual": elman_with_identity_residual,
    "lstm": lambda i, n, o: RecurrentNetwork(nn.LSTM(i, n), nn.Linear(n, o)),
    "gru": lambda i, n, o: RecurrentNetwork(nn.GRU(i, n), nn.Linear(n, o)),
    "ur-lstm": RefinedLSTM,
    "s4": S4,
}
ARCHITECTURES = (*WEAKLY_COUPLED, *_OTHERS)


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
    """Return an untrained network of one of the paper's architectures.

    Parameters
    ----------
    name : str
        "wcrnn", "wcrnn-a", "wcrnn-b" (residuals inside the nonlinearity, Eq. 18 and 19), "wcrnn-identity" (no
        nonlinearity), "elman-residual" (R = I, not weakly coupled), "lstm", "gru", "ur-lstm" or "s4".
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
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name in WEAKLY_COUPLED:
            kind, activation = WEAKLY_COUPLED[name]
            residual = scaled_identity(hidden_size, 1.0) if residual is None else residual
            alpha = 0.01 if coupling is None else coupling
            return WCRNN(input_size, hidden_size, output_size, residual, alpha, kind, activation=activation)
        if name not in _OTHERS:
            raise ValueError(f"unknown network {name!r}, expected one of {', '.join(ARCHITECTURES)}")
        if residual is not None or coupling is not None:
            raise ValueError(f"{name} has no residual and no coupling to choose: these are {', '.join(WEAKLY_COUPLED)}")
        return _OTHERS[name](input_size, hidden_size, output_size)
