"""Jacobians of a network's outputs with respect to its parameters, sample by sample (Dh_T of Eq. 8, read out)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.func import functional_call, jacrev

from lyapkit.learning.objective import Objective
from lyapkit.learning.unrolled import BIAS, INPUT, READOUT, RECURRENT, Unrolled
from lyapkit.models.wcrnn import WCRNN

VALUES_AT_ONCE = 30_000_000  # of gradients over all steps and outputs, and of Jacobians: 240 MB in float64


@torch.no_grad()
def output_jacobians(objective: Objective) -> Iterator[tuple[slice, Tensor]]:
    """Yield samples and the Jacobians of their outputs with respect to the block of parameters, (b, O, P).

    Those of a WCRNN are assembled from gradients that all outputs send back and the states they meet, one matrix
    product per sample: Σ_t (∂o/∂z_t) h_{t−1}ᵀ. Those of other networks come from automatic differentiation.
    """
    n_samples, n_outputs = objective.outputs.shape
    n_steps, n_units = objective.inputs.shape[1], objective.network.state_size
    n_values = n_outputs * max(n_steps * n_units, objective.size)
    at_once = max(1, VALUES_AT_ONCE // n_values)
    compute = _by_hand if isinstance(objective.network, WCRNN) else _by_autograd
    for start in range(0, n_samples, at_once):
        samples = slice(start, min(start + at_once, n_samples))
        yield samples, compute(objective, objective.inputs[samples])


def _by_hand(objective: Objective, inputs: Tensor) -> Tensor:
    network = objective.network
    unrolled = Unrolled(network, inputs)
    n_samples, n_outputs = len(inputs), network.output_size
    readout = network.readout.weight
    through_z = readout.new_empty(unrolled.n_steps, n_samples, n_outputs * network.state_size)
    for time, _, through in unrolled.back(readout.expand(n_samples, *readout.shape)):
        through_z[time - 1] = through.flatten(1)
    per_output = {
        RECURRENT: lambda: _products(through_z, unrolled.states[:-1], n_outputs),
        INPUT: lambda: _products(through_z, unrolled.inputs, n_outputs),
        BIAS: lambda: through_z.sum(0).unflatten(1, (n_outputs, -1)),
        READOUT: lambda: _of_own_output(unrolled.states[-1], n_outputs),
    }
    parts = [
        per_output[name]() if name in per_output else torch.eye(n_outputs).to(readout).expand(n_samples, -1, -1)
        for name in objective.block
    ]
    return torch.cat([part.reshape(n_samples, n_outputs, -1) for part in parts], dim=2)


def _products(through_z: Tensor, met: Tensor, n_outputs: int) -> Tensor:
    """Return Σ_t (∂o/∂z_t) (what meets W)ᵀ, (b, O, N, M), of (T, b, O · N) and (T, b, M)."""
    products = torch.bmm(through_z.permute(1, 2, 0), met.transpose(0, 1))
    return products.unflatten(1, (n_outputs, -1))


def _of_own_output(states: Tensor, n_outputs: int) -> Tensor:
    """Return the derivative of C h with respect to C, (b, O, O, N)."""
    jacobian = states.new_zeros(len(states), n_outputs, n_outputs, states.shape[1])
    for output in range(n_outputs):
        jacobian[:, output, output] = states
    return jacobian


def _by_autograd(objective: Objective, inputs: Tensor) -> Tensor:
    def outputs(parameters: dict[str, Tensor], sequence: Tensor) -> Tensor:
        return functional_call(objective.network, parameters, (sequence[None],))[0]

    per_sample = torch.vmap(jacrev(outputs), in_dims=(None, 0))
    jacobians = per_sample(objective.block, inputs)
    return torch.cat([jacobians[name].flatten(2) for name in objective.block], dim=2)
