"""Textbook systems, most with known exponents, started on their attractors.

Every function returns a `System`; its parameters default to the values for which exponents are usually quoted.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lyapkit.systems.flow import Flow
from lyapkit.systems.map import Map
from lyapkit.systems.system import System


def logistic(r: float = 4.0) -> Map:
    """Return the logistic map x ← r x (1 − x). At r = 4 the exponent is ln 2."""
    return Map(
        lambda x: r * x * (1 - x),
        state_size=1,
        jacobian=lambda x: (r * (1 - 2 * x))[..., None],
        batched=True,
        initial_state=_uniform([0.05], [0.95]),
        name=f"logistic map (r={r:g})",
    ).trusted()


def tent(mu: float = 2.0) -> Map:
    """Return the tent map x ← mu · min(x, 1 − x). The exponent is ln mu on every orbit.

    At mu = 2 orbits in binary floating point reach the fixed point 0 after some fifty steps, where the slope is
    the same.
    """
    return Map(
        lambda x: mu * torch.minimum(x, 1 - x),
        state_size=1,
        jacobian=lambda x: torch.where(x < 0.5, mu, -mu)[..., None].to(x),
        batched=True,
        initial_state=_uniform([0.0], [1.0]),
        name=f"tent map (mu={mu:g})",
    ).trusted()


def cat() -> Map:
    """Return Arnold's cat map (x, y) ← (2x + y, x + y) mod 1. The exponents are ±ln((3 + √5)/2)."""
    matrix = torch.tensor([[2.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    return Map(
        lambda state: (state @ matrix.to(state).mT) % 1.0,
        state_size=2,
        jacobian=lambda state: matrix.to(state).expand(len(state), 2, 2),
        batched=True,
        initial_state=_uniform([0.0, 0.0], [1.0, 1.0]),
        name="cat map",
    ).trusted()


def baker(a: float = 0.5) -> Map:
    """Return the baker's map: x ← 2x mod 1, y ← a·y, plus 1 − a in the right half. The exponents are ln 2 and ln a."""

    def step(state: Tensor) -> Tensor:
        x, y = state.unbind(-1)
        right = (x >= 0.5).to(x)
        return torch.stack([2 * x - right, a * y + right * (1 - a)], dim=-1)

    return Map(
        step,
        state_size=2,
        jacobian=lambda state: torch.tensor([[2.0, 0.0], [0.0, a]]).to(state).expand(len(state), 2, 2),
        batched=True,
        initial_state=_uniform([0.0, 0.0], [1.0, 1.0]),
        name=f"baker's map (a={a:g})",
    ).trusted()


def henon(a: float = 1.4, b: float = 0.3) -> Map:
    """Return the Hénon map (x, y) ← (1 − a x² + y, b x). Exponents 0.41922 and −1.62319; their sum is ln b exactly."""

    def step(state: Tensor) -> Tensor:
        x, y = state.unbind(-1)
        return torch.stack([1 - a * x * x + y, b * x], dim=-1)

    def jacobian(state: Tensor) -> Tensor:
        x = state[..., 0]
        one = torch.ones_like(x)
        return _matrix([[-2 * a * x, one], [b * one, 0 * one]])

    draw = _uniform([-0.1, -0.1], [0.1, 0.1])
    return Map(
        step,
        state_size=2,
        jacobian=jacobian,
        batched=True,
        initial_state=lambda n_trajectories, generator: _settle(step, draw(n_trajectories, generator), 200),
        name=f"Hénon map (a={a:g}, b={b:g})",
    ).trusted()


def standard(k: float = 6.0) -> Map:
    """Return Chirikov's standard map p ← p + k sin θ, θ ← θ + p (mod 2π), state (θ, p). The exponents sum to 0.

    For large k the largest exponent is close to ln(k/2).
    """

    def step(state: Tensor) -> Tensor:
        angle, momentum = state.unbind(-1)
        momentum = momentum + k * torch.sin(angle)
        return torch.stack([angle + momentum, momentum], dim=-1) % math.tau

    def jacobian(state: Tensor) -> Tensor:
        slope = k * torch.cos(state[..., 0])
        one = torch.ones_like(slope)
        return _matrix([[1 + slope, one], [slope, one]])

    return Map(
        step,
        state_size=2,
        jacobian=jacobian,
        batched=True,
        initial_state=_uniform([0.0, 0.0], [math.tau, math.tau]),
        name=f"standard map (k={k:g})",
    ).trusted()


def lorenz(sigma: float = 10.0, rho: float = 28.0, beta: float = 8 / 3, time_step: float = 0.01) -> Flow:
    """Return the Lorenz system. Exponents 0.9056, 0, −14.5723 per unit of time; their sum is −(sigma + 1 + beta)."""

    def field(state: Tensor) -> Tensor:
        x, y, z = state.unbind(-1)
        return torch.stack([sigma * (y - x), x * (rho - z) - y, x * y - beta * z], dim=-1)

    def jacobian(state: Tensor) -> Tensor:
        x, y, z = state.unbind(-1)
        one = torch.ones_like(x)
        return _matrix([[-sigma * one, sigma * one, 0 * one], [rho - z, -one, -x], [y, x, -beta * one]])

    return _flow_on_attractor(
        field,
        jacobian,
        time_step,
        draw=_uniform([-10.0, -10.0, 15.0], [10.0, 10.0, 35.0]),
        settle_time=20.0,
        name=f"Lorenz system (sigma={sigma:g}, rho={rho:g}, beta={beta:.4g})",
    )


def rossler(a: float = 0.2, b: float = 0.2, c: float = 5.7, time_step: float = 0.02) -> Flow:
    """Return the Rössler system. Exponents about 0.0714, 0, −5.3943 per unit of time."""

    def field(state: Tensor) -> Tensor:
        x, y, z = state.unbind(-1)
        return torch.stack([-y - z, x + a * y, b + z * (x - c)], dim=-1)

    def jacobian(state: Tensor) -> Tensor:
        x, _, z = state.unbind(-1)
        one = torch.ones_like(x)
        return _matrix([[0 * one, -one, -one], [one, a * one, 0 * one], [z, 0 * one, x - c]])

    return _flow_on_attractor(
        field,
        jacobian,
        time_step,
        draw=_uniform([-5.0, -5.0, 0.0], [5.0, 5.0, 1.0]),
        settle_time=200.0,
        name=f"Rössler system (a={a:g}, b={b:g}, c={c:g})",
    )


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
        return _settle(self.step, state, 1000)

    def __str__(self) -> str:
        return f"coupled-map lattice (n_sites={self.state_size}, coupling={self.coupling:g}, r={self.r:g})"


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
        return _settle(self.converted(state.dtype, state.device).step, state, 500)

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


def _matrix(rows: list[list[Tensor]]) -> Tensor:
    """Return batched matrices (B, n, m) from their entries (B,)."""
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _uniform(low: list[float], high: list[float]) -> Callable[[int, torch.Generator], Tensor]:
    """Return a function that draws start states uniformly from a box."""
    low, high = (torch.tensor(bound, dtype=torch.float64) for bound in (low, high))

    def draw(n_trajectories: int, generator: torch.Generator) -> Tensor:
        return low + (high - low) * torch.rand(n_trajectories, len(low), generator=generator, dtype=torch.float64)

    return draw


def _settle(step: Callable[[Tensor], Tensor], state: Tensor, n_steps: int) -> Tensor:
    """Return where `state` is after `n_steps` steps: on the attractor, if there is one."""
    for _ in range(n_steps):
        state = step(state)
    return state


def _flow_on_attractor(
    field: Callable, jacobian: Callable, time_step: float, *, draw: Callable, settle_time: float, name: str
) -> Flow:
    """Return a three-variable flow whose start states have evolved for `settle_time` from random ones."""

    def initial_state(n_trajectories: int, generator: torch.Generator) -> Tensor:
        return _settle(
            lambda state: flow.step(state, None), draw(n_trajectories, generator), round(settle_time / time_step)
        )

    flow = Flow(field, 3, time_step, jacobian, batched=True, initial_state=initial_state, name=name)
    return flow.trusted()
