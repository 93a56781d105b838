"""What `expressivity.py` trains: how each task is learnt, and the cells of its sweeps, which `swept` lists.

Values that the paper does not state are marked as chosen.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

import lyapkit as lk
from analyses.swept import SWEEPS
from lyapkit.models import ARCHITECTURES, build_network
from lyapkit.models.network import Network
from lyapkit.sweeps import Cell
from lyapkit.tasks import Task, task

ROW = 2 * np.pi  # divided by the length of a row of pixels: the characteristic frequency of images
COUPLING = 0.01
ORDER = (  # sweep and task, the most wanted first
    ("radius", "smnist"),
    ("radius", "psmnist"),
    ("frequency", "smnist"),
    ("frequency", "psmnist"),
    *(("radius", f"add{length}") for length in (100, 50, 200, 400, 800)),
    *(("residual", name) for name in ("smnist", "psmnist", "add100")),
    *((sweep, "smnist") for sweep in ("spread", "coupling")),
    *((f"{sweep}-{kind}", "smnist") for sweep in ("radius", "frequency") for kind in "ab"),
    ("frequency-long", "smnist"),
    *((sweep, "smnist") for sweep in ("radius-clipped", "spread-critical", "residual-a", "residual-b")),
    *(("architecture", name) for name in ("smnist", "psmnist", "add100", "scifar10")),
    ("radius", "scifar10"),
    *(("radius-slower", name) for name in ("smnist", "psmnist")),
    *(("radius-short", name) for name in ("smnist", "psmnist")),
    ("residual", "add200"),
    *((f"spread-{kind}", "smnist") for kind in "ab"),
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a task is learnt at a scale.

    Attributes
    ----------
    task : str
        With "/2" behind it where images are made smaller.
    n_iterations, batch_size, learning_rate : numbers
        Of the training; `learning_rate.py` keeps the sweep that chose the rate.
    evaluate_every, n_test_samples : int
        Of the learning curves.
    radius : float
        Of residuals whose radius is not swept; SPREAD_AROUND where its spread is.
    clip_norm : float, optional
        Longest gradient.
    """

    task: str
    n_iterations: int
    batch_size: int
    learning_rate: float
    evaluate_every: int
    n_test_samples: int | None
    hidden_size: int = 100
    radius: float = 0.99
    coupling: float = COUPLING
    clip_norm: float | None = None


N_NETWORKS = {"quick": 3, "full-length": 3, "paper": 5}  # weight seeds
MOMENTUM = 0.9  # chosen; the adding problem has one of its own
_MNIST = Settings("smnist/2", 4 * 468, 128, 0.3, 117, 2000)
_ADD = Settings("add100", 12_000, 64, 0.05, 250, 1000)
OWN_RATES = {  # learning rates of architectures and radii, by task, where that of others does not suit
    **{(name, radius): rate for name in ("smnist", "psmnist") for radius, rate in ((1.0, 0.01), (1.005, 0.0003))},
    ("smnist/2", "elman-residual"): 0.001,
    ("psmnist/2", "elman-residual"): 0.001,
    ("scifar10/2", "elman-residual"): 0.001,  # that of MNIST, not swept
    ("add100", "elman-residual"): 0.0001,
}
SETTINGS = {
    "quick": {
        "smnist": _MNIST,
        "psmnist": dataclasses.replace(_MNIST, task="psmnist/2"),
        "scifar10": Settings("scifar10/2", 4 * 390, 128, 0.1, 195, 2000),
        "add50": dataclasses.replace(_ADD, task="add50"),
        "add100": _ADD,
        **{f"add{length}": dataclasses.replace(_ADD, task=f"add{length}") for length in (200, 400, 800)},
    },
    "full-length": {name: Settings(name, 44 * 468, 128, 0.03, 117, 2000) for name in ("smnist", "psmnist")},
    "paper": {
        "smnist": Settings("smnist", 200 * 468, 128, 0.03, 117, None),
        "psmnist": Settings("psmnist", 200 * 468, 128, 0.03, 117, None),
        "scifar10": Settings("scifar10", 200 * 390, 128, 0.03, 195, None),
        **{
            f"add{length}": Settings(f"add{length}", 150 * 100, 128, 0.05, 100, None)
            for length in (50, 100, 200, 400, 800)
        },
    },
}
MEASURED = (("radius", "smnist"), ("spread", "smnist"), ("radius", "add100"))  # first networks also at checkpoints
N_MEASURED = {
    "quick": (250, 20),
    "full-length": (250, 20),
    "paper": (1000, 100),
}  # samples, and those of them along which exponents are taken
N_EIGENVALUES = 5
ADDING = {"momentum": 0.99, "stop_at_minimal_performance": True}  # the adding problem needs, and is for, no more


def settings_of(scale: str, task_name: str, sweep: str) -> Settings:
    """Return how a task is learnt in a sweep; only images are trained for a share of the iterations."""
    settings, chosen = SETTINGS[scale][task_name], SWEEPS[sweep]
    share = 1.0 if task_name.startswith("add") else chosen.length.get(scale, 1.0)
    rate = chosen.rate.get(scale, settings.learning_rate)
    return dataclasses.replace(settings, n_iterations=int(share * settings.n_iterations), learning_rate=rate)


def values(sweep: str, settings: Settings, scale: str) -> tuple:
    """Return the values of the swept parameter."""
    chosen = SWEEPS[sweep]
    found = chosen.values["quick" if scale == "quick" else "paper"]
    if chosen.dim == "frequency":
        row_length = cached_task(settings.task).row_length
        return tuple(round(multiple * ROW / row_length, 6) for multiple in found)
    return found


def build(sweep: str, value: float | str, seed: int, settings: Settings) -> Network:
    """Return the untrained network of a cell."""
    the_task, n, chosen = cached_task(settings.task), settings.hidden_size, SWEEPS[sweep]
    sizes = the_task.input_size, n, the_task.output_size
    if chosen.weights is not None:
        residual, coupling = chosen.weights(n, value, seed, settings.radius, settings.coupling)
        return build_network(chosen.architecture, *sizes, residual=residual, coupling=coupling, seed=seed)
    if not ARCHITECTURES[value].has_residual:
        return build_network(value, *sizes, seed=seed)
    residual = lk.residuals.scaled_identity(n, settings.radius)
    return build_network(value, *sizes, residual=residual, coupling=settings.coupling, seed=seed)


@functools.lru_cache(maxsize=4)
def cached_task(name: str) -> Task:
    """Return a task, loaded once per process."""
    return task(name)


def options_of(sweep: str, value: float | str, settings: Settings) -> dict:
    """Return the options of `train` for a cell."""
    chosen = SWEEPS[sweep]
    is_other = chosen.weights is None and not ARCHITECTURES[value].has_residual  # gated and uncoupled ones need it
    clips = is_other or chosen.clips
    return {
        "n_iterations": settings.n_iterations,
        "batch_size": settings.batch_size,
        "momentum": MOMENTUM,
        "minimal_performance": cached_task(settings.task).minimal_performance,
        **(ADDING if settings.task.startswith("add") else {}),
        "learning_rate": settings.learning_rate,
        "clip_norm": 1.0 if clips else settings.clip_norm,
        "evaluate_every": settings.evaluate_every,
        "n_test_samples": settings.n_test_samples,
    }


def cells_of(sweep: str, settings: Settings, scale: str) -> list[Cell]:
    """Return the cells of a sweep, all values for one weight seed before the next seed."""
    n_networks = SWEEPS[sweep].n_networks or N_NETWORKS[scale]
    return [
        {"sweep": sweep, "value": value, "network": seed, "scale": scale, "settings": as_pairs(own(value, settings))}
        for seed in range(n_networks)
        for value in values(sweep, settings, scale)
    ]


def own(value: float | str, settings: Settings) -> Settings:
    """Return settings with the learning rate of an architecture that has one of its own."""
    rate = OWN_RATES.get((settings.task, value), settings.learning_rate)
    return dataclasses.replace(settings, learning_rate=rate)


def as_pairs(settings: Settings) -> list[list]:
    """Return settings as JSON can hold them, for cells."""
    return [list(pair) for pair in dataclasses.asdict(settings).items()]


def measured_at(cell: Cell) -> list[int]:
    """Return the iterations at which the network of a cell is analysed; none for most cells."""
    settings = Settings(**dict(cell["settings"]))
    if cell["network"] < SWEEPS[cell["sweep"]].measured:
        return [0, settings.n_iterations]
    is_chosen = (cell["sweep"], settings.task.partition("/")[0]) in MEASURED and cell["scale"] in N_MEASURED
    if cell["network"] or not is_chosen:
        return []
    return [0, settings.n_iterations // 10, settings.n_iterations]
