"""Stochastic gradient descent with momentum of an ensemble, each network at its own learning rate."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lyapkit.training.ensemble import Ensemble, Losses


class Descent:
    """One step after another: v ← μ v + g, w ← w − η v, as PyTorch's SGD does it (Eq. 5 of the paper for μ = 0).

    A network whose loss or gradient is not finite is left as it was before that step, for good, and the step noted; the
    others do not notice. All that changes is in tensors on the ensemble's device, so that no step waits for the host.

    Parameters
    ----------
    ensemble : Ensemble
        Its parameters are changed.
    losses : callable
        ``losses(outputs, targets)``, (E',), for outputs (E', B, O).
    learning_rate : Tensor
        η, (E,).
    momentum : float
        μ.
    clip_norm : float, optional
        Gradients longer than this, over all parameters of a network, are shortened to it.
    weight_decay : float
        λ: λ w is added to the gradient, after it was shortened, as PyTorch's SGD does it.

    Attributes
    ----------
    state : dict
        All that a run needs to go on: parameters and velocities by name, `iteration`, `diverged_at` (E,), 0 where a
        network has not diverged, and `loss_sum` (E,), of losses since it was last set to zero.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        losses: Losses,
        learning_rate: Tensor,
        momentum: float = 0.9,
        clip_norm: float | None = None,
        weight_decay: float = 0.0,
    ) -> None:
        self.ensemble, self.losses = ensemble, losses
        self.momentum, self.clip_norm, self.weight_decay = momentum, clip_norm, weight_decay
        options: dict[str, Any] = {"device": ensemble.device}
        self.learning_rate = learning_rate.to(ensemble.device, ensemble.dtype)
        self.velocity = {name: torch.zeros_like(value).detach() for name, value in ensemble.parameters.items()}
        self.iteration = torch.zeros((), dtype=torch.int64, **options)
        self.diverged_at = torch.zeros(len(ensemble), dtype=torch.int64, **options)
        self.loss_sum = torch.zeros(len(ensemble), dtype=torch.float64, **options)

    @property
    def state(self) -> dict[str, Tensor]:
        """Parameters, velocities and counters, by name; the tensors themselves."""
        return {
            **{f"parameter.{name}": value.detach() for name, value in self.ensemble.parameters.items()},
            **{f"velocity.{name}": value for name, value in self.velocity.items()},
            "iteration": self.iteration,
            "diverged_at": self.diverged_at,
            "loss_sum": self.loss_sum,
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Tensor]) -> None:
        """Set everything to what `state` was."""
        for name, own in self.state.items():
            own.copy_(state[name])

    def step(
        self, inputs: Tensor, targets: Tensor, members: Tensor, lengths: Tensor | None = None, noise: int = 0
    ) -> None:
        """Move some of the networks one step along the gradients of a batch.

        Parameters
        ----------
        inputs, targets : Tensor
            (B, T, I) and (B, …).
        members : Tensor
            (E',), indices of networks.
        lengths, noise : optional
            As for `Ensemble.losses_and_gradients`.
        """
        with torch.enable_grad():
            losses, gradients = self.ensemble.losses_and_gradients(
                inputs, targets, self.losses, members, lengths, noise
            )
        with torch.no_grad():
            self.iteration += 1
            finite = losses.isfinite() & (self.diverged_at[members] == 0)
            squares = torch.zeros_like(losses)
            for gradient in gradients.values():
                squares += gradient.flatten(1).square().sum(1)
            norm = squares.sqrt()
            finite &= norm.isfinite()
            scale = torch.ones_like(norm) if self.clip_norm is None else (self.clip_norm / norm).clamp(max=1.0)
            for name, gradient in gradients.items():
                self._move(name, gradient, members, finite, scale)
            known = self.diverged_at[members]
            self.diverged_at[members] = torch.where(finite | (known > 0), known, self.iteration)
            self.loss_sum[members] += losses.double()

    def _move(self, name: str, gradient: Tensor, members: Tensor, finite: Tensor, scale: Tensor) -> None:
        shape = (-1, *[1] * (gradient.ndim - 1))
        finite, scale, rate = (of.view(shape) for of in (finite, scale, self.learning_rate[members]))
        old = self.velocity[name][members]
        parameter = self.ensemble.parameters[name].data
        gradient = scale * gradient
        if self.weight_decay:
            gradient = gradient + self.weight_decay * parameter[members]
        new = torch.where(finite, self.momentum * old + gradient, old)
        self.velocity[name][members] = new
        parameter[members] = torch.where(finite, parameter[members] - rate * new, parameter[members])


class GraphedStep:
    """`Descent.step` captured in a CUDA graph: its thousands of small kernels are launched at once.

    Parameters
    ----------
    descent : Descent
        On a CUDA device.
    inputs, targets : Tensor
        A batch; all others must be of its shape.
    members : Tensor
        The networks to move, the same at every step.
    """

    N_WARM_UP = 3  # steps before the capture, as PyTorch asks for

    def __init__(self, descent: Descent, inputs: Tensor, targets: Tensor, members: Tensor) -> None:
        self._inputs, self._targets = inputs.clone(), targets.clone()
        before = {name: value.clone() for name, value in descent.state.items()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(self.N_WARM_UP):
                descent.step(self._inputs, self._targets, members)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            descent.step(self._inputs, self._targets, members)
        descent.restore(before)

    def __call__(self, inputs: Tensor, targets: Tensor) -> None:
        """Move the networks one step along the gradients of a batch."""
        self._inputs.copy_(inputs)
        self._targets.copy_(targets)
        self._graph.replay()
