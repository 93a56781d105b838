"""Backpropagation through time of many weakly coupled networks at once, derived by hand.

With the augmented state q_t = (h_{t−1}, x_t, 1) and the augmented weights M = (W, W_in, b), the pre-activation is
z_t = M q_t, and the gradient of all weights is one product over steps and samples, Σ_t g_t q_tᵀ with g_t = ∂L/∂z_t. The
way back of a_t = ∂L/∂h_t is

- kind "linear": g_t = σ'(z_t) α a_t,  a_{t−1} = Rᵀ a_t + Wᵀ g_t;
- kind "A": the same, with σ'(R h_{t−1}) a_t in place of a_t before Rᵀ;
- kind "B": g_t = α σ'(y_t) a_t,  a_{t−1} = (R + α W)ᵀ σ'(y_t) a_t: an Elman network with the weights R + α M.

α is taken out of the loops: it scales rows of W on the way back and of the gradient in the end. For tanh, σ' = 1 − s²
of what was kept from the way forward.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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
        ctx: torch.autograd.function.FunctionCtx,
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
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.way.workspace.n_uses != ctx.use:
            raise RuntimeError("the states of this forward pass are gone: its workspace was used again before backward")
        ctx.way.workspace.n_uses += 1  # they are overwritten now
        product = ctx.way.backward(gradient)
        n, n_inputs = ctx.way.n_units, ctx.way.n_inputs
        return (*product.split([n, n_inputs, 1], dim=2)[:2], product[:, :, -1], None, None, None)


class _Way:
    """One pass through time, forwards and back."""

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
        self.dynamics, self.workspace = dynamics, workspace
        self.n_networks, self.n_units = len(weight), weight.shape[1]
        n_samples, self.n_steps, self.n_inputs = inputs.shape
        self.weights = torch.cat([weight, input_weight, bias[:, :, None]], dim=2)  # M
        self.alpha = dynamics.coupling[:, :, None]
        self.is_diagonal = dynamics.residual.ndim == 2
        self.residual = dynamics.residual[:, None] if self.is_diagonal else dynamics.residual
        if dynamics.kind == "B":
            self.weights = self.alpha * self.weights
            own = torch.diag_embed(dynamics.residual) if self.is_diagonal else dynamics.residual
            self.weights[:, :, : self.n_units] += own
        # steps that are kept: all of them, or two to go back and forth between
        self.n_kept = self.n_steps if keeps else 2
        size = (self.n_networks, self.n_kept, n_samples)
        self.augmented = workspace.get("augmented", (*size, self.weights.shape[2]), weight)
        self.activated = workspace.get("activated", (*size, self.n_units), weight).unbind(1)
        if dynamics.kind == "A":
            self.carried = workspace.get("carried", (*size, self.n_units), weight).unbind(1)
        self.augmented[..., -1] = 1.0
        self.inputs = inputs.transpose(0, 1)
        if keeps:
            self.augmented[..., self.n_units : -1] = self.inputs
        self.keeps = keeps

    def forward(self) -> Tensor:
        """Return the last states."""
        kind, steps = self.dynamics.kind, self.augmented.unbind(1)
        states = [step[..., : self.n_units] for step in steps]
        weights, is_tanh = self.weights.mT, self.dynamics.activation == "tanh"
        coupling = self.dynamics.coupling[:, None]
        last = torch.empty_like(self.activated[0])
        states[0].zero_()
        for time in range(self.n_steps):
            now = time % self.n_kept
            following = last if time == self.n_steps - 1 else states[(time + 1) % self.n_kept]
            if not self.keeps:
                steps[now][..., self.n_units : -1] = self.inputs[time]
            active = torch.bmm(steps[now], weights, out=self.activated[now])
            if is_tanh:
                active.tanh_()
            if kind == "B":
                following.copy_(active)
                continue
            carried = self._through_residual(states[now], following if kind == "linear" else self.carried[now])
            if kind == "A":
                following.copy_(carried.tanh_() if is_tanh else carried)
            following.addcmul_(active, coupling)
        return last

    def backward(self, gradient: Tensor) -> Tensor:
        """Return the gradient with respect to M, (E, N, N + I + 1), given that of the last states."""
        kind = self.dynamics.kind
        back = self.weights[:, :, : self.n_units]
        if kind != "B":
            back = self.alpha * back
        for time in reversed(range(self.n_steps)):
            through = self._through_activation(gradient, self.activated[time])
            if kind == "B":
                gradient = torch.bmm(through, back)
                continue
            if kind == "A":
                gradient = self._through_activation(gradient, self.carried[time])
            if self.is_diagonal:
                gradient = torch.baddbmm(gradient * self.residual, through, back)
            else:
                gradient = torch.bmm(gradient, self.residual).baddbmm_(through, back)
        through = self.workspace.get("activated", (*self.augmented.shape[:3], self.n_units), self.augmented)
        product = torch.bmm(through.flatten(1, 2).mT, self.augmented.flatten(1, 2))
        return product.mul_(self.alpha)

    def _through_residual(self, states: Tensor, out: Tensor) -> Tensor:
        if self.is_diagonal:
            return torch.mul(states, self.residual, out=out)
        return torch.bmm(states, self.residual.mT, out=out)

    def _through_activation(self, gradient: Tensor, activated: Tensor) -> Tensor:
        """Return σ' ⊙ gradient, in the place of the σ that it needs."""
        if self.dynamics.activation == "tanh":
            return torch.ops.aten.tanh_backward.grad_input(gradient, activated, grad_input=activated)
        return activated.copy_(gradient)
