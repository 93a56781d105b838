"""A delay equation as a map: what happens within the delay lies in a line of equidistant values, and moves on in it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lyapkit.systems.system import System


class MackeyGlass(System):
    """The equation dx/dt = a x(t − τ)/(1 + x(t − τ)^c) − b x(t) of Mackey & Glass (1977), as a map of a delay line.

    The state is x at n + 1 times a step h = τ/n apart, the latest first. A step is exact for the decay, and takes the
    production in it as linear in time, so that errors are of the order h². Exponents come out per unit of time, and for
    a = 0.2, b = 0.1, c = 10, τ = 17 they begin with 0.0052, 0, −0.039 (± 0.0002; n = 300).

    A delay equation has infinitely many exponents, ever more negative; the line has n + 1. The j-th one belongs to a
    perturbation that oscillates about j/2 times within the delay: where j is beyond a tenth of n the line has too few
    values for it, and exponents are its own, not those of the equation. Ask for the first ones, `n_exponents`, and
    compare them with those of 2n.

    Parameters
    ----------
    tau : float
        τ, the delay.
    n : int
        Steps within the delay; the state size is n + 1.
    a, b, c : float
        Production, decay, and how steeply production falls.
    """

    treats_trajectories_alike = True
    time_unit = "unit of time"

    def __init__(self, tau: float = 17.0, n: int = 100, a: float = 0.2, b: float = 0.1, c: float = 10.0) -> None:
        if n < 1 or not min(tau, a, b, c) > 0:
            raise ValueError(f"need n >= 1 and positive parameters, got n={n}, tau={tau}, a={a}, b={b}, c={c}")
        self.tau, self.n, self.a, self.b, self.c = tau, n, a, b, c
        self.state_size = n + 1
        self.time_step = tau / n
        decay = b * self.time_step
        self.kept = math.exp(-decay)
        whole = -math.expm1(-decay) / b  # ∫ exp(−b (h − s)) ds, of which the end of the step has the share `later`
        later = (1 - whole / self.time_step) / b
        self.weights = whole - later, later  # of the production at the beginning and the end of the step

    def step(self, state: Tensor, input: None = None) -> Tensor:
        """Return the next state."""
        powers = state[:, -2:].abs() ** self.c
        later, earlier = (self.a * state[:, -2:] / (1 + powers)).unbind(-1)
        now = self.kept * state[:, 0] + self.weights[0] * earlier + self.weights[1] * later
        return torch.cat([now[:, None], state[:, :-1]], dim=-1)

    def push(self, state: Tensor, input: None, tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next state and the tangent vectors, which move on in the line likewise."""
        powers = state[:, -2:].abs() ** self.c
        slopes = self.a * (1 + (1 - self.c) * powers) / (1 + powers) ** 2
        later, earlier = (tangent[:, :, -2:] * slopes[:, None]).unbind(-1)
        now = self.kept * tangent[:, :, 0] + self.weights[0] * earlier + self.weights[1] * later
        return self.step(state), torch.cat([now[:, :, None], tangent[:, :, :-1]], dim=-1)

    def initial_state(self, n_trajectories: int, generator: torch.Generator) -> Tensor:
        """Return lines of one random value each, after ten delays."""
        value = 0.5 + torch.rand(n_trajectories, 1, generator=generator, dtype=torch.float64)
        state = value.expand(-1, self.state_size)
        for _ in range(10 * self.n):
            state = self.step(state)
        return state

    def __str__(self) -> str:
        return f"Mackey–Glass delay line (tau={self.tau:g}, n={self.n}, a={self.a:g}, b={self.b:g}, c={self.c:g})"


def mackey_glass(tau: float = 17.0, n: int = 100, a: float = 0.2, b: float = 0.1, c: float = 10.0) -> MackeyGlass:
    """Return the delay line of `MackeyGlass`. Exponents 0.0051, 0, −0.039, … per unit of time."""
    return MackeyGlass(tau, n, a, b, c)
