"""Forced oscillators, their phase as last variable, and coupled phases."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lyapkit.systems.classical.building import built_flow, settled_flow, uniform
from lyapkit.systems.flow import Flow


def duffing(
    damping: float = 0.25, forcing: float = 0.4, frequency: float = 1.0, time_step: float | None = 0.02
) -> Flow:
    """Return Duffing's oscillator with two wells, x'' = x − x³ − damping x' + forcing sin φ, state (x, x', φ).

    φ grows at the rate `frequency`. Exponents 0.1572, 0 and −0.4072 per unit of time (Sprott 2003); their sum is
    −damping exactly.
    """
    return built_flow(
        lambda x, v, phase: (v, x - x * x * x - damping * v + forcing * torch.sin(phase), frequency),
        lambda x, v, phase: ((0.0, 1.0, 0.0), (1 - 3 * x * x, -damping, forcing * torch.cos(phase)), (0.0, 0.0, 0.0)),
        uniform([-1.0, -0.5, 0.0], [1.0, 0.5, math.tau]),
        f"Duffing oscillator (damping={damping:g}, forcing={forcing:g}, frequency={frequency:g})",
        time_step,
        settling=(500, 0.1),
    )


def van_der_pol(
    mu: float = 3.0, forcing: float = 5.0, frequency: float = 1.788, time_step: float | None = 0.01
) -> Flow:
    """Return van der Pol's forced oscillator, x'' = mu (1 − x²) x' − x + forcing sin φ, state (x, x', φ).

    φ grows at the rate `frequency`. Exponents 0.1932, 0 and −2.0585 per unit of time (Sprott 2003). Without forcing
    they are 0, 0 and, for small mu, close to −mu.
    """
    return built_flow(
        lambda x, v, phase: (v, mu * (1 - x * x) * v - x + forcing * torch.sin(phase), frequency),
        lambda x, v, phase: (
            (0.0, 1.0, 0.0),
            (-2 * mu * x * v - 1, mu * (1 - x * x), forcing * torch.cos(phase)),
            (0.0, 0.0, 0.0),
        ),
        uniform([-1.0, -1.0, 0.0], [1.0, 1.0, math.tau]),
        f"van der Pol oscillator (mu={mu:g}, forcing={forcing:g}, frequency={frequency:g})",
        time_step,
        settling=(1000, 0.02),
    )


def kuramoto(n: int = 10, coupling: float = 1.0, spread: float = 0.0, time_step: float | None = 0.05) -> Flow:
    """Return n phases, dθ_i/dt = ω_i + (coupling/n) Σ_j sin(θ_j − θ_i) (Kuramoto 1975).

    The frequencies ω_i are evenly spaced from −spread to spread. One exponent is always 0, that of turning all phases.
    Oscillators of one frequency synchronise, and the other n − 1 exponents become −coupling; where different ones lock,
    they are the eigenvalues at the locked state; below, many frequencies give weak chaos (Popovych et al. 2005).
    """
    frequencies = torch.linspace(-spread, spread, n, dtype=torch.float64)

    def field(phases: Tensor) -> Tensor:
        sines, cosines = torch.sin(phases), torch.cos(phases)
        mean_sine, mean_cosine = sines.mean(-1, keepdim=True), cosines.mean(-1, keepdim=True)
        return frequencies.to(phases) + coupling * (mean_sine * cosines - mean_cosine * sines)

    def jacobian(phases: Tensor) -> Tensor:
        pulls = torch.cos(phases[..., None, :] - phases[..., :, None]) * (coupling / n)
        return pulls - torch.eye(n).to(phases) * pulls.sum(-1, keepdim=True)

    if n < 2:
        raise ValueError(f"need n >= 2 oscillators, got {n}")
    name = f"Kuramoto oscillators (n={n}, coupling={coupling:g}, spread={spread:g})"
    draw = uniform([0.0] * n, [math.tau] * n)
    return settled_flow(field, n, jacobian, draw, name, time_step, settling=(500, 0.1))
