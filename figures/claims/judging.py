"""What claims share: how they are registered, judged and worded, and the datasets they ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from figures import fig2, hessians
from figures.claims.statistics import MIN_NETWORKS, Effect
from figures.drawing import Datasets, Source, chosen, sweep

SEEN, NOT_SEEN, UNDECIDED, NOT_YET = "seen", "not seen", "undecided", "not yet at this scale"
LEVEL, LEVEL_OF_SEVERAL = 0.025, 0.05  # of p-values; where several independent data must agree
SOURCES = {
    "before": fig2.SOURCE,
    **{f"curvature_{name}": source for name, source in hessians.SOURCES.items()},
    "mixed": Source("heterogeneous.nc", "python analyses/heterogeneous.py", "half an hour", ("spread", "decay_rate")),
    "modulation": Source("modulation.nc", "python analyses/modulation.py", "5 minutes", ("alignment", "frequency")),
    "power": Source(
        "power_spectra.nc", "python analyses/power_spectra.py", "half a minute", ("characteristic_frequency",)
    ),
    "rates_coupling": Source(
        "learning_rate/quick/smnist_coupling.nc",
        "python analyses/learning_rate.py --task smnist --sweep coupling",
        "a core hour",
        ("iterations_to_minimal_performance", "learning_rate", "coupling", "network"),
    ),
    "eq13": Source("eq13.nc", "python analyses/eq13.py", "8 core hours", ("largest_exponent", "model", "coupling")),
    **{
        f"{task}_{name}": sweep(task, name, "")
        for task in ("smnist", "psmnist", "scifar10", "add50", "add100", "add200", "add400", "add800")
        for name in (
            *("radius", "radius-slower", "radius-a", "radius-b", "radius-clipped"),
            *("frequency", "frequency-a", "frequency-b", "frequency-long"),
            *("residual", "residual-a", "residual-b", "spread", "spread-a", "spread-b", "spread-critical", "coupling"),
            "architecture",
        )
    },
}
Verdict = tuple[str, str]
Data = tuple[xr.Dataset, ...]
Shuffle = Callable[[Data, np.random.Generator], Data]
REGISTERED: list[Claim] = []


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, and what is asked of the data.

    Attributes
    ----------
    section, text : str
        Where it stands, and what it says.
    needs : tuple of str
        Names of datasets.
    ask : callable
        Returns verdict and evidence of these datasets; its docstring is the criterion.
    shuffled : callable
        Returns datasets in which nothing is left of what the claim says, by chance: ``shuffled(datasets, rng)``.
    synthetic : callable
        Returns datasets of which the claim is true: ``synthetic(rng)``.
    """

    section: str
    text: str
    needs: tuple[str, ...]
    ask: Callable[..., Verdict]
    shuffled: Shuffle
    synthetic: Callable[[np.random.Generator], Data]

    def data(self, folder: Path) -> dict[str, xr.Dataset]:
        """Return those datasets of a folder that are asked, trainings at the largest scale that is there."""
        return chosen({name: SOURCES[name] for name in self.needs}, folder)

    def verdict(self, datasets: Datasets) -> Verdict:
        """Return verdict and evidence; that data are missing, if they are."""
        if missing := [name for name in self.needs if name not in datasets]:
            return NOT_YET, "missing: " + ", ".join(SOURCES[name].path for name in missing)
        return self.ask(*(datasets[name] for name in self.needs))


def claim(
    section: str, text: str, *needs: str, shuffled: Shuffle, synthetic: Callable[[np.random.Generator], Data]
) -> Callable[[Callable[..., Verdict]], Callable[..., Verdict]]:
    """Register a claim; the function below it gives verdict and evidence, of the datasets that it needs."""

    def add(ask: Callable[..., Verdict]) -> Callable[..., Verdict]:
        REGISTERED.append(Claim(section, text, needs, ask, shuffled, synthetic))
        return ask

    return add


def judged(effects: Iterable[Effect], about: str = "", also: str = "", level: float = LEVEL) -> Verdict:
    """Return the verdict on a claim that asks for all of these effects, and their numbers.

    *Seen*: every effect is at least as large as the smallest that counts, its interval is above 0, and its p-value is
    at most 0.025, or 0.05 where effects of several independent data must all be there. *Not seen*: the interval of one
    of them is below the smallest that counts. *Undecided*: else, and where there are fewer than three networks, or too
    few that learnt.

    If the verdict were another one with half or twice the smallest effects that count, the evidence says so.
    """
    effects = list(effects)
    verdict = _verdict(effects, level)
    evidence = about + "; ".join(map(str, effects)) + (f"; {also}" if also else "")
    for factor, said in ((0.5, "half"), (2.0, "twice")):
        other = _verdict([replace(one, smallest=factor * one.smallest) for one in effects], level)
        if other != verdict:
            evidence += f"; the verdict hangs on a threshold: {other} if {said} the effect counted"
    return verdict, evidence


def _verdict(effects: list[Effect], level: float) -> str:
    found = [judged_alone(effect, level) for effect in effects]
    return NOT_SEEN if NOT_SEEN in found else UNDECIDED if UNDECIDED in found else SEEN


def judged_alone(effect: Effect, level: float) -> str:
    """Return the verdict on one effect."""
    if effect.reason or effect.n_networks < MIN_NETWORKS:
        return UNDECIDED
    if effect.p is None:
        return SEEN if effect.low > effect.smallest else NOT_SEEN if effect.high < effect.smallest else UNDECIDED
    if effect.p <= level and effect.low > 0 and effect.size >= effect.smallest:
        return SEEN
    if effect.high < effect.smallest or (effect.p_opposite <= level and effect.high <= 0):
        return NOT_SEEN
    return UNDECIDED


def per_value(values: xr.DataArray, form: str = ".3f") -> str:
    """Return a number per swept value as text: median over networks, if there are several; never, where it is inf."""
    (dim,) = (dim for dim in values.dims if dim != "network")
    middle = values.median("network") if "network" in values.dims else values
    names = [name if isinstance(name, str) else f"{name:.4g}" for name in values[dim].values.tolist()]
    shown = (f"{float(one):{form}}" if np.isfinite(one) else "never" for one in middle.values)
    return ", ".join(f"{name}: {one}" for name, one in zip(names, shown, strict=True))
