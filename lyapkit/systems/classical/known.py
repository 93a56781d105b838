"""Exponents of `classical` systems at their default parameters, as closed forms or the literature give them."""

from __future__ import annotations

import math
from typing import NamedTuple

SPROTT = "Sprott, Chaos and Time-Series Analysis, 2003"


class Known(NamedTuple):
    """Exponents that are known.

    Attributes
    ----------
    exponents : tuple of float
        In descending order, all or the first ones; nats per step, of flows per unit of time.
    rounding : float
        One unit of their last digit; 0 for closed forms.
    source : str
        Where they stand.
    """

    exponents: tuple[float, ...]
    rounding: float
    source: str


KNOWN = {
    "baker": Known((math.log(2), -math.log(2)), 0.0, "closed form"),
    "cat": Known((math.log((3 + math.sqrt(5)) / 2), -math.log((3 + math.sqrt(5)) / 2)), 0.0, "closed form"),
    "chua": Known((0.3271, 0.0, -2.5197), 1e-4, SPROTT),
    "duffing": Known((0.1572, 0.0, -0.4072), 1e-4, SPROTT),
    "folded_towel": Known((0.43, 0.38), 1e-2, "Datseris & Parlitz, Nonlinear Dynamics, 2022"),
    "henon": Known((0.41922, -1.62319), 1e-5, SPROTT),
    "ikeda": Known((0.50760, -0.71832), 1e-5, SPROTT),
    "kuramoto": Known((0.0, *[-1.0] * 9), 0.0, "closed form"),
    "logistic": Known((math.log(2),), 0.0, "closed form"),
    "lorenz": Known((0.9056, 0.0, -14.5723), 1e-4, SPROTT),
    "lozi": Known((0.47023, -1.16338), 1e-5, SPROTT),
    "rossler": Known((0.0714, 0.0, -5.3943), 1e-4, SPROTT),
    "tent": Known((math.log(2),), 0.0, "closed form"),
    "tinkerbell": Known((0.18997, -0.52091), 1e-5, SPROTT),
    "van_der_pol": Known((0.1932, 0.0, -2.0585), 1e-4, SPROTT),
}
"""By the name of the system."""
