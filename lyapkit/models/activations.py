"""The activation function of Elman layers: a file of tensors does not tell it, and who reads the file may say it."""

from __future__ import annotations

from lyapkit.files.errors import CheckpointError, NeedlessOptionError
from lyapkit.models.compositions import Composition
from lyapkit.models.layers import ElmanLayer
from lyapkit.models.network import RecurrentNetwork
from lyapkit.models.recurrent import Recurrent
from lyapkit.systems import System

KNOWN = ("tanh", "relu")


def check_said(nonlinearity: str | None, system: System) -> None:
    """Raise if an activation function that was said for a file is not one of the system that was read from it.

    Raises
    ------
    CheckpointError
        If it is unknown, or the file tells another one.
    NeedlessOptionError
        If nothing in the system has an activation function to choose. The messages lack the file's name.
    """
    if nonlinearity is None:
        return
    if nonlinearity not in KNOWN:
        raise CheckpointError(f"cannot have it: nonlinearity is 'tanh' or 'relu', got {nonlinearity!r}")
    own = _activations(system)
    if not own:
        raise NeedlessOptionError(
            f"holds a network whose activation functions are not to be chosen, {system}: leave out "
            f"nonlinearity={nonlinearity!r}, which is for an RNN"
        )
    if nonlinearity not in own:
        raise CheckpointError(
            f"contradicts nonlinearity={nonlinearity!r}: it says that it is a {system}; leave that out"
        )


def _activations(system: System) -> set[str]:
    """Return the activation functions of the parts of a system that have one to choose."""
    if isinstance(system, Composition):
        return set().union(*(_activations(part) for part in system.parts if isinstance(part, System)))
    layers = system.layers if isinstance(system, Recurrent | RecurrentNetwork) else []
    return {layer.kind.removesuffix(" RNN") for layer in layers if isinstance(layer, ElmanLayer)}
