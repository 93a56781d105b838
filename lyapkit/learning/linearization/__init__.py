"""Networks along sequences, and their derivatives: by hand for weakly coupled networks, else by autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from torch import Tensor, nn

from lyapkit.learning.linearization.by_autograd import ByAutograd
from lyapkit.learning.linearization.by_hand import BLOCK, ByHand
from lyapkit.learning.linearization.interface import Linearization
from lyapkit.models.network import Network
from lyapkit.models.residuals import Residual
from lyapkit.models.wcrnn import WCRNN

__all__ = ["ByAutograd", "ByHand", "Linearization", "is_by_hand", "linearize"]


def is_by_hand(network: Network) -> TypeGuard[WCRNN]:
    """Return whether derivatives of a network are known by hand: of a WCRNN as it is.

    That is without ties, hooks and other modules.
    """
    named = dict(network.named_parameters(remove_duplicate=False))
    is_plain = set(named) == set(BLOCK) and len({id(value) for value in named.values()}) == len(BLOCK)
    parts = list(network.modules())
    has_hooks = any(part._forward_hooks or part._forward_pre_hooks for part in parts)
    is_made_of = {type(part) for part in parts} <= {WCRNN, nn.Linear, Residual}
    return type(network) is WCRNN and is_plain and is_made_of and not has_hooks


def linearize(
    network: Network,
    inputs: Tensor,
    lengths: Tensor | None = None,
    names: Sequence[str] = (),
    output_gradient: Tensor | None = None,
) -> Linearization:
    """Return a network along sequences, ready to be differentiated; see `Linearization`."""
    if is_by_hand(network):
        return ByHand(network, inputs, lengths, names, output_gradient)
    return ByAutograd(network, inputs, lengths, names, output_gradient)
