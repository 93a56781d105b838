"""Claims of Section 4.1 on the coupling α: how large it may be, and whether it acts as a learning rate does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from figures.claims.judging import Data, Verdict, claim, judged
from figures.claims.statistics import MIN_NETWORKS, contrast, ranks, trend, unknown, within
from figures.claims.sweeps import scores, times
from figures.claims.synthetic import along, sweep

COUPLINGS = (0.001, 0.003, 0.01, 0.03, 0.1)


@claim(
    "4.1",
    "Too small and too large α make learning hard (Fig. S3)",
    "smnist_coupling",
    shuffled=along("coupling"),
    synthetic=lambda rng: (
        sweep(rng, "coupling", COUPLINGS, score={0.001: 0.2, 0.003: 0.7, 0.01: 0.8, 0.03: 0.7, 0.1: 0.2}),
    ),
)
def coupling_range(smnist: xr.Dataset) -> Verdict:
    """Expect α = 0.003 … 0.03 to score more than the weakest and than the strongest coupling, by 0.05 and more.

    Undecided if fewer than three of the values are learnt: then it is the learning rate that does not suit them.
    """
    table, middle = scores(smnist), np.flatnonzero((smnist["coupling"] >= 0.003) & (smnist["coupling"] <= 0.03))
    effects = [
        within(
            f"best score of α = 0.003 … 0.03 minus α = {alpha:g}",
            table[[*middle, end]],
            contrast(np.arange(len(middle)), np.array([len(middle)])),
            smallest=0.05,
            reason=_few_values(smnist),
        )
        for alpha, end in ((COUPLINGS[0], 0), (COUPLINGS[-1], -1))
    ]
    return judged(effects)


def _few_values(ds: xr.Dataset) -> str:
    reached = np.isfinite(times(ds)).any(axis=1)
    few = reached.sum() < MIN_NETWORKS
    return f"{int(reached.sum())} of {len(reached)} couplings are learnt at this learning rate" if few else ""


@claim(
    "4.1",
    "α acts on learning as a learning rate does",
    "smnist_coupling",
    shuffled=along("coupling"),
    synthetic=lambda rng: (sweep(rng, "coupling", COUPLINGS, time=lambda a: 1400 * (0.001 / a) ** 0.4),),
)
def coupling_is_a_rate(smnist: xr.Dataset) -> Verdict:
    """Expect iterations to minimal performance to fall as α grows: a rank correlation of 0.3 and more.

    Undecided if fewer than three of the values are learnt.
    """
    order, table = -np.log(smnist["coupling"].values), ranks(times(smnist))
    name = "rank correlation of iterations with −α"
    return judged([within(name, table, trend(order), smallest=0.3, reason=_few_values(smnist))])


POWERS = {"η": 0, "η α": 1, "η α²": 2}  # of α


def learnt_by_all(ds: xr.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log10 η and log10 α of the cells that all networks learn, and log10 of their times (cell, network)."""
    reached = ds["iterations_to_minimal_performance"].transpose("learning_rate", "coupling", "network")
    log_times = np.log10(reached.values)
    rate, coupling = np.meshgrid(np.log10(ds["learning_rate"]), np.log10(ds["coupling"]), indexing="ij")
    learnt = ~np.isnan(log_times).any(-1)
    return rate[learnt], coupling[learnt], log_times[learnt]


def pairs_of(rate: np.ndarray, coupling: np.ndarray, power: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of cells of different α whose η α^power is the same."""
    key = rate + power * coupling
    same = np.isclose(key[:, None], key, atol=0.1) & (coupling[:, None] < coupling - 0.1)
    return np.nonzero(same)


def shuffled_times(datasets: Data, rng: np.random.Generator) -> Data:
    """Shuffle how soon cells are learnt, within each network, among those that all networks learn."""
    (ds,) = datasets
    dims = ("learning_rate", "coupling", "network")
    reached = ds["iterations_to_minimal_performance"].transpose(*dims)
    values = reached.values.copy()
    learnt = ~np.isnan(values).any(-1)
    for network in range(values.shape[-1]):
        values[learnt, network] = rng.permutation(values[learnt, network])
    return (ds.assign(iterations_to_minimal_performance=(dims, values)),)


def rates_and_couplings(rng: np.random.Generator, time: Callable[[float, float], float]) -> xr.Dataset:
    """Return made-up times by η and α; those beyond the last iteration are of networks that never learn."""
    rates, couplings = (10.0 ** (np.arange(*ends) / 2) for ends in ((-5, 2), (-5, -1)))
    means = np.array([[time(rate, coupling) for coupling in couplings] for rate in rates])
    when = 39 * np.round(means[..., None] * np.exp(0.1 * rng.normal(size=(*means.shape, 3))) / 39)
    reached = np.where((when >= 39) & (when <= 936), when, np.nan)
    dims = ("learning_rate", "coupling", "network")
    coords = {"learning_rate": rates, "coupling": couplings, "network": np.arange(3)}
    return xr.Dataset({"iterations_to_minimal_performance": (dims, reached)}, coords)


@claim(
    "4.1",
    "η α, or η α², decides how networks learn",
    "rates_coupling",
    shuffled=shuffled_times,
    synthetic=lambda rng: (rates_and_couplings(rng, lambda rate, coupling: 2.0 / (rate * coupling) ** 0.8),),
)
def rate_times_coupling(smnist: xr.Dataset) -> Verdict:
    """Expect iterations to minimal performance to differ less at the same η α (or η α²) than at the same η.

    By 0.05 decades and more: mean |differences| of log10 iterations between couplings, of the cells that all networks
    learn, by a permutation test.
    """
    rate, coupling, log_times = learnt_by_all(smnist)
    pairs = {name: pairs_of(rate, coupling, power) for name, power in POWERS.items()}
    pairs = {name: found for name, found in pairs.items() if len(found[0])}

    def spread(table: np.ndarray, name: str) -> np.ndarray:
        first, second = pairs[name]
        return np.abs(table[..., first, :] - table[..., second, :]).mean(-2)

    others = [name for name in pairs if name != "η"]
    name = "decades between couplings at the same η minus those at the same η α or η α², the fewer"
    if "η" not in pairs or not others:
        return judged([unknown(name, f"{len(log_times)} cells are learnt by all networks")])

    def gain(table: np.ndarray) -> np.ndarray:
        return spread(table, "η") - np.minimum.reduce([spread(table, other) for other in others])

    found = {name: (float(spread(log_times, name).mean()), len(pairs[name][0])) for name in pairs}
    said = ", ".join(f"{size:.2f} at the same {name} ({n} pairs)" for name, (size, n) in found.items())
    return judged([within(name, log_times, gain, smallest=0.05)], also=f"decades between couplings: {said}")
