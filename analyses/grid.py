"""What `expressivity.py` trains: sweeps, their values, the networks of their cells, and how each task is learnt.

Values that the paper does not state are marked as chosen.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

import lyapkit as lk
from lyapkit.models import ARCHITECTURES, build_network
from lyapkit.models.network import Network
from lyapkit.sweeps import Cell
from lyapkit.tasks import Task, task

ROW = 2 * np.pi  # divided by the length of a row of pixels: the characteristic frequency of images
COUPLING = 0.01
INFORMED = {"radius": (0.98, 1.0), "frequency": (0.0, np.pi / 4), "coupling": (0.001, 0.02)}  # chosen, Section 4.3
RADII = (0.90, 0.95, 0.97, 0.98, 0.99, 0.995, 1.0, 1.005, 1.01, 1.02)
MULTIPLES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)  # of the characteristic frequency
SPREADS, SPREAD_AROUND = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05), 0.98
CRITICAL_SPREADS = (0.0, 0.01, 0.02)  # around 1, at the scale quick
COUPLINGS = (0.001, 0.003, 0.01, 0.03, 0.1)
RESIDUALS = ("homogeneous", "heterogeneous radii", "heterogeneous frequencies", "orthogonal", "heterogeneous")
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
    ("radius-slower", "smnist"),
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


QUICK_RADII = (0.95, 0.97, 0.98, 0.99, 0.995, 1.0, 1.005, 1.01)
QUICK_MULTIPLES = (0.0, 0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 2.5)
LONG_MULTIPLES = (0.0, 1.0, 1.5)  # at the scale quick: none, the characteristic one, and one that does harm
N_NETWORKS = {"quick": 3, "full-length": 3, "paper": 5}  # weight seeds
CHOSEN_RATES = {("quick", "radius-slower"): 0.1}  # by scale and sweep: a third of what others have
MOMENTUM = 0.9  # chosen; the adding problem has one of its own
_MNIST = Settings("smnist/2", 4 * 468, 128, 0.3, 117, 2000)
_ADD = Settings("add100", 12_000, 64, 0.05, 250, 1000)
OWN_RATES = {  # learning rates of architectures, by task, where that of others does not suit; see `learning_rate.py`
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
    "full-length": {"smnist": Settings("smnist", 44 * 468, 128, 0.03, 117, 2000)},
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
    "paper": (1000, 100),
}  # samples, and those of them along which exponents are taken
N_EIGENVALUES = 5
ADDING = {"momentum": 0.99, "stop_at_minimal_performance": True}  # the adding problem needs, and is for, no more


def settings_of(scale: str, task_name: str, sweep: str) -> Settings:
    """Return how a task is learnt in a sweep.

    Frequencies show most after a short training (Section 4.2): at the scale paper a quarter of the iterations, and four
    times as many in the sweep "frequency-long". Gated networks take long: at the scale quick half as many on images.
    """
    settings, factor = SETTINGS[scale][task_name], 1.0
    if scale == "quick":
        halved = sweep == "architecture" and not task_name.startswith("add")
        factor = 0.5 if halved else 4.0 if sweep == "frequency-long" else 1.0
    elif sweep.startswith("frequency") and sweep != "frequency-long":
        factor = 0.25
    rate = CHOSEN_RATES.get((scale, sweep), settings.learning_rate)
    return dataclasses.replace(settings, n_iterations=int(factor * settings.n_iterations), learning_rate=rate)


def values(sweep: str, settings: Settings, scale: str) -> tuple:
    """Return the values of the swept parameter."""
    name, _, variant = sweep.partition("-")
    is_quick = scale == "quick"
    if name == "radius":
        radii = QUICK_RADII if is_quick else RADII
        return tuple(radius for radius in radii if radius > 1) if variant == "clipped" else radii
    if name == "frequency":
        the_task = cached_task(settings.task)
        multiples = (LONG_MULTIPLES if variant == "long" else QUICK_MULTIPLES) if is_quick else MULTIPLES
        return tuple(round(multiple * ROW / the_task.row_length, 6) for multiple in multiples)
    if name == "spread":
        return CRITICAL_SPREADS if variant == "critical" and is_quick else SPREADS
    if name == "residual":
        return ("homogeneous", "heterogeneous") if variant else RESIDUALS
    return {"coupling": COUPLINGS, "architecture": tuple(ARCHITECTURES)}[name]


def build(sweep: str, value: float | str, seed: int, settings: Settings) -> Network:
    """Return the untrained network of a cell."""
    the_task, n = cached_task(settings.task), settings.hidden_size
    sizes = the_task.input_size, n, the_task.output_size
    if sweep == "architecture":
        if value.startswith("wcrnn"):
            residual = lk.residuals.scaled_identity(n, settings.radius)
            return build_network(value, *sizes, residual=residual, coupling=settings.coupling, seed=seed)
        return build_network(value, *sizes, seed=seed)
    name, _, variant = sweep.partition("-")
    coupling = settings.coupling
    if name == "radius":
        residual = lk.residuals.scaled_identity(n, value)
    elif name == "frequency":
        residual = lk.residuals.rotation(n, value, settings.radius)
    elif name == "spread":
        residual = lk.residuals.heterogeneous(n, 1.0 if variant == "critical" else SPREAD_AROUND, value, seed)
    elif name == "coupling":
        residual, coupling = lk.residuals.scaled_identity(n, settings.radius), value
    else:
        residual, coupling = named_residual(value, n, seed, settings)
    architecture = f"wcrnn-{variant}" if variant in ("a", "b") else "wcrnn"
    return build_network(architecture, *sizes, residual=residual, coupling=coupling, seed=seed)


def named_residual(name: str, n: int, seed: int, settings: Settings) -> tuple[lk.Residual, float | np.ndarray]:
    """Return residual and coupling of Section 4.3 and of Figure 4D; the informed ranges are chosen, see INFORMED."""
    rng = np.random.default_rng(seed)
    radii, frequencies = rng.uniform(*INFORMED["radius"], n), rng.uniform(*INFORMED["frequency"], n // 2)
    couplings = rng.uniform(*INFORMED["coupling"], n)
    if name == "heterogeneous":  # everything at once
        return lk.residuals.rotation(n, frequencies, radii), couplings
    residual = {
        "homogeneous": lambda: lk.residuals.scaled_identity(n, settings.radius),
        "heterogeneous radii": lambda: lk.Residual(radii),
        "heterogeneous frequencies": lambda: lk.residuals.rotation(n, frequencies, settings.radius),
        "orthogonal": lambda: lk.residuals.orthogonal(n, seed, settings.radius),
    }[name]()
    return residual, settings.coupling


@functools.lru_cache(maxsize=4)
def cached_task(name: str) -> Task:
    """Return a task, loaded once per process."""
    return task(name)


def options_of(sweep: str, value: float | str, settings: Settings) -> dict:
    """Return the options of `train` for a cell."""
    is_other = sweep == "architecture" and not value.startswith("wcrnn")  # gated and uncoupled networks need it
    clips = is_other or sweep.endswith("-clipped")
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
    n_networks = 5 if sweep.endswith("-slower") else N_NETWORKS[scale]
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
    if cell["sweep"] == "radius-slower" and cell["network"] < 3:
        return [0, settings.n_iterations]
    is_chosen = (cell["sweep"], settings.task.partition("/")[0]) in MEASURED and cell["scale"] in N_MEASURED
    if cell["network"] or not is_chosen:
        return []
    return [0, settings.n_iterations // 10, settings.n_iterations]
