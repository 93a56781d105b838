"""What the command line takes from its user's own Python files: a module to load a checkpoint into, and a loss.

Only files that the user names are run; a checkpoint never is.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from lyapkit import losses
from lyapkit.models.checkpoint import load_into


def named_loss(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a loss by its name, or a function of the user's, FILE.py:FUNCTION.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if ".py:" in name:
        return _function(name)
    try:
        return losses.named_loss(name)
    except ValueError:
        raise ValueError(
            f"unknown loss {name!r}: choose one of {', '.join(losses.LOSSES)}, or FILE.py:FUNCTION"
        ) from None


def load_module(hook: str, checkpoint: Path, key: str | None = None) -> nn.Module:
    """Return the module that FILE.py:FUNCTION returns, with a checkpoint's state dict loaded into it.

    Raises
    ------
    ValueError
        If there is no such function, it returns no module, or the state dict is of another one.
    """
    build = _function(hook)
    try:
        module = build()
    except Exception as error:  # of the user's code
        raise ValueError(f"{hook} cannot be called without arguments: {_said(error)}") from error
    if not isinstance(module, nn.Module):
        raise ValueError(f"{hook} returned {type(module).__name__}, expected an nn.Module")
    return load_into(module, checkpoint, key)


def _function(hook: str) -> Callable[..., Any]:
    """Return the function in a Python file that FILE.py:FUNCTION names."""
    file, _, name = hook.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"{path} does not exist: expected FILE.py:FUNCTION, got {hook!r}")
    loaded = _loaded(path.resolve())
    function = getattr(loaded, name, None)
    if not callable(function):
        raise ValueError(f"{path} has no function {name!r}")
    return function


def _loaded(path: Path) -> ModuleType:
    """Return a Python file as a module, run once: one that may import its neighbours, and define dataclasses."""
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"  # no other module is called that
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file")
    loaded = sys.modules[name] = importlib.util.module_from_spec(spec)
    folder = str(path.parent)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(loaded)
    except Exception as error:  # of the user's code
        del sys.modules[name]
        raise ValueError(f"{path} cannot be run: {_said(error)}") from error
    finally:
        sys.path.remove(folder)
    if folder not in sys.path:
        sys.path.append(folder)  # for what its functions import later
    return loaded


def _said(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())
