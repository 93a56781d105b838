"""`in_dtype`: a module's weights in another precision, complex ones in the complex type of that precision."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def in_dtype(module: Module, dtype: torch.dtype, device: torch.device | None = None) -> Module:
    """Return a copy of a module with its parameters and buffers in `dtype`, on `device` or where they are.

    `nn.Module.to` would cut imaginary parts off. Whole numbers and truth values stay what they are.
    """

    def converted(tensor: Tensor) -> Tensor:
        wanted = tensor.dtype
        if tensor.is_complex():
            wanted = dtype.to_complex()
        elif tensor.is_floating_point():
            wanted = dtype
        return tensor.to(tensor.device if device is None else device, wanted)

    return copy.deepcopy(module)._apply(converted)
