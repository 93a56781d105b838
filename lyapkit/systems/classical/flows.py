"""Dissipative flows of three variables, and Lorenz's ring of 1996."""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.systems.classical.building import Row, built_flow, settled_flow, uniform
from lyapkit.systems.flow import Flow


def lorenz(sigma: float = 10.0, rho: float = 28.0, beta: float = 8 / 3, time_step: float | None = 0.01) -> Flow:
    """Return the Lorenz system (Lorenz 1963).

    Exponents 0.9056, 0 and −14.5723 per unit of time (Sprott 2003); their sum is −(sigma + 1 + beta) exactly.
    """
    return built_flow(
        lambda x, y, z: (sigma * (y - x), x * (rho - z) - y, x * y - beta * z),
        lambda x, y, z: ((-sigma, sigma, 0.0), (rho - z, -1.0, -x), (y, x, -beta)),
        uniform([-10.0, -10.0, 15.0], [10.0, 10.0, 35.0]),
        f"Lorenz system (sigma={sigma:g}, rho={rho:g}, beta={beta:.4g})",
        time_step,
        settling=(2000, 0.01),
    )


def rossler(a: float = 0.2, b: float = 0.2, c: float = 5.7, time_step: float | None = 0.02) -> Flow:
    """Return the Rössler system (Rössler 1976). Exponents 0.0714, 0 and −5.3943 per unit of time (Sprott 2003)."""
    return built_flow(
        lambda x, y, z: (-y - z, x + a * y, b + z * (x - c)),
        lambda x, y, z: ((0.0, -1.0, -1.0), (1.0, a, 0.0), (z, 0.0, x - c)),
        uniform([-5.0, -5.0, 0.0], [5.0, 5.0, 1.0]),
        f"Rössler system (a={a:g}, b={b:g}, c={c:g})",
        time_step,
        settling=(1500, 0.05),
    )


def chua(
    alpha: float = 9.0, beta: float = 100 / 7, m0: float = -8 / 7, m1: float = -5 / 7, time_step: float | None = 0.02
) -> Flow:
    """Return Chua's circuit, dx/dt = α (y − x − f(x)), dy/dt = x − y + z, dz/dt = −β y (Matsumoto et al. 1985).

    f has the slope m0 between −1 and 1, and m1 outside. Exponents 0.3271, 0 and −2.5197 per unit of time (Sprott 2003).
    """

    def field(x: Tensor, y: Tensor, z: Tensor) -> Row:
        current = m1 * x + 0.5 * (m0 - m1) * (torch.abs(x + 1) - torch.abs(x - 1))
        return alpha * (y - x - current), x - y + z, -beta * y

    def jacobian(x: Tensor, y: Tensor, z: Tensor) -> tuple[Row, Row, Row]:
        slope = torch.where(torch.abs(x) < 1, m0, m1).to(x)
        return (-alpha * (1 + slope), alpha, 0.0), (1.0, -1.0, 1.0), (0.0, -beta, 0.0)

    return built_flow(
        field,
        jacobian,
        uniform([-0.1, -0.1, -0.1], [0.1, 0.1, 0.1]),
        f"Chua's circuit (alpha={alpha:g}, beta={beta:.4g}, m0={m0:.4g}, m1={m1:.4g})",
        time_step,
        settling=(1000, 0.05),
    )


def lorenz84(a: float = 0.25, b: float = 4.0, f: float = 8.0, g: float = 1.0, time_step: float | None = 0.01) -> Flow:
    """Return Lorenz's model of the atmosphere's general circulation (Lorenz 1984), a Hadley circulation with waves.

    dx/dt = −y² − z² − a x + a f, dy/dt = x y − b x z − y + g, dz/dt = b x y + x z − z. The largest exponent is about
    0.17 per unit of time.
    """
    return built_flow(
        lambda x, y, z: (-y * y - z * z - a * x + a * f, x * y - b * x * z - y + g, b * x * y + x * z - z),
        lambda x, y, z: (
            (-a, -2 * y, -2 * z),
            (y - b * z, x - 1, -b * x),
            (b * y + z, b * x, x - 1),
        ),
        uniform([0.5, -1.0, -1.0], [1.5, 1.0, 1.0]),
        f"Lorenz-84 (a={a:g}, b={b:g}, f={f:g}, g={g:g})",
        time_step,
        settling=(500, 0.05),
    )


def hindmarsh_rose(
    current: float = 3.25,
    r: float = 0.006,
    s: float = 4.0,
    rest: float = -1.6,
    time_step: float | None = 0.02,
) -> Flow:
    """Return the neuron of Hindmarsh & Rose (1984), which bursts irregularly.

    dx/dt = y − x³ + 3x² − z + current, dy/dt = 1 − 5x² − y, dz/dt = r (s (x − rest) − z). Exponents are about 0.014, 0
    and −8.4 per unit of time.
    """
    return built_flow(
        lambda x, y, z: (y - x * x * x + 3 * x * x - z + current, 1 - 5 * x * x - y, r * (s * (x - rest) - z)),
        lambda x, y, z: ((-3 * x * x + 6 * x, 1.0, -1.0), (-10 * x, -1.0, 0.0), (r * s, 0.0, -r)),
        uniform([-1.5, -8.0, 3.0], [1.0, -2.0, 3.4]),
        f"Hindmarsh–Rose neuron (current={current:g}, r={r:g}, s={s:g}, rest={rest:g})",
        time_step,
        settling=(500, 0.05),
    )


def lorenz96(n: int = 40, forcing: float = 8.0, time_step: float | None = 0.02) -> Flow:
    """Return the ring dx_i/dt = (x_{i+1} − x_{i−2}) x_{i−1} − x_i + forcing of n variables (Lorenz 1996).

    The exponents sum to −n exactly.
    """

    def field(state: Tensor) -> Tensor:
        ahead, behind, further = (state.roll(shift, dims=-1) for shift in (-1, 1, 2))
        return (ahead - further) * behind - state + forcing

    def jacobian(state: Tensor) -> Tensor:
        ahead, behind, further = (state.roll(shift, dims=-1) for shift in (-1, 1, 2))
        eye = torch.eye(n).to(state)
        return (
            behind[..., None] * (eye.roll(1, dims=-1) - eye.roll(-2, dims=-1))
            + (ahead - further)[..., None] * eye.roll(-1, dims=-1)
            - eye
        )

    if n < 4:
        raise ValueError(f"the ring needs n >= 4 variables, got {n}")
    name = f"Lorenz-96 (n={n}, forcing={forcing:g})"
    draw = uniform([forcing - 1] * n, [forcing + 1] * n)
    return settled_flow(field, n, jacobian, draw, name, time_step, settling=(400, 0.05))
