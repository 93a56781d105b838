"""Backpropagation through time of many weakly coupled networks at once, derived by hand.

With the augmented state q_t = (h_{t−1}, x_t, 1) and the augmented weights M = (W, W_in, b), the pre-activation is
z_t = M q_t, and the gradient of all weights is one product over steps and samples, Σ_t g_t q_tᵀ with g_t = ∂L/∂z_t. The
way back of a_t = ∂L/∂h_t is

- kind "linear": g_t = σ'(z_t) α a_t,  a_{t−1} = Rᵀ a_t + Wᵀ g_t;
- kind "A": the same, with σ'(R h_{t−1}) a_t in place of a_t before Rᵀ;
- kind "B": g_t = α σ'(y_t) a_t,  a_{t−1} = (R + α W)ᵀ σ'(y_t) a_t: an Elman network with the weights R + α M.

Constants are taken out of the loops. tanh(z) is 2 s − 1 with the logistic s of 2 z, which takes a third of the time,
and its slope is 4 s (1 − s).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Parameters = tuple[Tensor, Tensor, Tensor]  # W (E, N, N), W_in (E, N, I) and b (E, N)


@dataclass(frozen=True)
class Dynamics:
    """What is fixed in E networks of one kind.

    Attributes
    ----------
    kind, activation : str
        As for `WCRNN`.
    residual : Tensor
        (E, N), diagonals, or (E, N, N).
    coupling : Tensor
        (E, N).
    """

    kind: str
    activation: str
    residual: Tensor
    coupling: Tensor

    def of(self, networks: Tensor | slice) -> Dynamics:
        """Return the dynamics of some of the networks."""
        return Dynamics(self.kind, self.activation, self.residual[networks], self.coupling[networks])


@dataclass
class Workspace:
    """Memory for the states of all steps, kept from call to call: to ask for it anew costs as much as to use it."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    n_uses: int = 0

    def get(self, name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Return memory of a shape, with whatever is in it."""
        n_needed = torch.Size(shape).numel()
        kept = self.tensors.get(name)
        if kept is None or kept.numel() < n_needed or kept.dtype != like.dtype or kept.device != like.device:
            kept = self.tensors[name] = torch.empty(n_needed, dtype=like.dtype, device=like.device)
        return kept[:n_needed].view(shape)


def last_states(parameters: Parameters, dynamics: Dynamics, inputs: Tensor, workspace: Workspace) -> Tensor:
    """Return the states h_T of E networks, (E, B, N), for the same inputs (B, T, I); h_0 = 0.

    The result can be differentiated once with respect to the parameters, before the workspace is used again.
    """
    return _LastStates.apply(*parameters, dynamics, inputs, workspace)


class _LastStates(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        input_weight: Tensor,
        bias: Tensor,
        dynamics: Dynamics,
        inputs: Tensor,
        workspace: Workspace,
    ) -> Tensor:
        keeps = any(ctx.needs_input_grad)
        way = _Way(weight, input_weight, bias, dynamics, inputs, workspace, keeps)
        state = way.forward()
        workspace.n_uses += 1
        ctx.way, ctx.use = way, workspace.n_uses
        return state

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.way.workspace.n_uses != ctx.use:
            raise RuntimeError("the states of this forward pass are gone: its workspace was used again before backward")
        ctx.way.workspace.n_uses += 1  # they are overwritten now
        product = ctx.way.backward(gradient)
        n = ctx.way.n_units
        return product[:, :, :n], product[:, :, n:-1], product[:, :, -1], None, None, None


class _Way:
    """One pass through time, forwards and back.

    σ(z) = scale · s + shift, where s is what `activated` holds: the logistic function of 2 z for tanh, z itself for the
    identity. σ' = slope · s (1 − s), or 1.
    """

    def __init__(
        self,
        weight: Tensor,
        input_weight: Tensor,
        bias: Tensor,
        dynamics: Dynamics,
        inputs: Tensor,
        workspace: Workspace,
        keeps: bool,
    ) -> None:
        self.dynamics, self.workspace, self.keeps = dynamics, workspace, keeps
        self.is_tanh = dynamics.activation == "tanh"
        self.scale, self.shift, self.slope = (2.0, -1.0, 4.0) if self.is_tanh else (1.0, 0.0, 1.0)
        self.zero, self.shifted = weight.new_zeros(()), weight.new_full((), self.shift)
        self.n_networks, self.n_units = len(weight), weight.shape[1]
        n_samples, self.n_steps, _ = inputs.shape
        self.coupling = dynamics.coupling[:, None]
        self.is_diagonal = dynamics.residual.ndim == 2
        self.residual = dynamics.residual[:, None] if self.is_diagonal else dynamics.residual
        self.weights = torch.cat([weight, input_weight, bias[:, :, None]], dim=2)  # M
        if dynamics.kind == "B":
            self.weights = self.coupling.mT * self.weights
            own = torch.diag_embed(dynamics.residual) if self.is_diagonal else dynamics.residual
            self.weights[:, :, : self.n_units] += own
        # steps that are kept: all of them, or two to go back and forth between
        self.n_kept = self.n_steps if keeps else 2
        size = (self.n_networks, self.n_kept, n_samples)
        self.augmented = workspace.get("augmented", (*size, self.weights.shape[2]), weight)
        self.activated = workspace.get("activated", (*size, self.n_units), weight)
        if dynamics.kind == "A":
            self.carried = workspace.get("carried", (*size, self.n_units), weight)
        self.augmented[..., -1] = 1.0
        self.inputs = inputs.transpose(0, 1)
        if keeps:
            self.augmented[..., self.n_units : -1] = self.inputs

    def forward(self) -> Tensor:
        """Return the last states."""
        steps, activated = self.augmented.unbind(1), self.activated.unbind(1)
        states = [step[..., : self.n_units] for step in steps]
        weights = (self.scale * self.weights).mT
        last = torch.empty_like(activated[0])
        states[0].zero_()
        for time in range(self.n_steps):
            now = time % self.n_kept
            following = last if time == self.n_steps - 1 else states[(time + 1) % self.n_kept]
            if not self.keeps:
                steps[now][..., self.n_units : -1] = self.inputs[time]
            active = torch.bmm(steps[now], weights, out=activated[now])
            if self.is_tanh:
                active.sigmoid_()
            self._follow(states[now], active, now, following)
        return last

    def _follow(self, state: Tensor, active: Tensor, now: int, following: Tensor) -> None:
        """Compute the next states in place, from the states and what the coupling adds to them."""
        kind, coupling = self.dynamics.kind, self.coupling
        if kind == "B":
            torch.add(self.shifted, active, alpha=self.scale, out=following)
            return
        if kind == "A":
            carried = self.carried[:, now]
            self._through_residual(self.zero, state, self.scale * self.residual, carried)
            if self.is_tanh:
                carried.sigmoid_()
            torch.add(self.shift * (1 + coupling), carried, alpha=self.scale, out=following)
        else:
            self._through_residual(self.shift * coupling, state, self.residual, following)
        following.addcmul_(active, self.scale * coupling)

    def _through_residual(self, offset: Tensor, states: Tensor, residual: Tensor, out: Tensor) -> None:
        if self.is_diagonal:
            torch.addcmul(offset, states, residual, out=out)
        else:
            torch.baddbmm(offset, states, residual.mT, out=out)

    def backward(self, gradient: Tensor) -> Tensor:
        """Return the gradient with respect to M, (E, N, N + I + 1), given that of the last states."""
        kind, activated = self.dynamics.kind, self.activated.unbind(1)
        back, residual = self.slope * self.weights[:, :, : self.n_units], self.residual
        if kind != "B":
            back = self.coupling.mT * back
        if kind == "A":
            carried, residual = self.carried.unbind(1), self.slope * residual
        for time in reversed(range(self.n_steps)):
            through = self._through_activation(gradient, activated[time])
            if kind == "B":
                gradient = torch.bmm(through, back)
                continue
            if kind == "A":
                gradient = self._through_activation(gradient, carried[time])
            around = gradient * residual if self.is_diagonal else torch.bmm(gradient, residual)
            gradient = around.baddbmm_(through, back)
        product = torch.bmm(self.activated.flatten(1, 2).mT, self.augmented.flatten(1, 2))
        return product.mul_(self.slope * self.coupling.mT)

    def _through_activation(self, gradient: Tensor, activated: Tensor) -> Tensor:
        """Return σ' ⊙ gradient / slope, in the place of what it is computed from."""
        if self.is_tanh:
            return torch.ops.aten.sigmoid_backward.grad_input(gradient, activated, grad_input=activated)
        return activated.copy_(gradient)
