"""`content`: what a function that builds systems was made of, so that a sweep's files are not taken for another's."""

from __future__ import annotations

import types
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lyapkit.provenance import sha256

DEEPEST = 8  # of what is in what


def content(value: object, depth: int = 0) -> Any:
    """Return what tells a value from others, as JSON can hold it.

    Arrays and tensors, weights of modules and files that a path names by their digests; functions by their names, what
    their arguments are fixed to, and what they enclose; not their code, nor what is global to them.
    """
    if value is None or isinstance(value, bool | int | float | complex):
        return repr(value)
    if depth > DEEPEST:
        return type(value).__qualname__
    inner = depth + 1
    if isinstance(value, torch.Tensor):
        return content(value.detach().cpu().numpy(), inner)
    if isinstance(value, np.ndarray | np.generic):
        whole = np.asarray(value)
        return [str(whole.dtype), list(whole.shape), sha256(whole) if whole.dtype.kind in "biufc" else repr(value)]
    if isinstance(value, str | Path):
        path = Path(value)
        is_file = 0 < len(str(value)) < 1000 and path.is_file()
        return [str(value), sha256(np.frombuffer(path.read_bytes(), np.uint8))] if is_file else str(value)
    if isinstance(value, dict):
        return [[str(name), content(one, inner)] for name, one in sorted(value.items(), key=lambda item: str(item[0]))]
    if isinstance(value, list | tuple | set | frozenset):
        found = [content(one, inner) for one in value]
        return sorted(found, key=str) if isinstance(value, set | frozenset) else found
    if isinstance(value, partial):
        return [content(value.func, inner), content(value.args, inner), content(value.keywords, inner)]
    if isinstance(value, types.MethodType):
        return [value.__qualname__, content(value.__self__, inner)]
    if isinstance(value, types.FunctionType):
        enclosed = [_in_cell(cell, inner) for cell in value.__closure__ or ()]
        return [f"{value.__module__}.{value.__qualname__}", content(value.__defaults__, inner), enclosed]
    if isinstance(value, type | types.BuiltinFunctionType | types.ModuleType):
        return getattr(value, "__qualname__", str(value))
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, nn.Module):
        return [name, str(value), content(value.state_dict(), inner)]
    return [name, content(getattr(value, "__dict__", {}), inner)]


def _in_cell(cell: types.CellType, depth: int) -> Any:
    try:
        return content(cell.cell_contents, depth)
    except ValueError:  # of a variable that is not set yet
        return None
