"""Jacobians of a network's outputs with respect to its parameters, sample by sample (Dh_T of Eq. 8, read out)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lyapkit.learning.linearization import linearize
from lyapkit.learning.objective import Objective

VALUES_AT_ONCE = 30_000_000  # of gradients over all steps and outputs, and of Jacobians: 240 MB in float64


@torch.no_grad()
def output_jacobians(objective: Objective) -> Iterator[tuple[slice, Tensor]]:
    """Yield samples and the Jacobians of their outputs with respect to the block of parameters, (b, outputs, P)."""
    n_outputs = objective.outputs[0].numel()
    n_steps, n_units = objective.inputs.shape[1], objective.network.state_size
    n_values = n_outputs * max(n_steps * n_units, objective.size)
    at_once = max(1, VALUES_AT_ONCE // n_values)
    for start in range(0, len(objective.inputs), at_once):
        samples = slice(start, min(start + at_once, len(objective.inputs)))
        lengths = None if objective.lengths is None else objective.lengths[samples]
        yield (
            samples,
            linearize(objective.network, objective.inputs[samples], lengths, list(objective.block)).jacobians(),
        )
