"""What is asked of any loss."""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.losses.broadcasting import WithoutBroadcasting
from lyapkit.losses.named import Loss


def checked_loss(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss, or say what is wrong with it.

    Raises
    ------
    ValueError
        If it cannot be computed, is no scalar tensor, not finite, another one each time, does not depend on the
        outputs, or broadcasts outputs and targets, or what is made of them, against each other.
    """
    shapes = f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} of {targets.dtype}"
    try:
        with WithoutBroadcasting(outputs, targets):
            value = loss(outputs, targets)
    except (RuntimeError, IndexError, TypeError) as error:
        raise ValueError(f"the loss cannot be computed from {shapes}: {error}") from error
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"the loss must be a scalar tensor, got {got} from {shapes}: take its mean, for example")
    if not value.requires_grad:
        raise ValueError("the loss does not depend on the outputs, or is not computed by PyTorch")
    if not bool(value.isfinite().all()):
        raise ValueError(f"the loss is {float(value.detach())}, from {shapes}")
    if not torch.equal(loss(outputs, targets).detach(), value.detach()):
        raise ValueError("the loss is another one each time it is computed: it must not draw random numbers")
    return value.reshape(())
