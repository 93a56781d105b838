"""What a step of each kind of weakly coupled residual network does with u = R h and z = W h + W_in x + b.

With coupling α and activation σ a step is h ← f(u, z), and its Jacobian diag(∂f/∂u) R + diag(∂f/∂z) W.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lyapkit.models.layers import tanh_curvature, tanh_slope


class Activation(NamedTuple):
    """A function σ of single units and its first and second derivative."""

    function: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    curvature: Callable[[Tensor], Tensor]


ACTIVATIONS = {
    "tanh": Activation(torch.tanh, tanh_slope, tanh_curvature),
    "identity": Activation(torch.clone, torch.ones_like, torch.zeros_like),
}


class Gains(NamedTuple):
    """Jacobians along trajectories in parts, J = diag(residual) R + diag(coupling) W.

    Each part is (B, T, N), or (1, T, N) if it is the same for all trajectories.
    """

    residual: Tensor
    coupling: Tensor


class Kind(ABC):
    """A step, its derivatives ∂f/∂u and ∂f/∂z, and how these change."""

    def __init__(self, activation: Activation) -> None:
        self.function, self.slope, self.curvature = activation

    @abstractmethod
    def next(self, u: Tensor, z: Tensor, coupling: Tensor) -> Tensor:
        """Return f(u, z)."""

    @abstractmethod
    def gains(self, u: Tensor, z: Tensor, coupling: Tensor) -> Gains:
        """Return ∂f/∂u and ∂f/∂z."""

    @abstractmethod
    def gain_slopes(self, u: Tensor, z: Tensor, coupling: Tensor) -> Gains:
        """Return the derivatives of the gains, each with respect to its own argument."""

    @abstractmethod
    def gain_tangents(self, slopes: Gains, u_tangent: Tensor, z_tangent: Tensor, coupling: Tensor) -> Gains:
        """Return how the gains change along tangents of u and z, to first order."""


class Linear(Kind):
    """f = u + α σ(z) (Eq. 11)."""

    def next(self, u: Tensor, z: Tensor, coupling: Tensor) -> Tensor:
        """Return f(u, z)."""
        return torch.addcmul(u, coupling, self.function(z))

    def gains(self, u: Tensor, z: Tensor, coupling: Tensor) -> Gains:
        """Return 1 and α σ'(z)."""
        return Gains(torch.ones_like(z[:1]), self.slope(z) * coupling)

    def gain_slopes(self, u: Tensor, z: Tensor, coupling: Tensor) -> Gains:
        """Return 0 and α σ''(z)."""
        return Gains(torch.zeros_like(z[:1]), self.curvature(z).mul_(coupling))

    def gain_tangents(self, slopes: Gains, u_tangent: Tensor, z_tangent: Tensor, coupling: Tensor) -> Gains:
        """Return how the gains change."""
        return Gains(slopes.residual, slopes.coupling * z_tangent)


class TypeA(Kind):
    """f = σ(u) + α σ(z) (Eq. 18)."""

    def next(self, u: Tensor, z: Tensor, coupling: Tensor) -> Tensor:
        """Return f(u, z)."""
        return torch.addcmul(self.function(u), coupling, self.function(z))

    def gains(self, u: Tensor, z: Tensor, coupling: Tensor) -> Gains:
        """Return σ'(u) and α σ'(z)."""
        return Gains(self.slope(u), self.slope(z) * coupling)

    def gain_slopes(self, u: Tensor, z: Tensor, coupling: Tensor) -> Gains:
        """Return σ''(u) and α σ''(z)."""
        return Gains(self.curvature(u), self.curvature(z).mul_(coupling))

    def gain_tangents(self, slopes: Gains, u_tangent: Tensor, z_tangent: Tensor, coupling: Tensor) -> Gains:
        """Return how the gains change."""
        return Gains(slopes.residual * u_tangent, slopes.coupling * z_tangent)


class TypeB(Kind):
    """f = σ(u + α z) (Eq. 19), an Elman network initialised in a particular way."""

    def next(self, u: Tensor, z: Tensor, coupling: Tensor) -> Tensor:
        """Return f(u, z)."""
        return self.function(u + coupling * z)

    def gains(self, u: Tensor, z: Tensor, coupling: Tensor) -> Gains:
        """Return σ'(u + α z), and α times it."""
        slope = self.slope(u + coupling * z)
        return Gains(slope, slope * coupling)

    def gain_slopes(self, u: Tensor, z: Tensor, coupling: Tensor) -> Gains:
        """Return σ''(u + α z), and α times it: derivatives with respect to u + α z."""
        slope = self.curvature(u + coupling * z)
        return Gains(slope, slope * coupling)

    def gain_tangents(self, slopes: Gains, u_tangent: Tensor, z_tangent: Tensor, coupling: Tensor) -> Gains:
        """Return how the gains change."""
        tangent = u_tangent + coupling * z_tangent
        return Gains(slopes.residual * tangent, slopes.coupling * tangent)


KINDS: dict[str, type[Kind]] = {"linear": Linear, "A": TypeA, "B": TypeB}
