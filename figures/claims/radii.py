"""Claims of Section 4.1 on trainings: residuals r·I from sub- to supercritical.

Radii are compared across lengths by r^T, what a whole sequence leaves: far below criticality is r^T < 0.1, weakly
subcritical from there to 1. The rise of a loss is the largest above the least it had been, in decades. Where
networks above 1 are compared with others by their scores, images are learnt at a rate at which they do not collapse.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from figures.claims.judging import LEVEL_OF_SEVERAL, Data, Verdict, claim, judged, per_value
from figures.claims.statistics import (
    MIN_NETWORKS,
    Effect,
    best_contrast,
    between,
    contrast,
    margin,
    ranks,
    signed,
    trend,
    unknown,
    within,
)
from figures.claims.sweeps import collapsed, regimes, scores, setbacks, times, too_few_learnt, too_many_collapse
from figures.claims.synthetic import RADII, along, exchanged, sweep
from figures.claims.untrained import share_of_allowed
from figures.panels import task_name

TASKS = ("smnist_radius", "psmnist_radius", "add100_radius")
WITHOUT_COLLAPSE = ("smnist_radius-slower", "psmnist_radius-slower", "add100_radius")


def images_and_adding(rng: np.random.Generator, **rules: object) -> Data:
    """Return made-up sweeps of the radius on the three tasks."""
    lengths = {"smnist/2": 196, "psmnist/2": 196, "add100": 100}
    return tuple(
        sweep(rng, "radius", RADII, task=name, n_steps=n, **({"score": 0.2} if name == "add100" else {}) | rules)
        for name, n in lengths.items()
    )


def slowness(ds: xr.Dataset) -> Effect:
    """Return how well the order of radii below 1 is the order of learning: the farther below, the later."""
    below = ds.sel(radius=ds["radius"] < 1)
    order, name = -below["radius"].values, f"{task_name(ds)}, rank correlation of iterations with 1 − r"
    return within(name, ranks(times(below)), trend(order), smallest=0.3, reason=too_few_learnt(below))


def instability(ds: xr.Dataset) -> Effect:
    """Return by how much farther losses rise above criticality than just below and at it."""
    place = regimes(ds)
    rises = setbacks(ds)
    groups = place["above"], place["near"] | place["at"]
    chosen = groups[0] | groups[1]
    stable = contrast(groups[0][chosen], groups[1][chosen])
    gone = ", ".join(f"{int(collapsed(ds)[group].sum())} of {int((~np.isnan(rises[group])).sum())}" for group in groups)
    name = f"{task_name(ds)}, rise of the loss above 1 minus at 0.1 ≤ r^T ≤ 1 (collapsed: {gone})"
    return within(name, rises[chosen], stable, smallest=0.05)


@claim(
    "4.1",
    "Over training, Hessian eigenvalues rise below criticality and fall at and above it (Fig. 3)",
    "smnist_radius-slower",
    shuffled=along("checkpoint", "radius", "network"),
    synthetic=lambda rng: (_with_checkpoints(rng, lambda r: 10.0 if r < 1 else 0.1),),
)
def curvature_over_training(smnist: xr.Dataset) -> Verdict:
    """Expect log10 of the largest |Hessian eigenvalue|, after minus before, above 0 for r < 1 and below 0 for r ≥ 1.

    Networks that collapsed are left out; tested against exchanges of before and after.
    """
    leading = np.log10(np.abs(smnist["hessian_eigenvalue"]).max("eigenvalue"))
    change = (leading.isel(checkpoint=-1) - leading.isel(checkpoint=0)).transpose("radius", "network").values
    change = np.where(collapsed(smnist), np.nan, change)
    radius = smnist["radius"].values
    return judged(
        [
            signed("change of log10 |eigenvalue| for r < 1", change[radius < 1]),
            signed("for r ≥ 1, that it falls", -change[radius >= 1]),
        ],
        also=f"largest |eigenvalue| over {smnist.attrs['n_steps']} steps before training, by r, "
        f"{per_value(10.0 ** leading.isel(checkpoint=0), '.2g')}, and after it, "
        f"{per_value(10.0 ** leading.isel(checkpoint=-1), '.2g')}",
    )


def _with_checkpoints(rng: np.random.Generator, factor: object, moved: float = 0.001) -> xr.Dataset:
    """Return a made-up sweep with Hessian eigenvalues and exponents before and after."""
    ds = sweep(rng, "radius", RADII)
    n, radius = ds.sizes["network"], ds["radius"].values
    factors = np.array([[1.0, factor(r)] for r in radius])[:, None] * np.exp(0.3 * rng.normal(size=(len(radius), n, 2)))
    exponents = np.log(radius)[:, None, None, None] + moved * rng.normal(size=(len(radius), n, 2, 10))
    return ds.assign(
        hessian_eigenvalue=(("radius", "network", "checkpoint", "eigenvalue"), factors[..., None]),
        lyapunov_exponent=(("radius", "network", "checkpoint", "exponent"), exponents),
    ).assign_coords(checkpoint=[0, 1872])


@claim(
    "4.1",
    "Over training, exponents remain in the same range (Fig. S1)",
    "smnist_radius-slower",
    shuffled=along("radius", "network", "checkpoint"),
    synthetic=lambda rng: (_with_checkpoints(rng, lambda r: 1.0),),
)
def exponents_stay(smnist: xr.Dataset) -> Verdict:
    """Expect every exponent after training within log r ± α ‖W‖ / r, as before: the range that Eq. 13 allows.

    ‖W‖₂ is 2/√3, that of large matrices before training. In every network that did not collapse: the farthest
    exponent at any r, as a share of what is allowed, is 1 or less; its mean over networks, and its interval.
    """
    after = smnist["lyapunov_exponent"].isel(checkpoint=-1)
    share = share_of_allowed(after, smnist["radius"]).max("exponent").transpose("radius", "network").values
    share = np.where(collapsed(smnist), np.nan, share)
    known = share[:, ~np.isnan(share).all(axis=0)]
    if known.size == 0:
        return judged([unknown("share of what is allowed", "no networks")])
    farthest = np.nanmax(known, axis=0)
    return judged([margin("1 minus the share of what is allowed that the farthest exponent takes", 1 - farthest)])


@claim(
    "4.1",
    "Farther below criticality, learning is less efficient, on all tasks",
    *TASKS,
    shuffled=along("radius"),
    synthetic=lambda rng: images_and_adding(rng, time=lambda r: 300 + 2e4 * abs(1 - r)),
)
def subcritical_is_slow(*sweeps: xr.Dataset) -> Verdict:
    """Expect iterations to minimal performance to rise with 1 − r, r < 1: rank correlations of 0.3 and more, per task.

    Ranks within networks; networks that never learn rank last; undecided where fewer than half learn at every r.
    """
    return judged(map(slowness, sweeps), level=LEVEL_OF_SEVERAL)


@claim(
    "4.1",
    "Supercritical networks learn unstably (Fig. 3A)",
    *TASKS,
    shuffled=along("radius"),
    synthetic=lambda rng: images_and_adding(rng, setback=lambda r: 3.0 if r > 1 else 0.1),
)
def supercritical_is_unstable(*sweeps: xr.Dataset) -> Verdict:
    """Expect test losses to rise farther above r = 1 than at 0.1 ≤ r^T ≤ 1, by 0.05 decades and more, in every task."""
    return judged(map(instability, sweeps), level=LEVEL_OF_SEVERAL)


@claim(
    "4.1",
    "At a third of the learning rate, too, supercritical networks learn unstably (Fig. 3A)",
    "smnist_radius-slower",
    shuffled=along("radius"),
    synthetic=lambda rng: (sweep(rng, "radius", RADII, setback=lambda r: 3.0 if r > 1 else 0.1),),
)
def supercritical_is_unstable_at_a_smaller_rate(smnist: xr.Dataset) -> Verdict:
    """Expect test losses to rise farther above r = 1 than at 0.1 ≤ r^T ≤ 1, by 0.05 decades and more."""
    return judged([instability(smnist)])


@claim(
    "4.1",
    "Clipping of gradients makes learning of supercritical networks more stable (data not shown there)",
    "smnist_radius-clipped",
    "smnist_radius",
    shuffled=exchanged((0, 1)),
    synthetic=lambda rng: (
        sweep(rng, "radius", (1.005, 1.01), setback=0.1),
        sweep(rng, "radius", RADII, setback=lambda r: 3.0 if r > 1 else 0.1),
    ),
)
def clipping_steadies(clipped: xr.Dataset, smnist: xr.Dataset) -> Verdict:
    """Expect test losses of supercritical networks to rise less if gradients are clipped, by 0.05 decades and more."""
    rises = [setbacks(ds.sel(radius=clipped["radius"])) for ds in (smnist, clipped)]
    return judged([between("rise of the loss without clipping minus with it, r > 1", *rises, smallest=0.05)])


@claim(
    "4.1",
    "Supercritical networks are better on sMNIST and psMNIST, subcritical ones on ADD",
    *WITHOUT_COLLAPSE,
    shuffled=along("radius"),
    synthetic=lambda rng: (
        *images_and_adding(rng, score=lambda r: 0.8 if r > 1 else 0.6)[:2],
        images_and_adding(rng, time=lambda r: 400 if r < 1 else 1200)[2],
    ),
)
def best_radius_by_task(smnist: xr.Dataset, psmnist: xr.Dataset, add: xr.Dataset) -> Verdict:
    """Expect the best score of radii above 1 over that of radii below, by 0.01 and more; on ADD, the reverse in speed.

    There it is the mean rank of speed below 1 over that above. Undecided where half of the networks above 1 collapse.
    """
    effects = []
    for ds in (smnist, psmnist):
        above, below = (np.flatnonzero(mask) for mask in (ds["radius"] > 1, ds["radius"] < 1))
        name = f"{task_name(ds)}, best score above 1 minus best below"
        reason = too_many_collapse(ds, above)
        effects.append(within(name, scores(ds), best_contrast(above, below), smallest=0.01, reason=reason))
    above, below = (np.flatnonzero(mask) for mask in (add["radius"] > 1, add["radius"] < 1))
    early = -ranks(times(add))
    name = f"{task_name(add)}, ranks of speed below 1 minus above"
    effects.append(within(name, early, contrast(below, above), smallest=0.5, reason=too_few_learnt(add)))
    return judged(effects, level=LEVEL_OF_SEVERAL)


@claim(
    "4.1",
    "Weakly subcritical networks, close to criticality, are best",
    *WITHOUT_COLLAPSE[:2],
    shuffled=along("radius"),
    synthetic=lambda rng: images_and_adding(rng, score=lambda r: 0.8 if 0.989 < r < 1 else 0.5, time=lambda r: 500.0)[
        :2
    ],
)
def near_critical_is_best(*sweeps: xr.Dataset) -> Verdict:
    """Expect mean best scores at 0.1 ≤ r^T < 1 over those farther below, and over those above 1, by 0.01 and more.

    Undecided where half of the networks above 1 collapse: then it is the learning rate that does harm.
    """
    effects = []
    for ds in sweeps:
        place, table = regimes(ds), scores(ds)
        for other, said in (("far", "those farther below"), ("above", "those above 1")):
            name = f"{task_name(ds)}, best score of weakly subcritical networks minus {said}"
            both = place["near"] | place[other]
            effect = contrast(place["near"][both], place[other][both])
            reason = too_many_collapse(ds, place["above"]) if other == "above" else ""
            effects.append(within(name, table[both], effect, smallest=0.01, reason=reason))
    return judged(effects, level=LEVEL_OF_SEVERAL)


def _lengths(rng: np.random.Generator) -> Data:
    fastest = {"add50": 0.97, "add100": 0.98, "add200": 0.995}
    return tuple(
        sweep(
            rng,
            "radius",
            RADII,
            score=0.2,
            task=name,
            n_steps=int(name[3:]),
            time=lambda r, best=best: 300 + 5e4 * abs(r - best),
        )
        for name, best in fastest.items()
    )


@claim(
    "4.1",
    "The best networks are closer to criticality for longer ADD",
    "add50_radius",
    "add100_radius",
    "add200_radius",
    shuffled=along("radius"),
    synthetic=_lengths,
)
def longer_is_closer(*sweeps: xr.Dataset) -> Verdict:
    """Expect |log r| of each network's fastest r to fall with length: a rank correlation of 0.3 and more.

    Of three lengths at least, each learnt by three networks at least.
    """
    distances, lengths, said = [], [], []
    for ds in sweeps:
        found, radius = times(ds), ds["radius"].values
        learnt = np.isfinite(found).any(axis=0)
        if learnt.sum() < MIN_NETWORKS:
            said.append(f"{task_name(ds)} is learnt by {int(learnt.sum())} of {learnt.size} networks")
            continue
        ranked = ranks(found[:, learnt])
        fastest = [np.abs(np.log(radius[column == column.min()])).mean() for column in ranked.T]
        at = [float(np.mean(radius[column == column.min()])) for column in ranked.T]
        distances.append(fastest)
        lengths.append(float(ds.attrs["n_steps"]))
        said.append(f"{task_name(ds)}: fastest at r = {', '.join(f'{r:.4g}' for r in at)}")
    name, about = "rank correlation of |log r| of the fastest with −T", "; ".join(said) + "; "
    if len(distances) < 3:
        return judged([unknown(name, f"{len(distances)} lengths are learnt")], about)
    n = min(map(len, distances))
    table = ranks(np.array([one[:n] for one in distances]))
    return judged([within(name, table, trend(-np.array(lengths)), smallest=0.3)], about)
