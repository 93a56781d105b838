"""`network_grid`: untrained networks for all combinations of settings, to be trained as one ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from lyapkit.models import build_network, residuals
from lyapkit.models.architectures import ARCHITECTURES
from lyapkit.models.network import Network
from lyapkit.models.residuals import Residual
from lyapkit.tasks.task import Task

SHAPES = ("identity", "rotation", "heterogeneous", "orthogonal")


def network_grid(
    architecture: str,
    task: Task,
    hidden_size: int = 100,
    *,
    shape: str = "identity",
    radii: Sequence[float] = (),
    frequencies: Sequence[float] = (),
    spreads: Sequence[float] = (),
    couplings: Sequence[float] = (),
    n_seeds: int = 1,
) -> tuple[list[Network], list[dict[str, float]]]:
    """Return a network for every combination of settings and weight seeds, and what its settings are.

    Parameters
    ----------
    architecture : str
        As for `build_network`.
    task : Task
        Gives the number of inputs and outputs.
    hidden_size : int
        Units N.
    shape : "identity", "rotation", "heterogeneous" or "orthogonal"
        Of the residual of a weakly coupled network: r·I, rotations by one frequency, radii within r ± spread, or r
        times a random orthogonal matrix. The weight seed draws radii and matrices, too.
    radii, frequencies, spreads, couplings : sequence of float
        Values of r (default 1), ω in rad per step, ε, and α (default 0.01).
    n_seeds : int
        Weight seeds 0, 1, …

    Returns
    -------
    networks : list of Network
    settings : list of dict
        The same order: names to values, those that were given and `seed`.

    Raises
    ------
    ValueError
        If the shape is unknown, a value it needs is missing or one is given that it does not have, or the architecture
        has no residual.
    """
    if n_seeds < 1:
        raise ValueError(f"the number of seeds must be at least 1, got {n_seeds}")
    given = {"radius": radii, "frequency": frequencies, "spread": spreads, "coupling": couplings}
    entry = ARCHITECTURES.get(architecture)
    if entry is None or not entry.has_residual:
        if shape != "identity" or any(given.values()):
            build_network(architecture, 1, hidden_size, 1)  # raises if it is unknown
            raise ValueError(f"{architecture} has no residual and no coupling to choose")
        given = {}
    else:
        needed = {"identity": None, "rotation": "frequency", "heterogeneous": "spread", "orthogonal": None}
        if shape not in needed:
            raise ValueError(f"unknown residual {shape!r}, expected one of {', '.join(SHAPES)}")
        for name in ("frequency", "spread"):
            if bool(given[name]) != (needed[shape] == name):
                raise ValueError(f"a residual of shape {shape} {'needs' if needed[shape] == name else 'has no'} {name}")
        given = {
            "radius": radii or (1.0,),
            "coupling": couplings or (0.01,),
            **{name: given[name] for name in ("frequency", "spread") if given[name]},
        }
    settings: list[dict[str, Any]] = [
        dict(zip([*given, "seed"], values, strict=True)) for values in product(*given.values(), range(n_seeds))
    ]
    sizes = task.input_size, hidden_size, task.output_size
    networks = []
    for own in settings:
        weakly: dict[str, Any] = (
            {"residual": _residual(shape, hidden_size, own), "coupling": own["coupling"]} if given else {}
        )
        networks.append(build_network(architecture, *sizes, **weakly, seed=int(own["seed"])))
    return networks, settings


def _residual(shape: str, n: int, settings: dict[str, Any]) -> Residual:
    radius, seed = settings["radius"], int(settings["seed"])
    if shape == "rotation":
        return residuals.rotation(n, settings["frequency"], radius)
    if shape == "heterogeneous":
        return residuals.heterogeneous(n, radius, settings["spread"], seed)
    if shape == "orthogonal":
        return residuals.orthogonal(n, seed, radius)
    return residuals.scaled_identity(n, radius)
