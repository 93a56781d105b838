"""Systems that keep their energy: their exponents come in pairs ±λ, and two of them are 0."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lyapkit.systems.classical.building import Row, built_flow
from lyapkit.systems.flow import Flow


def henon_heiles(energy: float = 1 / 6, time_step: float | None = 0.05) -> Flow:
    """Return the system of Hénon & Heiles (1964), H = (p_x² + p_y² + x² + y²)/2 + x² y − y³/3, state (x, y, p_x, p_y).

    Starts have the `energy`, at most 1/6, above which orbits escape; at 1/6 nearly all are chaotic.
    """
    if not 0 < energy <= 1 / 6:
        raise ValueError(f"energy must be between 0 and 1/6, above which orbits escape, got {energy:g}")

    def draw(n_trajectories: int, generator: torch.Generator) -> Tensor:
        y, angle = torch.rand(2, n_trajectories, generator=generator, dtype=torch.float64)
        y = 0.4 * math.sqrt(energy) * (2 * y - 1)
        speed = torch.sqrt(2 * energy - y * y + 2 / 3 * y**3)
        angle = math.tau * angle
        return torch.stack([0 * y, y, speed * torch.cos(angle), speed * torch.sin(angle)], dim=-1)

    return built_flow(
        lambda x, y, p, q: (p, q, -x - 2 * x * y, -y - x * x + y * y),
        lambda x, y, p, q: (
            (0.0, 0.0, 1.0, 0.0),
            (0.0, 0.0, 0.0, 1.0),
            (-1 - 2 * y, -2 * x, 0.0, 0.0),
            (-2 * x, -1 + 2 * y, 0.0, 0.0),
        ),
        draw,
        f"Hénon–Heiles system (energy={energy:.4g})",
        time_step,
    )


def double_pendulum(
    m1: float = 1.0,
    m2: float = 1.0,
    l1: float = 1.0,
    l2: float = 1.0,
    g: float = 9.8,
    energy: float = 40.0,
    time_step: float | None = 0.005,
) -> Flow:
    """Return a pendulum that hangs on another one, state (θ₁, θ₂, p₁, p₂), angles from hanging down, and momenta.

    Starts hang down and have the `energy` as kinetic one, in all directions; 2g(l1(m1 + m2) + l2 m2) stands both
    upright. There, and for equal masses and lengths l, the exponents are ± √((2 ± √2) g/l); the largest one of chaotic
    orbits depends on masses, lengths and energy (Shinbrot et al. 1992).
    """
    if min(m1, m2, l1, l2, energy) <= 0:
        raise ValueError(f"masses, lengths and energy must be positive, got {m1}, {m2}, {l1}, {l2} and {energy}")
    inertia, inertia_too, cross = (m1 + m2) * l1 * l1, m2 * l2 * l2, m2 * l1 * l2
    weight, weight_too = (m1 + m2) * g * l1, m2 * g * l2

    def turning(cos: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the angular velocities, and the determinant of the inertia."""
        determinant = inertia * inertia_too - (cross * cos) ** 2
        return (
            (inertia_too * p - cross * cos * q) / determinant,
            (inertia * q - cross * cos * p) / determinant,
            determinant,
        )

    def field(first: Tensor, second: Tensor, p: Tensor, q: Tensor) -> Row:
        sin, cos = torch.sin(first - second), torch.cos(first - second)
        u, v, _ = turning(cos, p, q)
        torque = cross * sin * u * v
        return u, v, -torque - weight * torch.sin(first), torque - weight_too * torch.sin(second)

    def jacobian(first: Tensor, second: Tensor, p: Tensor, q: Tensor) -> tuple[Row, Row, Row, Row]:
        sin, cos = torch.sin(first - second), torch.cos(first - second)
        u, v, determinant = turning(cos, p, q)
        bend = 2 * cross * cross * cos * sin
        by_angle = (cross * sin * q - bend * u) / determinant, (cross * sin * p - bend * v) / determinant
        by_p = inertia_too / determinant, -cross * cos / determinant
        by_q = -cross * cos / determinant, inertia / determinant
        torque_by_angle = cross * (cos * u * v + sin * (by_angle[0] * v + u * by_angle[1]))
        torque_by_p, torque_by_q = (cross * sin * (by[0] * v + u * by[1]) for by in (by_p, by_q))
        return (
            (by_angle[0], -by_angle[0], by_p[0], by_q[0]),
            (by_angle[1], -by_angle[1], by_p[1], by_q[1]),
            (-torque_by_angle - weight * torch.cos(first), torque_by_angle, -torque_by_p, -torque_by_q),
            (torque_by_angle, -torque_by_angle - weight_too * torch.cos(second), torque_by_p, torque_by_q),
        )

    def draw(n_trajectories: int, generator: torch.Generator) -> Tensor:
        direction = math.tau * torch.rand(n_trajectories, generator=generator, dtype=torch.float64)
        u, v = math.sqrt(2 * energy) * torch.cos(direction), math.sqrt(2 * energy) * torch.sin(direction)
        below = cross / math.sqrt(inertia)  # of the Cholesky factor of the inertia
        p, q = math.sqrt(inertia) * u, below * u + math.sqrt(inertia_too - below * below) * v
        return torch.stack([0 * p, 0 * p, p, q], dim=-1)

    name = f"double pendulum (m1={m1:g}, m2={m2:g}, l1={l1:g}, l2={l2:g}, g={g:g}, energy={energy:g})"
    return built_flow(field, jacobian, draw, name, time_step)
