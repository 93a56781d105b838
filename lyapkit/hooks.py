"""What the command line takes from its user's own Python files: a module to load a checkpoint into, and a loss.

Only files that the user names are run; a checkpoint never is.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn
from torch.nn.functional import cross_entropy, l1_loss, mse_loss

from lyapkit.models.checkpoint import load_into


def rms_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the root mean square error, of the paper's adding problem. It is not a mean over samples."""
    return mse_loss(outputs, targets.reshape(outputs.shape)).sqrt()


def _class_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(outputs, targets.long())


def _of_same_shape(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda outputs, targets: loss(outputs, targets.reshape(outputs.shape))


LOSSES = {
    "cross-entropy": _class_loss,
    "mse": _of_same_shape(mse_loss),
    "rms": rms_loss,
    "l1": _of_same_shape(l1_loss),
}


def named_loss(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a loss by its name, or a function of the user's, FILE.py:FUNCTION.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if name in LOSSES:
        return LOSSES[name]
    if ".py:" in name:
        return _function(name)
    raise ValueError(f"unknown loss {name!r}: choose one of {', '.join(LOSSES)}, or FILE.py:FUNCTION")


def load_module(hook: str, checkpoint: Path, key: str | None = None) -> nn.Module:
    """Return the module that FILE.py:FUNCTION returns, with a checkpoint's state dict loaded into it.

    Raises
    ------
    ValueError
        If there is no such function, it returns no module, or the state dict is of another one.
    """
    module = _function(hook)()
    if not isinstance(module, nn.Module):
        raise ValueError(f"{hook} returned {type(module).__name__}, expected an nn.Module")
    return load_into(module, checkpoint, key)


def _function(hook: str) -> Callable[..., object]:
    """Return the function in a Python file that FILE.py:FUNCTION names."""
    file, _, name = hook.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"{path} does not exist: expected FILE.py:FUNCTION, got {hook!r}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    function = getattr(loaded, name, None)
    if not callable(function):
        raise ValueError(f"{path} has no function {name!r}")
    return function
