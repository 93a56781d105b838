"""Losses by their names, with targets in any form that says what is meant."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]
IGNORED = -100  # PyTorch's label of what does not count


def named_loss(name: str, lengths: Tensor | None = None) -> Loss:
    """Return a loss by its name: cross-entropy, mse, rms or l1, with hyphens or underscores.

    All are means over samples, and over steps where there are outputs at every step (rms: the root of one). Targets of
    the cross-entropy are classes (S,), (S, 1), or (S, T) for outputs at every step; one-hot or probabilities, in the
    outputs' shape. Those of the others have the outputs' shape, up to axes of length 1.

    Parameters
    ----------
    name : str
        Of the loss.
    lengths : Tensor, optional
        (S,): of outputs at every step only so many of each sample count.

    Raises
    ------
    ValueError
        If there is no such loss; at use, if targets do not fit the outputs. Within the capture of a CUDA graph, where
        nothing can be read back, values are not looked at: only shapes.
    """
    key = name.strip().lower().replace("_", "-").replace(" ", "-").removesuffix("-loss")
    if key not in LOSSES:
        raise ValueError(f"unknown loss {name!r}: choose one of {', '.join(LOSSES)}, or give a function")
    function, fitted = LOSSES[key]

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        targets = fitted(outputs, targets, not _is_captured())
        if outputs.ndim == 3 and lengths is not None:
            counts = torch.arange(outputs.shape[1], device=outputs.device) < lengths[:, None]
            return function(outputs[counts], targets[counts])
        return function(outputs, targets)

    loss.__name__ = key
    return loss


def _is_captured() -> bool:
    """Return whether a CUDA graph is being captured."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def rms_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the root mean square error, of the paper's adding problem. It is not a mean over samples."""
    return functional.mse_loss(outputs, targets).sqrt()


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    rows = outputs.flatten(0, -2)
    return functional.cross_entropy(rows, targets.reshape(rows.shape if targets.ndim == outputs.ndim else -1))


def _values(outputs: Tensor, targets: Tensor, is_checked: bool) -> Tensor:
    """Return targets in the shape and dtype of the outputs, if they have it up to axes of length 1."""
    if [n for n in targets.shape if n != 1] != [n for n in outputs.shape if n != 1]:
        raise ValueError(
            f"targets have shape {tuple(targets.shape)}, outputs {tuple(outputs.shape)}: give one for each"
        )
    return targets.reshape(outputs.shape).to(outputs.dtype)


def _classes(outputs: Tensor, targets: Tensor, is_checked: bool) -> Tensor:
    """Return classes, one for each row of outputs, or probabilities in the shape of the outputs."""
    rows, n_classes = outputs.shape[:-1], outputs.shape[-1]
    if targets.shape == outputs.shape and (not is_checked or _are_probabilities(targets)):
        return targets.to(outputs.dtype)
    if targets.shape == (*rows, 1):
        targets = targets[..., 0]
    if targets.shape != rows:
        raise ValueError(
            f"targets of shape {tuple(targets.shape)} are neither classes {tuple(rows)} nor one-hot or probabilities "
            f"{tuple(outputs.shape)}" + (_OF_STEPS if len(rows) == 1 and targets.ndim == 2 else "")
        )
    classes = targets.long()
    if is_checked:
        _check_classes(classes, targets, n_classes)
    return classes


def _are_probabilities(targets: Tensor) -> bool:
    return bool((targets >= 0).all()) and bool(((targets.double().sum(-1) - 1).abs() < 1e-6).all())


def _check_classes(classes: Tensor, targets: Tensor, n_classes: int) -> None:
    if bool((classes != targets).any()):
        raise ValueError("targets of the cross-entropy are classes, whole numbers: for other values take 'mse'")
    if bool(((classes < 0) & (classes != IGNORED) | (classes >= n_classes)).any()):
        wrong = int(classes[(classes < 0) & (classes != IGNORED) | (classes >= n_classes)][0])
        raise ValueError(f"targets hold class {wrong}, the network has outputs for classes 0 to {n_classes - 1}")


_OF_STEPS = "; for classes at every step the network needs outputs at every step (every_step = True)"
_Function = Callable[[Tensor, Tensor], Tensor]
LOSSES: dict[str, tuple[_Function, Callable[[Tensor, Tensor, bool], Tensor]]] = {
    "cross-entropy": (_cross_entropy, _classes),
    "mse": (functional.mse_loss, _values),
    "rms": (rms_loss, _values),
    "l1": (functional.l1_loss, _values),
}
