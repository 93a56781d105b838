"""Maps of one to three variables."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lyapkit.systems.classical.building import Row, built_map, uniform
from lyapkit.systems.map import Map


def logistic(r: float = 4.0) -> Map:
    """Return the logistic map x ← r x (1 − x) (May 1976). At r = 4 the exponent is ln 2."""
    return built_map(
        lambda x: (r * x * (1 - x),),
        lambda x: ((r * (1 - 2 * x),),),
        uniform([0.05], [0.95]),
        f"logistic map (r={r:g})",
    )


def tent(mu: float = 2.0) -> Map:
    """Return the tent map x ← mu · min(x, 1 − x). The exponent is ln mu on every orbit.

    At mu = 2 orbits in binary floating point reach the fixed point 0 after some fifty steps, where the slope is
    the same.
    """
    return built_map(
        lambda x: (mu * torch.minimum(x, 1 - x),),
        lambda x: ((torch.where(x < 0.5, mu, -mu).to(x),),),
        uniform([0.0], [1.0]),
        f"tent map (mu={mu:g})",
    )


def cat() -> Map:
    """Return Arnold's cat map (x, y) ← (2x + y, x + y) mod 1. The exponents are ±ln((3 + √5)/2)."""
    return built_map(
        lambda x, y: ((2 * x + y) % 1.0, (x + y) % 1.0),
        lambda x, y: ((2.0, 1.0), (1.0, 1.0)),
        uniform([0.0, 0.0], [1.0, 1.0]),
        "cat map",
    )


def baker(a: float = 0.5) -> Map:
    """Return the baker's map: x ← 2x mod 1, y ← a·y, plus 1 − a in the right half. The exponents are ln 2 and ln a."""

    def step(x: Tensor, y: Tensor) -> Row:
        right = (x >= 0.5).to(x)
        return 2 * x - right, a * y + right * (1 - a)

    return built_map(
        step, lambda x, y: ((2.0, 0.0), (0.0, a)), uniform([0.0, 0.0], [1.0, 1.0]), f"baker's map (a={a:g})"
    )


def henon(a: float = 1.4, b: float = 0.3) -> Map:
    """Return the Hénon map (x, y) ← (1 − a x² + y, b x) (Hénon 1976).

    Exponents 0.41922 and −1.62319 (Sprott 2003); their sum is ln b exactly.
    """
    return built_map(
        lambda x, y: (1 - a * x * x + y, b * x),
        lambda x, y: ((-2 * a * x, 1.0), (b, 0.0)),
        uniform([-0.1, -0.1], [0.1, 0.1]),
        f"Hénon map (a={a:g}, b={b:g})",
        n_settling=200,
    )


def lozi(a: float = 1.7, b: float = 0.5) -> Map:
    """Return the Lozi map (x, y) ← (1 − a|x| + y, b x) (Lozi 1978).

    Exponents 0.47023 and −1.16338 (Sprott 2003); their sum is ln b exactly.
    """
    return built_map(
        lambda x, y: (1 - a * torch.abs(x) + y, b * x),
        lambda x, y: ((-a * torch.sign(x), 1.0), (b, 0.0)),
        uniform([-0.1, -0.1], [0.1, 0.1]),
        f"Lozi map (a={a:g}, b={b:g})",
        n_settling=200,
    )


def ikeda(u: float = 0.9, a: float = 0.4, b: float = 6.0) -> Map:
    """Return the Ikeda map z ← 1 + u z exp(i (a − b/(1 + x² + y²))), z = x + i y (Ikeda 1979; Hammel et al. 1985).

    Exponents 0.50760 and −0.71832 (Sprott 2003); their sum is 2 ln u exactly.
    """

    def turned(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = 1 + x * x + y * y
        angle = a - b / size
        return torch.cos(angle), torch.sin(angle), 2 * b / (size * size)

    def step(x: Tensor, y: Tensor) -> Row:
        cos, sin, _ = turned(x, y)
        return 1 + u * (x * cos - y * sin), u * (x * sin + y * cos)

    def jacobian(x: Tensor, y: Tensor) -> tuple[Row, Row]:
        cos, sin, shear = turned(x, y)
        real, imaginary = u * (x * cos - y * sin), u * (x * sin + y * cos)
        return (
            (u * cos - imaginary * shear * x, -u * sin - imaginary * shear * y),
            (u * sin + real * shear * x, u * cos + real * shear * y),
        )

    return built_map(
        step, jacobian, uniform([0.0, -0.5], [0.5, 0.0]), f"Ikeda map (u={u:g}, a={a:g}, b={b:g})", n_settling=200
    )


def tinkerbell(a: float = 0.9, b: float = -0.6, c: float = 2.0, d: float = 0.5) -> Map:
    """Return the tinkerbell map (x, y) ← (x² − y² + a x + b y, 2xy + c x + d y) (Nusse & Yorke 1998).

    Exponents 0.18997 and −0.52091 (Sprott 2003).
    """
    return built_map(
        lambda x, y: (x * x - y * y + a * x + b * y, 2 * x * y + c * x + d * y),
        lambda x, y: ((2 * x + a, -2 * y + b), (2 * y + c, 2 * x + d)),
        uniform([-0.01, 0.49], [0.01, 0.51]),
        f"tinkerbell map (a={a:g}, b={b:g}, c={c:g}, d={d:g})",
        n_settling=200,
    )


def folded_towel() -> Map:
    """Return the folded-towel map of three variables, the first one with two positive exponents (Rössler 1979).

    Two exponents are 0.43 and 0.38 (Datseris & Parlitz 2022); a run of two million steps gives 0.430, 0.377, −3.301.
    """

    def step(x: Tensor, y: Tensor, z: Tensor) -> Row:
        return (
            3.8 * x * (1 - x) - 0.05 * (y + 0.35) * (1 - 2 * z),
            0.1 * ((y + 0.35) * (1 - 2 * z) - 1) * (1 - 1.9 * x),
            3.78 * z * (1 - z) + 0.2 * y,
        )

    def jacobian(x: Tensor, y: Tensor, z: Tensor) -> tuple[Row, Row, Row]:
        return (
            (3.8 * (1 - 2 * x), -0.05 * (1 - 2 * z), 0.1 * (y + 0.35)),
            (
                -0.19 * ((y + 0.35) * (1 - 2 * z) - 1),
                0.1 * (1 - 2 * z) * (1 - 1.9 * x),
                -0.2 * (y + 0.35) * (1 - 1.9 * x),
            ),
            (0.0, 0.2, 3.78 * (1 - 2 * z)),
        )

    draw = uniform([0.08, -0.12, 0.07], [0.09, -0.11, 0.08])
    return built_map(step, jacobian, draw, "folded-towel map", n_settling=200)


def standard(k: float = 6.0) -> Map:
    """Return Chirikov's standard map p ← p + k sin θ, θ ← θ + p (mod 2π), state (θ, p) (Chirikov 1979).

    The exponents sum to 0. For large k the largest one is close to ln(k/2).
    """

    def step(angle: Tensor, momentum: Tensor) -> Row:
        momentum = momentum + k * torch.sin(angle)
        return (angle + momentum) % math.tau, momentum % math.tau

    def jacobian(angle: Tensor, momentum: Tensor) -> tuple[Row, Row]:
        slope = k * torch.cos(angle)
        return (1 + slope, 1.0), (slope, 1.0)

    return built_map(step, jacobian, uniform([0.0, 0.0], [math.tau, math.tau]), f"standard map (k={k:g})")


def standard_nontwist(a: float = 0.615, b: float = 0.4) -> Map:
    """Return the standard nontwist map y ← y − b sin 2πx, x ← x + a (1 − y²) (mod 1) (del-Castillo-Negrete 1996).

    The exponents sum to 0. On the tori around y = 0, where it starts, both are 0; at the fixed point (0, 1) they are
    ± arcosh(1 + 2πab).
    """

    def step(x: Tensor, y: Tensor) -> Row:
        y = y - b * torch.sin(math.tau * x)
        return (x + a * (1 - y * y)) % 1.0, y

    def jacobian(x: Tensor, y: Tensor) -> tuple[Row, Row]:
        slope = -math.tau * b * torch.cos(math.tau * x)
        shear = -2 * a * (y - b * torch.sin(math.tau * x))
        return (1 + shear * slope, shear), (slope, 1.0)

    draw = uniform([0.0, -0.01], [1.0, 0.01])
    return built_map(step, jacobian, draw, f"standard nontwist map (a={a:g}, b={b:g})")
