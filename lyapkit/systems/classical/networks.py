"""Networks of rate units."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lyapkit.systems.classical.building import settled
from lyapkit.systems.system import System


class RandomNetwork(System):
    """The rate network x ← J tanh(x), J_ij ~ N(0, gain²/n) (Sompolinsky, Crisanti & Sommers 1988).

    Parameters
    ----------
    n : int
        Number of units, the state size.
    gain : float
        Standard deviation of J times √n. Above 1 large networks are chaotic.
    seed : int
        Seed of J.
    """

    treats_trajectories_alike = True

    def __init__(self, n: int = 100, gain: float = 2.0, seed: int = 0) -> None:
        self.state_size = n
        self.gain = gain
        self.seed = seed
        generator = torch.Generator().manual_seed(seed)
        self.weight = torch.randn(n, n, generator=generator, dtype=torch.float64) * (gain / math.sqrt(n))

    def step(self, state: Tensor, input: None = None) -> Tensor:
        """Return the next state."""
        return torch.nn.functional.linear(torch.tanh(state), self.weight)

    def push(self, state: Tensor, input: None, tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next state and the tangent vectors, in one matrix product shared by all trajectories."""
        slope = torch.cosh(state).reciprocal().square()
        return self.step(state), torch.nn.functional.linear(tangent * slope[:, None], self.weight)

    def initial_state(self, n_trajectories: int, generator: torch.Generator) -> Tensor:
        """Return random states after 500 steps."""
        state = torch.randn(n_trajectories, self.state_size, generator=generator, dtype=torch.float64)
        return settled(self.converted(state.dtype, state.device).step, state, 500)

    def converted(self, dtype: torch.dtype, device: torch.device) -> RandomNetwork:
        """Return this network with its weights in `dtype` on `device`."""
        network = RandomNetwork.__new__(RandomNetwork)
        network.__dict__.update(self.__dict__, weight=self.weight.to(device, dtype))
        return network

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.weight.device

    def __str__(self) -> str:
        return f"random network (n={self.state_size}, gain={self.gain:g}, seed={self.seed})"
