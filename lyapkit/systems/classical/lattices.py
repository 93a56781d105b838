"""Lattices of maps."""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.systems.classical.building import settled
from lyapkit.systems.system import System


class CoupledMapLattice(System):
    """Logistic maps on a ring, x_i ← (1 − ε) f(x_i) + ε/2 (f(x_{i−1}) + f(x_{i+1})), f(x) = r x (1 − x) (Kaneko 1984).

    Where all sites are equal, the exponents are λ + ln|1 − ε + ε cos(2πj/n)|, j = 0 … n − 1, λ that of one map.

    Parameters
    ----------
    n_sites : int
        Number of maps, the state size.
    coupling : float
        ε, between 0 and 1.
    r : float
        Parameter of the logistic map.
    """

    treats_trajectories_alike = True

    def __init__(self, n_sites: int = 50, coupling: float = 0.1, r: float = 4.0) -> None:
        if n_sites < 3 or not 0 <= coupling <= 1:
            raise ValueError(f"need n_sites >= 3 and 0 <= coupling <= 1, got n_sites={n_sites}, coupling={coupling}")
        self.state_size = n_sites
        self.coupling = coupling
        self.r = r

    def _mix(self, values: Tensor) -> Tensor:
        neighbours = values.roll(1, dims=-1) + values.roll(-1, dims=-1)
        return (1 - self.coupling) * values + self.coupling / 2 * neighbours

    def step(self, state: Tensor, input: None = None) -> Tensor:
        """Return the next state."""
        return self._mix(self.r * state * (1 - state))

    def push(self, state: Tensor, input: None, tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next state and the tangent vectors, multiplied by the local slopes and mixed like the state."""
        slope = self.r * (1 - 2 * state)
        return self.step(state), self._mix(tangent * slope[:, None])

    def initial_state(self, n_trajectories: int, generator: torch.Generator) -> Tensor:
        """Return random states after 1000 steps."""
        state = torch.rand(n_trajectories, self.state_size, generator=generator, dtype=torch.float64)
        return settled(self.step, state, 1000)

    def __str__(self) -> str:
        return f"coupled-map lattice (n_sites={self.state_size}, coupling={self.coupling:g}, r={self.r:g})"
