"""What claims share: how they are registered, judged and worded, and the datasets they ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import fig2
import xarray as xr
from drawing import Datasets, Source, sweep

SEEN, NOT_SEEN, NOT_YET = "seen", "not seen", "not yet at this scale"
SOURCES = {
    "before": fig2.SOURCE,
    "mixed": Source("heterogeneous.nc", "python analyses/heterogeneous.py", "half an hour", ("spread", "decay_rate")),
    "modulation": Source("modulation.nc", "python analyses/modulation.py", "5 minutes", ("alignment", "frequency")),
    "power": Source(
        "power_spectra.nc", "python analyses/power_spectra.py", "half a minute", ("characteristic_frequency",)
    ),
    **{
        f"{task}_{name}": sweep(task, name, "")
        for task in ("smnist", "psmnist", "scifar10", "add50", "add100", "add200")
        for name in (
            *("radius", "radius-a", "radius-b", "radius-clipped", "frequency", "frequency-a", "frequency-b"),
            *("frequency-long", "residual", "residual-a", "residual-b", "spread", "spread-critical", "coupling"),
            "architecture",
        )
    },
}
Verdict = tuple[str, str]
REGISTERED: list[Claim] = []


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, and what is asked of the data.

    Attributes
    ----------
    section : str
        Where it stands.
    text : str
        What it says.
    needs : tuple of str
        Names of datasets.
    ask : callable
        Returns verdict and evidence of these datasets.
    """

    section: str
    text: str
    needs: tuple[str, ...]
    ask: Callable[..., Verdict]

    def verdict(self, datasets: Datasets) -> Verdict:
        """Return verdict and evidence; that data are missing, if they are."""
        if missing := [name for name in self.needs if name not in datasets]:
            return NOT_YET, "missing: " + ", ".join(SOURCES[name].path for name in missing)
        return self.ask(*(datasets[name] for name in self.needs))


def claim(section: str, text: str, *needs: str) -> Callable[[Callable[..., Verdict]], Callable[..., Verdict]]:
    """Register a claim; the function below it gives verdict and evidence, of the datasets that it needs."""

    def add(ask: Callable[..., Verdict]) -> Callable[..., Verdict]:
        REGISTERED.append(Claim(section, text, needs, ask))
        return ask

    return add


def judged(is_seen: bool, evidence: str) -> Verdict:
    """Return a verdict in words, with its evidence."""
    return SEEN if is_seen else NOT_SEEN, evidence


def all_judged(cases: Iterable[tuple[bool, str]], about: str = "") -> Verdict:
    """Return the verdict on a claim that must hold in every case: whether it does, and the evidence, of each."""
    found, evidence = zip(*cases, strict=True)
    return judged(all(found), about + "; ".join(evidence))


def per_value(values: xr.DataArray, form: str = ".3f") -> str:
    """Return a number per swept value as text: mean over networks, if there are several."""
    (dim,) = (dim for dim in values.dims if dim != "network")
    mean = values.mean("network") if "network" in values.dims else values
    names = [name if isinstance(name, str) else f"{name:.4g}" for name in values[dim].values.tolist()]
    return ", ".join(f"{name}: {float(one):{form}}" for name, one in zip(names, mean.values, strict=True))
