"""A WCRNN unrolled along input sequences, with its derivatives of first and second order by hand.

With u_t = R h_{t−1} and z_t = W h_{t−1} + W_in x_t + b, a step is h_t = f(u_t, z_t) and its Jacobian
diag(s_t) R + diag(g_t) W. Gradients a_t = ∂L/∂h_t go back by a_{t−1} = Rᵀ (s_t a_t) + Wᵀ (g_t a_t), tangents forward by
ḣ_t = s_t R ḣ_{t−1} + g_t ż_t; the derivative of the way back along a tangent is the Hessian-vector product. Arrays are
(T, B, N), time first, so that a step is one block of memory.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn.functional import linear

from lyapkit.models.wcrnn import WCRNN, Gains

RECURRENT, INPUT, BIAS = "recurrent.weight", "input.weight", "recurrent.bias"
READOUT, READOUT_BIAS = "readout.weight", "readout.bias"


class Unrolled:
    """A WCRNN along the sequences of a micro-batch.

    Parameters
    ----------
    network : WCRNN
        The network.
    inputs : Tensor
        (B, T, I).

    Attributes
    ----------
    states : Tensor
        (T + 1, B, N), h_0 = 0 to h_T.
    """

    def __init__(self, network: WCRNN, inputs: Tensor) -> None:
        self.network = network
        self.inputs = inputs.transpose(0, 1)
        start = inputs.new_zeros(len(inputs), network.state_size)
        states, residual_parts, pre_activations = network.unroll(start, inputs)
        self.states = torch.cat([start[None], states])
        gains = network.gains(residual_parts, pre_activations)
        self.coupling_gain = gains.coupling.expand_as(states)
        self._residual_gain = None if network.kind == "linear" else gains.residual
        # until the first Hessian product asks for slopes; those of the kind "linear" need no R h
        self._arguments = (residual_parts[:1] if network.kind == "linear" else residual_parts), pre_activations
        self._gradients: tuple[Tensor, Tensor] | None = None

    @property
    def n_steps(self) -> int:
        """T."""
        return len(self.inputs)

    def back(self, gradient: Tensor) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield t = T … 1 with a_t and g_t a_t, given a_T; (B, N) or, for several gradients per sample, (B, k, N)."""
        shape = (slice(None), None) if gradient.ndim == 3 else ...
        for time in reversed(range(self.n_steps)):
            through_z = self.coupling_gain[time][shape] * gradient
            yield time + 1, gradient, through_z
            gain = None if self._residual_gain is None else self._residual_gain[time][shape]
            gradient = self._one_step_back(gradient, gain, through_z)

    def back_averaged(self, gradient: Tensor) -> Tensor:
        """Return a gradient, (B, N), carried one step back by each sample's time-averaged Jacobian."""
        residual_gain, coupling_gain = self._mean_gains
        return self._one_step_back(gradient, residual_gain, coupling_gain * gradient)

    def _one_step_back(self, gradient: Tensor, residual_gain: Tensor | None, through_z: Tensor) -> Tensor:
        through_u = gradient if residual_gain is None else residual_gain * gradient
        return self.network.residual.transposed(through_u) + through_z @ self.network.recurrent.weight

    @functools.cached_property
    def _gain_slopes(self) -> Gains:
        slopes = self.network.gain_slopes(*self._arguments)
        del self._arguments
        return slopes

    @functools.cached_property
    def _mean_gains(self) -> tuple[Tensor | None, Tensor]:
        residual_gain = None if self._residual_gain is None else self._residual_gain.mean(0)
        return residual_gain, self.coupling_gain.mean(0)

    def push(self, tangents: Mapping[str, Tensor]) -> Tensor:
        """Return the tangents of the outputs, (B, O), along tangents of parameters; kept for `pull`."""
        network, previous = self.network, self.states[:-1]
        drive = torch.zeros_like(self.states[1:])
        if RECURRENT in tangents:
            drive += linear(previous, tangents[RECURRENT])
        if INPUT in tangents:
            drive += linear(self.inputs, tangents[INPUT])
        if BIAS in tangents:
            drive += tangents[BIAS]
        weight = network.recurrent.weight.mT
        moved = torch.zeros_like(self.states)
        for time in range(self.n_steps):
            drive[time].addmm_(moved[time], weight)
            through_residual = network.residual(moved[time])
            if self._residual_gain is not None:
                through_residual *= self._residual_gain[time]
            torch.addcmul(through_residual, self.coupling_gain[time], drive[time], out=moved[time + 1])
        self._tangents, self._moved, self._z_tangent = tangents, moved, drive
        outputs = linear(moved[-1], network.readout.weight)
        if READOUT in tangents:
            outputs = outputs + linear(self.states[-1], tangents[READOUT])
        if READOUT_BIAS in tangents:
            outputs = outputs + tangents[READOUT_BIAS]
        return outputs

    def _kept_gradients(self, last: Tensor) -> tuple[Tensor, Tensor]:
        """Return a_t and g_t a_t of all steps; computed once, since the loss's own gradient does not change."""
        if self._gradients is None:
            gradients, through_z = torch.empty_like(self.coupling_gain), torch.empty_like(self.coupling_gain)
            for time, gradient, through in self.back(last):
                gradients[time - 1], through_z[time - 1] = gradient, through
            self._gradients = gradients, through_z
        return self._gradients

    def pull(self, output_gradient: Tensor | None, output_curvature: Tensor) -> dict[str, Tensor]:
        """Return the derivative of the parameters' gradient along the tangents that were pushed.

        Parameters
        ----------
        output_gradient : Tensor or None
            ∂L/∂o, (B, O), the same at every call. None leaves the second derivative of the network out: a Gauss–Newton
            product.
        output_curvature : Tensor
            ∂²L/∂o² times the tangents of the outputs, (B, O).
        """
        network, tangents, previous = self.network, self._tangents, self.states[:-1]
        readout = network.readout.weight
        change = output_curvature @ readout  # of a_T; then, on the way back, of a_t
        change_z = torch.zeros_like(self.states[1:])  # of g_t a_t
        through_z = None
        from_gains = None  # what the gains' change adds to that of a_{t−1}
        if output_gradient is not None:
            if READOUT in tangents:
                change = change + output_gradient @ tangents[READOUT]
            gradients, through_z = self._kept_gradients(output_gradient @ readout)
            residual_tangent = None if network.kind == "linear" else network.residual(self._moved[:-1])
            gain_tangents = network.gain_tangents(self._gain_slopes, residual_tangent, self._z_tangent)
            torch.mul(gain_tangents.coupling, gradients, out=change_z)
            if self._residual_gain is not None:
                from_gains = network.residual.transposed(gain_tangents.residual * gradients)
            if RECURRENT in tangents:
                from_weights = through_z @ tangents[RECURRENT]
                from_gains = from_weights if from_gains is None else from_gains.add_(from_weights)
        weight = network.recurrent.weight
        for time in reversed(range(self.n_steps)):
            change_z[time].addcmul_(self.coupling_gain[time], change)
            through_u = change if self._residual_gain is None else self._residual_gain[time] * change
            change = torch.addmm(network.residual.transposed(through_u), change_z[time], weight)
            if from_gains is not None:
                change += from_gains[time]

        products = {}
        for name in tangents:
            if name in (RECURRENT, INPUT):
                product = _outer(change_z, previous if name == RECURRENT else self.inputs)
                if name == RECURRENT and through_z is not None:
                    product += _outer(through_z, self._moved[:-1])
            elif name == BIAS:
                product = change_z.sum((0, 1))
            elif name == READOUT:
                product = output_curvature.mT @ self.states[-1]
                if output_gradient is not None:
                    product += output_gradient.mT @ self._moved[-1]
            else:
                product = output_curvature.sum(0)
            products[name] = product
        self._moved = self._z_tangent = None  # a micro-batch may be kept for long
        return products


def _outer(left: Tensor, right: Tensor) -> Tensor:
    """Return Σ left rightᵀ over steps and samples, of (T, B, N) and (T, B, M)."""
    return left.flatten(0, 1).mT @ right.flatten(0, 1)
