"""What a state dict has to hold beside the weights: JSON in a tensor of bytes, which every kind of file can store."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

NAME = "_extra_state"  # where PyTorch keeps what `get_extra_state` returns


def encoded(content: dict[str, object]) -> Tensor:
    """Return what JSON can hold as UTF-8 in a tensor of bytes."""
    return torch.tensor(list(json.dumps(content).encode()), dtype=torch.uint8)


def decoded(state: Tensor) -> dict[str, Any]:
    """Return what `encoded` was given.

    Raises
    ------
    ValueError
        If the tensor does not hold a dictionary.
    """
    try:
        content = json.loads(bytes(state.tolist()).decode())
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{NAME} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{NAME} holds {content!r}, expected a dictionary")
    return content
