"""The loss that is trained: the task's, one by its name, or one of the user's, of several networks at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lyapkit.hooks import named_loss
from lyapkit.losses import Loss, WithoutBroadcasting
from lyapkit.tasks.task import Task


def losses_of(task: Task, loss: str | Loss | None) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function of outputs (E, B, …, O) and targets, the same for all networks, to losses (E,).

    Parameters
    ----------
    task : Task
        Whose loss it is if none is given. Of outputs at every step, a loss by its name is given those that count.
    loss : str or callable, optional
        A name, or a function of outputs (B, …, O) and targets.
    """
    if loss is None:
        return task.loss
    if isinstance(loss, str):
        named = named_loss(loss)
        return lambda outputs, targets: _each(named, *task.counted(outputs, targets))
    return lambda outputs, targets: _each(loss, outputs, targets)


def loss_name(loss: str | Loss) -> str:
    """Return what a configuration calls a loss."""
    return loss if isinstance(loss, str) else getattr(loss, "__qualname__", None) or type(loss).__name__


def check_loss(losses: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, targets: Tensor) -> None:
    """Refuse a loss that is not one number per network, the same each time, or depends on or pairs what it should not.

    Parameters
    ----------
    losses : callable
        What `losses_of` returned.
    outputs, targets : Tensor
        (B, …, O), of one network, and targets.

    Raises
    ------
    ValueError
        If it is such a loss.
    """
    if len(targets) == 1:  # of one sample nothing is seen of what would be broadcast
        outputs, targets = torch.cat([outputs, outputs]), torch.cat([targets, targets])
    shapes = f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} of {targets.dtype}"
    try:
        with torch.enable_grad():
            value = losses(outputs.detach()[None], targets)
            leaf = outputs.detach()[None].requires_grad_()
            with WithoutBroadcasting(leaf, targets):
                differentiated = losses(leaf, targets)
    except (RuntimeError, IndexError, TypeError) as error:
        raise ValueError(f"the loss cannot be computed from {shapes}: {error}") from error
    if value.shape != (1,):
        raise ValueError(f"the loss must be a number, got shape {tuple(value.shape[1:])} from {shapes}: take its mean")
    if not torch.equal(value.detach(), differentiated.detach()):
        raise ValueError(
            "the loss is another one each time it is computed: it must not draw random numbers, and keep nothing from "
            "one call to the next, for networks would reach each other through it"
        )
    if value.requires_grad:
        raise ValueError(
            "the loss depends on parameters besides the outputs, a penalty on weights for instance: they are those of "
            "the networks given, not of the copies that are trained; use weight_decay"
        )
    if not differentiated.requires_grad:
        raise ValueError("the loss does not depend on the outputs, or is not computed by PyTorch")


def _each(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    return torch.stack([torch.as_tensor(loss(own, targets)) for own in outputs])
