"""Textbook systems, most with known exponents, started on their attractors.

Every function returns a `System`; its parameters default to the values for which exponents are usually quoted.
"""

from lyapkit.systems.classical.delays import mackey_glass
from lyapkit.systems.classical.flows import chua, hindmarsh_rose, lorenz, lorenz84, lorenz96, rossler
from lyapkit.systems.classical.lattices import CoupledMapLattice
from lyapkit.systems.classical.maps import (
    baker,
    cat,
    folded_towel,
    henon,
    ikeda,
    logistic,
    lozi,
    standard,
    standard_nontwist,
    tent,
    tinkerbell,
)
from lyapkit.systems.classical.mechanics import double_pendulum, henon_heiles
from lyapkit.systems.classical.networks import RandomNetwork
from lyapkit.systems.classical.oscillators import duffing, kuramoto, van_der_pol

__all__ = [
    "CoupledMapLattice",
    "RandomNetwork",
    "baker",
    "cat",
    "chua",
    "double_pendulum",
    "duffing",
    "folded_towel",
    "henon",
    "henon_heiles",
    "hindmarsh_rose",
    "ikeda",
    "kuramoto",
    "logistic",
    "lorenz",
    "lorenz84",
    "lorenz96",
    "lozi",
    "mackey_glass",
    "rossler",
    "standard",
    "standard_nontwist",
    "tent",
    "tinkerbell",
    "van_der_pol",
]
