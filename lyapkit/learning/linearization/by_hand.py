"""A WCRNN along input sequences, with its derivatives of first and second order by hand.

With u_t = R h_{t−1} and z_t = W h_{t−1} + W_in x_t + b, a step is h_t = f(u_t, z_t) and its Jacobian
diag(s_t) R + diag(g_t) W. Gradients a_t = ∂L/∂h_t go back by a_{t−1} = Rᵀ (s_t a_t) + Wᵀ (g_t a_t), tangents forward by
ḣ_t = s_t R ḣ_{t−1} + g_t ż_t; the derivative of the way back along a tangent is the Hessian-vector product. Arrays are
(T, B, N), time first, so that a step is one block of memory.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear

from lyapkit.learning.linearization.interface import Linearization
from lyapkit.models.wcrnn import WCRNN
from lyapkit.models.wcrnn_kinds import Gains

RECURRENT, INPUT, BIAS = "recurrent.weight", "input.weight", "recurrent.bias"
READOUT, READOUT_BIAS = "readout.weight", "readout.bias"
STRETCH = 32  # steps
BLOCK = (RECURRENT, INPUT, BIAS, READOUT, READOUT_BIAS)


class ByHand(Linearization):
    """A WCRNN along the sequences of a micro-batch; see `Linearization`.

    States, slopes, and what gradients make of them, are kept from one product to the next.
    """

    network: WCRNN
    states: Tensor

    def __init__(
        self,
        network: WCRNN,
        inputs: Tensor,
        lengths: Tensor | None,
        names: Sequence[str],
        output_gradient: Tensor | None,
    ) -> None:
        super().__init__(network, inputs, lengths, names, output_gradient)
        self._inputs = inputs.transpose(0, 1)
        with torch.no_grad():
            self._from_start, *arguments = self._unrolled()
            gains = network.gains(*arguments)
        self.states = self._from_start[1:]
        self._coupling_gain = gains.coupling.expand_as(self.states)
        self._residual_gain = None if network.kind == "linear" else gains.residual
        self._arguments: list[Tensor] | None = arguments  # until the first Hessian product asks for slopes

    @torch.no_grad()
    def push(self, tangents: Mapping[str, Tensor]) -> Tensor:
        """Return the tangents of the outputs along tangents of the block."""
        network, z_tangents = self.network, []
        weight = network.recurrent.weight.mT
        moved = torch.empty_like(self._from_start)
        moved[0].zero_()
        for steps in self._stretches():
            of_stretch = self._drive(tangents, steps)
            for time, z_tangent in enumerate(of_stretch, start=steps.start):
                z_tangent.addmm_(moved[time], weight)
                through_residual = network.residual(moved[time])
                if self._residual_gain is not None:
                    through_residual *= self._residual_gain[time]
                torch.addcmul(through_residual, self._coupling_gain[time], z_tangent, out=moved[time + 1])
            z_tangents.append(of_stretch)
        self._tangents, self._moved, self._z_tangents = tangents, moved, z_tangents
        outputs = linear(self._read_states(moved[1:]), network.readout.weight)
        if READOUT in tangents:
            outputs = outputs + linear(self._read_states(self.states), tangents[READOUT])
        if READOUT_BIAS in tangents:
            outputs = outputs + tangents[READOUT_BIAS]
        return self._time_or_sample_first(outputs)

    @torch.no_grad()
    def pull(self, of_outputs: Tensor, *, curved: bool = False) -> dict[str, Tensor]:
        """Return Jᵀ `of_outputs`, with `curved` plus its change along the tangents that were pushed."""
        network, of_outputs = self.network, self._time_or_sample_first(of_outputs)
        of_read = of_outputs @ network.readout.weight
        if curved:
            assert self.output_gradient is not None
            output_gradient = self._time_or_sample_first(self.output_gradient)
            if READOUT in self._tangents:
                of_read = of_read + output_gradient @ self._tangents[READOUT]
        products = {name: torch.zeros_like(network.get_parameter(name)) for name in self.names}
        weight, seeds = network.recurrent.weight, self._by_step(of_read)
        change = seeds[-1]  # of a_T; then, on the way back, of a_t
        assert change is not None
        for index, steps in reversed(list(enumerate(self._stretches()))):
            if curved:
                change_z, of_earlier = self._bent_back(index, steps)
            else:
                change_z, of_earlier = torch.zeros_like(self.states[steps]), None  # of g_t a_t
            for place in reversed(range(len(change_z))):
                time = steps.start + place
                change_z[place].addcmul_(self._coupling_gain[time], change)
                through_u = change if self._residual_gain is None else self._residual_gain[time] * change
                change = network.residual.transposed(through_u).addmm_(change_z[place], weight)
                if of_earlier is not None:
                    change += of_earlier[place]
                if time and (seed := seeds[time - 1]) is not None:
                    change += seed
            self._add_outer(products, steps, change_z, curved)
        if READOUT in products:
            products[READOUT] += _outer(of_outputs, self._read_states(self.states))
            if curved:
                products[READOUT] += _outer(output_gradient, self._read_states(self._moved[1:]))
        if READOUT_BIAS in products:
            products[READOUT_BIAS] += of_outputs.flatten(0, -2).sum(0)
        if curved:
            del self._moved, self._z_tangents  # a micro-batch may be kept for long
        return products

    @torch.no_grad()
    def jacobians(self) -> Tensor:
        """Return the Jacobians of each sample's outputs: Σ_t (∂o/∂z_t) h_{t−1}ᵀ, one matrix product per sample."""
        readout, (n_steps, n_samples, n_units) = self.network.readout.weight, self.states.shape
        each = len(readout)
        n_outputs = each * (n_steps if self.network.every_step else 1)
        through_z = readout.new_empty(n_steps, n_samples, n_outputs, n_units)
        gradient, is_read = readout.new_zeros(n_samples, n_outputs, n_units), self._is_read()
        some_are_read = is_read.any(1).tolist()
        for time in reversed(range(n_steps)):
            if self.network.every_step:
                gradient[:, time * each : (time + 1) * each] += readout
            elif some_are_read[time]:
                gradient += is_read[time, :, None, None] * readout
            through = torch.mul(self._coupling_gain[time][:, None], gradient, out=through_z[time])
            gradient = self._one_step_back(gradient, time, through)
        through_z = through_z.flatten(2)
        per_output = {
            RECURRENT: lambda: _products(through_z, self._from_start[:-1], n_outputs),
            INPUT: lambda: _products(through_z, self._inputs, n_outputs),
            BIAS: lambda: through_z.sum(0).unflatten(1, (n_outputs, -1)),
            READOUT: lambda: _of_own_output(self._time_or_sample_first(self._read_states(self.states)), each),
            READOUT_BIAS: lambda: torch.eye(each).to(readout).repeat(n_outputs // each, 1).expand(n_samples, -1, -1),
        }
        parts = [per_output[name]().reshape(n_samples, n_outputs, -1) for name in self.names]
        return torch.cat(parts, dim=2)

    def seeds(self, of_outputs: Tensor) -> Tensor:
        """Return what a gradient of the outputs is for the states, (T, B, N)."""
        of_read = self._time_or_sample_first(of_outputs) @ self.network.readout.weight
        zero = torch.zeros_like(of_read if of_read.ndim == 2 else of_read[0])
        return torch.stack([zero if seed is None else seed for seed in self._by_step(of_read)])

    def seed_changes(self) -> None:
        """Return None: the readout is affine."""

    @torch.no_grad()
    def back(self, seeds: Tensor) -> Tensor:
        """Return the gradients of all states, (T, B, N)."""
        gradients = torch.empty_like(seeds)
        gradient = seeds[-1]
        for time in reversed(range(len(seeds))):
            gradients[time] = gradient
            gradient = self._one_step_back(gradient, time, self._coupling_gain[time] * gradient)
            if time:
                gradient = gradient + seeds[time - 1]
        return gradients

    @torch.no_grad()
    def back_predicted(self, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Return gradients that go back by Rᵀ alone (Eq. 15), and by each sample's time-averaged Jacobian."""
        residual_gain, coupling_gain = self._mean_gains()
        by_residual, averaged = torch.empty_like(seeds), torch.empty_like(seeds)
        by_residual[-1] = averaged[-1] = seeds[-1]
        for time in reversed(range(len(seeds) - 1)):
            by_residual[time] = self.network.residual.transposed(by_residual[time + 1]) + seeds[time]
            through_u = averaged[time + 1] if residual_gain is None else residual_gain * averaged[time + 1]
            through_z = coupling_gain * averaged[time + 1]
            step = self.network.residual.transposed(through_u) + through_z @ self.network.recurrent.weight
            averaged[time] = step + seeds[time]
        return by_residual, averaged

    @torch.no_grad()
    def immediate(self, tangents: Mapping[str, Tensor]) -> Tensor:
        """Return the derivative of each step along tangents of the block, g_t (V h_{t−1} + V_in x_t + v_b)."""
        return self._coupling_gain * self._drive(tangents, slice(None))

    @torch.no_grad()
    def bent(self) -> Tensor:
        """Return the second derivative of each step along the tangents that were pushed, and what they move."""
        z_tangent = torch.cat(self._z_tangents)
        gain_tangents = self._tangents_of_gains(self._slopes(), self._moved[:-1], z_tangent)
        bent = gain_tangents.coupling * z_tangent
        if self._residual_gain is not None:
            bent += gain_tangents.residual * self.network.residual(self._moved[:-1])
        if RECURRENT in self._tangents:
            bent += 2 * self._coupling_gain * linear(self._moved[:-1], self._tangents[RECURRENT])
        return bent

    def _stretches(self) -> list[slice]:
        """Return the steps in stretches; what is computed of a whole one stays in the processor's cache."""
        return [slice(start, start + STRETCH) for start in range(0, len(self.states), STRETCH)]

    def _drive(self, tangents: Mapping[str, Tensor], steps: slice) -> Tensor:
        """Return the derivative of each z_t along tangents of the block, its state being kept."""
        if RECURRENT in tangents:
            drive = linear(self._from_start[:-1][steps], tangents[RECURRENT])
        else:
            drive = torch.zeros_like(self.states[steps])
        if INPUT in tangents:
            drive += linear(self._inputs[steps], tangents[INPUT])
        if BIAS in tangents:
            drive += tangents[BIAS]
        return drive

    def _bent_back(self, index: int, steps: slice) -> tuple[Tensor, Tensor | None]:
        """Return what tangents that were pushed make of g_t a_t, and add to a_{t−1}, in a stretch of steps."""
        through_z, bends = self._of_gradients
        slopes = Gains(bends.residual if self._residual_gain is None else bends.residual[steps], bends.coupling[steps])
        bent = self._tangents_of_gains(slopes, self._moved[:-1][steps], self._z_tangents[index])
        of_earlier = None
        if RECURRENT in self._tangents:
            of_earlier = through_z[steps] @ self._tangents[RECURRENT]
        if self._residual_gain is not None:
            by_residual = self.network.residual.transposed(bent.residual)
            of_earlier = by_residual if of_earlier is None else of_earlier.add_(by_residual)
        return bent.coupling, of_earlier

    def _add_outer(self, products: dict[str, Tensor], steps: slice, change_z: Tensor, curved: bool) -> None:
        """Add the products of a stretch of steps with what meets the weights there."""
        previous, inputs = self._from_start[:-1][steps], self._inputs[steps]
        if RECURRENT in products:
            products[RECURRENT] += _outer(change_z, previous)
            if curved:
                products[RECURRENT] += _outer(self._of_gradients[0][steps], self._moved[:-1][steps])
        if INPUT in products:
            products[INPUT] += _outer(change_z, inputs)
        if BIAS in products:
            products[BIAS] += change_z.sum((0, 1))

    def _unrolled(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return h_0 to h_T, and the R h and z of all steps; only the first R h where gains need none."""
        network = self.network
        start = self._inputs.new_zeros(self._inputs.shape[1], network.state_size)
        states, residual_parts, pre_activations = network.unroll(start, self._inputs.transpose(0, 1))
        if network.kind == "linear":
            residual_parts = residual_parts[:1]
        return torch.cat([start[None], states]), residual_parts, pre_activations

    def _slopes(self) -> Gains:
        """Return the derivatives of the gains by R h and z."""
        if self._arguments is None:
            _, *self._arguments = self._unrolled()
        return self.network.gain_slopes(*self._arguments)

    def _tangents_of_gains(self, slopes: Gains, moved: Tensor, z_tangent: Tensor) -> Gains:
        """Return how the gains change along tangents of h_{t−1} and z_t, or multiples of that, as the slopes are."""
        residual_tangent = z_tangent  # which the gains of kind "linear" do not look at
        if self.network.kind != "linear":
            residual_tangent = self.network.residual(moved)
        return self.network.gain_tangents(slopes, residual_tangent, z_tangent)

    def _mean_gains(self) -> tuple[Tensor | None, Tensor]:
        """Return each sample's gains, averaged over its steps."""
        if self.lengths is None:
            weights = torch.full_like(self.states[:, :, :1], 1 / len(self.states))
        else:
            weights = (torch.arange(len(self.states), device=self.states.device)[:, None] < self.lengths)[:, :, None]
            weights = weights / self.lengths[:, None]
        residual_gain = None if self._residual_gain is None else (weights * self._residual_gain).sum(0)
        return residual_gain, (weights * self._coupling_gain).sum(0)

    @functools.cached_property
    def _of_gradients(self) -> tuple[Tensor, Gains]:
        """Return g_t a_t of all steps, and the slopes of the gains times a_t.

        Computed once, since the loss's own gradient does not change.
        """
        assert self.output_gradient is not None
        gradients, slopes = self.back(self.seeds(self.output_gradient)), self._slopes()
        self._arguments = None
        residual = slopes.residual if self._residual_gain is None else slopes.residual.mul_(gradients)
        bends = Gains(residual, slopes.coupling.mul_(gradients))
        return gradients.mul_(self._coupling_gain), bends

    def _one_step_back(self, gradient: Tensor, time: int, through_z: Tensor) -> Tensor:
        """Return a gradient (B, N), or several, (B, k, N), one step earlier."""
        through_u = gradient
        if self._residual_gain is not None:
            gain = self._residual_gain[time]
            through_u = (gain[:, None] if gradient.ndim == 3 else gain) * gradient
        earlier = self.network.residual.transposed(through_u)
        rows = earlier.flatten(0, -2).addmm_(through_z.flatten(0, -2), self.network.recurrent.weight)
        return rows.view_as(earlier)

    def _by_step(self, of_read: Tensor) -> list[Tensor | None]:
        """Return gradients of what is read step by step, the other way round than `_read_states`; None for zeros."""
        if self.network.every_step:
            return list(of_read.unbind(0))
        if self.lengths is None:
            return [None] * (len(self.states) - 1) + [of_read]
        return list((self._is_read()[:, :, None] * of_read).unbind(0))

    def _time_or_sample_first(self, outputs: Tensor) -> Tensor:
        """Exchange the first two axes of outputs at every step: (B, T, O) and (T, B, O)."""
        return outputs.transpose(0, 1) if outputs.ndim == 3 else outputs


def _outer(left: Tensor, right: Tensor) -> Tensor:
    """Return Σ left rightᵀ over samples, and steps, of (T, B, N) and (T, B, M), or (B, N) and (B, M)."""
    return left.flatten(0, -2).mT @ right.flatten(0, -2)


def _products(through_z: Tensor, met: Tensor, n_outputs: int) -> Tensor:
    """Return Σ_t (∂o/∂z_t) (what meets W)ᵀ, (B, O, N, M), of (T, B, O · N) and (T, B, M)."""
    products = torch.bmm(through_z.permute(1, 2, 0), met.transpose(0, 1))
    return products.unflatten(1, (n_outputs, -1))


def _of_own_output(read: Tensor, each: int) -> Tensor:
    """Return the derivative of C h with respect to C, (B, O, O · N), or (B, T · O, O · N) of states (B, T, N)."""
    rows = torch.einsum("...n,op->...opn", read, torch.eye(each).to(read)).flatten(-2)
    return rows if rows.ndim == 3 else rows.flatten(1, 2)
