"""Claims of Section 4.1 on longer and harder tasks, that wait for their trainings."""

from __future__ import annotations

import numpy as np
import xarray as xr

from figures.claims.judging import LEVEL_OF_SEVERAL, Data, Verdict, claim, judged
from figures.claims.radii import slowness
from figures.claims.statistics import contrast, within
from figures.claims.sweeps import regimes, scores
from figures.claims.synthetic import RADII, along, sweep
from figures.panels import task_name


@claim(
    "4.1",
    "Close to criticality is best on sCIFAR10",
    "scifar10_radius",
    shuffled=along("radius"),
    synthetic=lambda rng: (
        sweep(rng, "radius", RADII, score=lambda r: 0.4 if 0.989 < r < 1 else 0.2, task="scifar10/2", n_steps=256),
    ),
)
def near_critical_is_best_on_objects(scifar10: xr.Dataset) -> Verdict:
    """Expect mean best scores at 0.1 ≤ r^T < 1 over those farther below, by 0.01 and more."""
    place, table = regimes(scifar10), scores(scifar10)
    both = place["near"] | place["far"]
    name = f"{task_name(scifar10)}, best score of weakly subcritical networks minus those farther below"
    effect = contrast(place["near"][both], place["far"][both])
    return judged([within(name, table[both], effect, smallest=0.01)])


def _long(rng: np.random.Generator) -> Data:
    return tuple(
        sweep(rng, "radius", RADII, score=0.2, time=lambda r: 300 + 2e4 * abs(1 - r), task=f"add{n}", n_steps=n)
        for n in (400, 800)
    )


@claim(
    "4.1",
    "ADD400 and ADD800, too, are learnt later farther below criticality",
    "add400_radius",
    "add800_radius",
    shuffled=along("radius"),
    synthetic=_long,
)
def long_adding_is_slow(*sweeps: xr.Dataset) -> Verdict:
    """Expect iterations to minimal performance to rise with 1 − r: rank correlations of 0.3 and more."""
    return judged(map(slowness, sweeps), level=LEVEL_OF_SEVERAL)
