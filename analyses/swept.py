"""The sweeps that `expressivity.py` trains: what varies from cell to cell, and which networks that makes.

Values that the paper does not state are marked as chosen. The scale full-length has those of the scale paper.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

import lyapkit as lk
from lyapkit.models import ARCHITECTURES

Weights = tuple[lk.Residual, float | np.ndarray]  # residual and coupling

INFORMED = {"radius": (0.98, 1.0), "frequency": (0.0, np.pi / 4), "coupling": (0.001, 0.02)}  # chosen, Section 4.3
RADII = (0.90, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0, 1.005, 1.01, 1.02)
QUICK_RADII = (0.95, 0.97, 0.98, 0.99, 0.995, 1.0, 1.005, 1.01)
MULTIPLES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)  # of the characteristic frequency
QUICK_MULTIPLES = (0.0, 0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 2.5)
LONG_MULTIPLES = (0.0, 1.0, 1.5)  # at the scale quick: none, the characteristic one, and one that does harm
SPREADS, SPREAD_AROUND = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05), 0.98
CRITICAL_SPREADS = (0.0, 0.01, 0.02)  # around 1, at the scale quick
COUPLINGS = (0.001, 0.003, 0.01, 0.03, 0.1)
RESIDUALS = ("homogeneous", "heterogeneous radii", "heterogeneous frequencies", "orthogonal", "heterogeneous")


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A parameter of networks, its values, and what else its networks have of their own.

    Attributes
    ----------
    dim : str
        The parameter, a dimension of the file; ``network`` is that of weight seeds.
    values : dict
        Scale to values; all scales but quick have those of paper. Frequencies are multiples of the task's own.
    weights : callable, optional
        ``weights(n, value, seed, radius, coupling)``, residual and coupling; the last two are used where they are not
        swept. None where the architecture is what is swept.
    architecture : str
        Of the networks.
    length : dict
        Scale to the share of a task's iterations, where it is not all of them; of images, not of the adding problem.
    rate : dict
        Scale to the learning rate, where it is not the task's; chosen.
    clips : bool
        Whether gradients are no longer than 1.
    n_networks : int, optional
        Weight seeds, where they are not those of the scale.
    measured : int
        First networks that are analysed before and after training, on every task.
    """

    dim: str
    values: dict[str, tuple]
    weights: Callable[[int, float | str, int, float, float], Weights] | None
    architecture: str = "wcrnn"
    length: dict[str, float] = dataclasses.field(default_factory=dict)
    rate: dict[str, float] = dataclasses.field(default_factory=dict)
    clips: bool = False
    n_networks: int | None = None
    measured: int = 0


def scaled(n: int, value: float, seed: int, radius: float, coupling: float) -> Weights:
    """Return r·I with the radius `value`."""
    return lk.residuals.scaled_identity(n, value), coupling


def rotated(n: int, value: float, seed: int, radius: float, coupling: float) -> Weights:
    """Return rotations by the frequency `value`."""
    return lk.residuals.rotation(n, value, radius), coupling


def spread(n: int, value: float, seed: int, radius: float, coupling: float) -> Weights:
    """Return radii that are uniform within `value` of the usual one."""
    return lk.residuals.heterogeneous(n, SPREAD_AROUND, value, seed), coupling


def spread_around_one(n: int, value: float, seed: int, radius: float, coupling: float) -> Weights:
    """Return radii that are uniform within `value` of 1."""
    return lk.residuals.heterogeneous(n, 1.0, value, seed), coupling


def coupled(n: int, value: float, seed: int, radius: float, coupling: float) -> Weights:
    """Return r·I with the coupling `value`."""
    return lk.residuals.scaled_identity(n, radius), value


def named(n: int, value: str, seed: int, radius: float, coupling: float) -> Weights:
    """Return residual and coupling of Section 4.3 and of Figure 4D; the informed ranges are chosen, see INFORMED."""
    rng = np.random.default_rng(seed)
    radii, frequencies = rng.uniform(*INFORMED["radius"], n), rng.uniform(*INFORMED["frequency"], n // 2)
    couplings = rng.uniform(*INFORMED["coupling"], n)
    if value == "heterogeneous":  # everything at once
        return lk.residuals.rotation(n, frequencies, radii), couplings
    residual = {
        "homogeneous": lambda: lk.residuals.scaled_identity(n, radius),
        "heterogeneous radii": lambda: lk.Residual(radii),
        "heterogeneous frequencies": lambda: lk.residuals.rotation(n, frequencies, radius),
        "orthogonal": lambda: lk.residuals.orthogonal(n, seed, radius),
    }[value]()
    return residual, coupling


def everywhere(values: tuple) -> dict[str, tuple]:
    """Return the same values at every scale."""
    return {"quick": values, "paper": values}


def supercritical(radii: tuple[float, ...]) -> tuple[float, ...]:
    """Return those above 1."""
    return tuple(radius for radius in radii if radius > 1)


QUARTER = {"full-length": 0.25, "paper": 0.25}  # frequencies show most after a short training (Section 4.2)
RADIUS = Sweep("radius", {"quick": QUICK_RADII, "paper": RADII}, scaled)
FREQUENCY = Sweep("frequency", {"quick": QUICK_MULTIPLES, "paper": MULTIPLES}, rotated, length=QUARTER)
SPREAD = Sweep("spread", everywhere(SPREADS), spread)
TWO_RESIDUALS = Sweep("residual", everywhere(("homogeneous", "heterogeneous")), named)
CLIPPED = {"quick": supercritical(QUICK_RADII), "paper": supercritical(RADII)}
SHORT = {"quick": (), "paper": tuple(radius for radius in QUICK_RADII if radius < 1.01)}  # at 784 steps
LONG = {"quick": LONG_MULTIPLES, "paper": MULTIPLES}
SWEEPS = {
    "radius": RADIUS,
    "radius-a": dataclasses.replace(RADIUS, architecture="wcrnn-a"),
    "radius-b": dataclasses.replace(RADIUS, architecture="wcrnn-b"),
    "radius-clipped": dataclasses.replace(RADIUS, values=CLIPPED, clips=True),
    "radius-slower": dataclasses.replace(RADIUS, rate={"quick": 0.1}, n_networks=5, measured=3),
    "radius-short": dataclasses.replace(RADIUS, values=SHORT, length={"full-length": 10 / 44}, measured=1),
    "frequency": FREQUENCY,
    "frequency-a": dataclasses.replace(FREQUENCY, architecture="wcrnn-a"),
    "frequency-b": dataclasses.replace(FREQUENCY, architecture="wcrnn-b"),
    "frequency-long": dataclasses.replace(FREQUENCY, values=LONG, length={"quick": 4.0}),
    "spread": SPREAD,
    "spread-a": dataclasses.replace(SPREAD, architecture="wcrnn-a"),
    "spread-b": dataclasses.replace(SPREAD, architecture="wcrnn-b"),
    "spread-critical": Sweep("spread", {"quick": CRITICAL_SPREADS, "paper": SPREADS}, spread_around_one),
    "coupling": Sweep("coupling", everywhere(COUPLINGS), coupled),
    "residual": dataclasses.replace(TWO_RESIDUALS, values=everywhere(RESIDUALS)),
    "residual-a": dataclasses.replace(TWO_RESIDUALS, architecture="wcrnn-a"),
    "residual-b": dataclasses.replace(TWO_RESIDUALS, architecture="wcrnn-b"),
    "architecture": Sweep("architecture", everywhere(tuple(ARCHITECTURES)), None, length={"quick": 0.5}),
}
