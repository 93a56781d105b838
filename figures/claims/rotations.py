"""Claims of Section 4.2: rotational residuals."""

from __future__ import annotations

import numpy as np
import xarray as xr

from figures.claims.judging import LEVEL_OF_SEVERAL, NOT_SEEN, SEEN, Data, Verdict, claim, judged
from figures.claims.statistics import Effect, best_contrast, between, bootstrap, margin, ranks, unknown, within
from figures.claims.sweeps import scores, times_to, too_few_learnt
from figures.claims.synthetic import along, exchanged, pooled, sweep
from figures.layers import shares, spectrum
from figures.panels import characteristic_frequency

MULTIPLES = (0.0, 0.5, 0.8, 1.0, 1.2, 1.5, 2.0, 2.5)
OWN = 2 * np.pi / 14
FREQUENCIES = tuple(round(multiple * OWN, 6) for multiple in MULTIPLES)


def peaked(frequency: float) -> float:
    """Return made-up scores with peaks at the characteristic frequency and twice that."""
    return 0.6 + 0.25 * max(np.exp(-((frequency / OWN - k) ** 2) / 0.05) for k in (1, 2))


def rotated(rng: np.random.Generator, **rules: object) -> xr.Dataset:
    """Return a made-up sweep of frequencies with peaks."""
    return sweep(rng, "frequency", FREQUENCIES, **{"score": peaked} | rules)


def _power(rng: np.random.Generator) -> Data:
    frequency = 2 * np.pi * np.arange(1, 393) / 784
    power = np.stack([1 / frequency, np.ones(392)]) * rng.uniform(0.9, 1.1, (2, 392))
    power[0, 27] = 1000.0
    return (
        xr.Dataset({"power": (("task", "frequency"), power)}, {"task": ["smnist", "psmnist"], "frequency": frequency}),
    )


@claim(
    "4.2",
    "The maximal peak of sMNIST's power spectrum is at 2π/28",
    "power",
    shuffled=along("frequency", "task"),
    synthetic=_power,
)
def data_peak_at_their_rows(power: xr.Dataset) -> Verdict:
    """Expect the mean power spectrum of sMNIST to be largest at 2π/28: a matter of data, without chance."""
    peak = float(power["power"].sel(task="smnist").idxmax("frequency"))
    seen = abs(peak - 2 * np.pi / 28) < 1e-6
    return (SEEN if seen else NOT_SEEN), f"largest at {peak:.5f} rad per step, 2π/28 = {2 * np.pi / 28:.5f}"


@claim(
    "4.2",
    "psMNIST has no prominent frequency",
    "power",
    shuffled=along("task", "frequency"),
    synthetic=_power,
)
def permuted_data_have_no_peak(power: xr.Dataset) -> Verdict:
    """Expect the largest power of psMNIST below ten times the median, that of sMNIST above: data, without chance."""
    prominence = power["power"].max("frequency") / power["power"].median("frequency")
    permuted, plain = (float(prominence.sel(task=name)) for name in ("psmnist", "smnist"))
    seen = permuted < 10 < plain
    return (SEEN if seen else NOT_SEEN), f"largest over median power: psMNIST {permuted:.1f}, sMNIST {plain:.0f}"


def _place(ds: xr.Dataset, multiples: tuple[float, ...]) -> np.ndarray:
    """Return where multiples of the characteristic frequency stand in a sweep."""
    own = ds["frequency"].values / characteristic_frequency(ds)
    return np.array([int(np.abs(own - multiple).argmin()) for multiple in multiples])


def peak(ds: xr.Dataset, about: str, harmonics: tuple[int, ...] = (1, 2)) -> list:
    """Return by how much scores at the characteristic frequency and its double exceed those beside them."""
    effects, own = [], ds["frequency"].values / characteristic_frequency(ds)
    for k in harmonics:
        at = int(np.abs(own - k).argmin())
        if at in (0, len(own) - 1) or abs(own[at] - k) > 0.01:
            effects.append(unknown(f"{about}{k} ω₀", "it is not swept with neighbours"))
            continue
        table = scores(ds)[at - 1 : at + 2]
        beside = f"{own[at - 1]:.3g}, {own[at + 1]:.3g}"
        effects.append(
            within(
                f"{about}{k} ω₀ minus ω beside it ({beside} ω₀)",
                table,
                lambda t: t[..., 1, :] - t[..., ::2, :].max(-2),
                0.01,
            )
        )
    return effects


@claim(
    "4.2",
    "On sMNIST, performance has peaks at the characteristic frequency ω₀ and its harmonics (Fig. 4A)",
    "smnist_frequency",
    shuffled=along("frequency"),
    synthetic=lambda rng: (rotated(rng),),
)
def best_frequency(smnist: xr.Dataset) -> Verdict:
    """Expect local maxima of the best score at ω₀ and 2 ω₀, over both neighbours by 0.01 and more; ω₀ over ω = 0."""
    table = scores(smnist)
    none, own = _place(smnist, (0.0, 1.0))
    over_none = between("best score, ω₀ minus ω = 0", table[own], table[none], smallest=0.01)
    return judged([over_none, *peak(smnist, "best score, ")], level=LEVEL_OF_SEVERAL)


@claim(
    "4.2",
    "Networks learn fastest close to the characteristic frequency ω₀ (Fig. 4A)",
    "smnist_frequency",
    shuffled=along("frequency"),
    synthetic=lambda rng: (rotated(rng, time=lambda f: 300 + 1200 * abs(f / OWN - 1)),),
)
def fastest_frequency(smnist: xr.Dataset) -> Verdict:
    """Expect the fastest within 20 % of ω₀ to be faster, to accuracy 0.5 and to 0.7, than every other ω but harmonics.

    By ranks within networks, of 1 and more. Which ω is the fastest is said.
    """
    effects, said = [], []
    reason = too_few_learnt(smnist)
    own = smnist["frequency"].values / characteristic_frequency(smnist)
    for accuracy in (0.5, 0.7):
        found = times_to(smnist, accuracy)
        median = np.median(found[:, ~np.isnan(found).any(axis=0)], axis=1)
        said.append(f"accuracy {accuracy} comes first at {own[int(median.argmin())]:.2g} ω₀, after {median.min():.0f}")
        close = np.abs(own - 1) < 0.21
        chosen = close | (np.abs(own - np.maximum(own.round(), 1)) > 0.21)
        early, close = -ranks(found[chosen]), close[chosen]
        name = f"ranks of speed to {accuracy}, the fastest close to ω₀ minus the fastest elsewhere"
        effect = best_contrast(np.flatnonzero(close), np.flatnonzero(~close))
        effects.append(within(name, early, effect, 1.0, reason))
    return judged(effects, also="; ".join(said))


@claim(
    "4.2",
    "After a long training, ω₀ is still best (Fig. S4)",
    "smnist_frequency-long",
    shuffled=along("frequency"),
    synthetic=lambda rng: (sweep(rng, "frequency", (FREQUENCIES[0], FREQUENCIES[3], FREQUENCIES[5]), score=peaked),),
)
def long_training_is_similar(long: xr.Dataset) -> Verdict:
    """Expect the best score at ω₀ over that of every other ω swept, by 0.005 and more."""
    (own,) = _place(long, (1.0,))
    order = [own, *(i for i in range(long.sizes["frequency"]) if i != own)]
    effect = within(
        "best score, ω₀ minus the best of the others",
        scores(long)[order],
        lambda t: t[..., 0, :] - t[..., 1:, :].max(-2),
        smallest=0.005,
    )
    return judged([effect])


def _modulated(rng: np.random.Generator) -> Data:
    time, frequencies = np.arange(784), np.array([0.0, 0.112, 0.224, 0.449])
    bump = np.sin(np.pi * time / 800) + 0.02 * rng.normal(size=(4, 3, 784))
    wave = np.sin(frequencies[:, None] * time)[:, None]
    dims = ("frequency", "network", "time")
    return (
        xr.Dataset(
            {"modulation": (dims, bump + 0.3 * wave)},
            {"frequency": frequencies, "network": np.arange(3), "time": time},
        ),
    )


@claim(
    "4.2",
    "Rotations modulate effective learning rates in an oscillatory manner (Fig. 4B)",
    "modulation",
    shuffled=along("frequency"),
    synthetic=_modulated,
)
def modulation_oscillates(modulation: xr.Dataset) -> Verdict:
    """Expect rotations by ω to raise the share of power at ω and 2ω in what layers add to the curvature, m(t).

    m(t) times η is the effective learning rate of layer t; its share is taken without its trend. In each network, log2
    of the share over the median of that with other ω, in the mean over all ω > 0, is above 0. The data oscillate too,
    at 2π/28 and its harmonics, in all networks alike.
    """
    values, curves = modulation["frequency"].values, shares(modulation, "modulation").values
    turned = np.flatnonzero(values > 0)
    logs = np.array([[[np.log2(_power_near(values[w], curve)) for curve in row] for row in curves] for w in turned])

    def gains(index: np.ndarray) -> np.ndarray:  # (..., frequency, network) to (ω, ..., network)
        networks = np.arange(logs.shape[-1])
        found = []
        for table, own in zip(logs, turned, strict=True):
            chosen = table[index.astype(int), networks]
            found.append(chosen[..., own, :] - np.median(np.delete(chosen, own, axis=-2), axis=-2))
        return np.array(found)

    labels = np.arange(len(values))[:, None] + 0 * logs[0]
    name = "log2 of the gain, mean over ω"
    each = ", ".join(f"{values[w]:.3f}: {gain:+.2f}" for w, gain in zip(turned, gains(labels).mean(-1), strict=True))
    effect = within(name, labels, lambda index: gains(index).mean(0))
    return judged([effect], also=f"at ω = {each}")


def _power_near(frequency: float, curve: np.ndarray) -> float:
    """Return the share of a curve's power within 15 % of a frequency and its double."""
    frequencies, power = spectrum(curve)
    near = [np.abs(frequencies / (multiple * frequency) - 1) < 0.15 for multiple in (1, 2)]
    return float(power[near[0] | near[1]].sum() / power.sum())


@claim(
    "4.2",
    "ω has no strong effect on psMNIST (Fig. 4A)",
    "smnist_frequency",
    "psmnist_frequency",
    shuffled=exchanged((0, 1)),
    synthetic=lambda rng: (rotated(rng), sweep(rng, "frequency", FREQUENCIES, score=0.6, task="psmnist/2")),
)
def permuted_has_no_frequency(smnist: xr.Dataset, psmnist: xr.Dataset) -> Verdict:
    """Expect the SD of best scores over ω > 0 on psMNIST to be less than half that on sMNIST.

    Rotations alone: what they gain over none is another question. Half of sMNIST's SD minus psMNIST's, mean over
    networks, and its interval.
    """
    common = np.intersect1d(smnist["frequency"], psmnist["frequency"])
    common = common[common > 0]
    plain, permuted = (scores(ds.sel(frequency=common)).std(axis=0, ddof=1) for ds in (smnist, psmnist))
    also = f"SD {np.nanmean(permuted):.3f} on psMNIST, {np.nanmean(plain):.3f}"
    return judged(
        [margin("half the SD on sMNIST minus that on psMNIST", plain / 2, permuted)], also=f"{also} on sMNIST"
    )


@claim(
    "4.2",
    "Random orthogonal residuals do as heterogeneous frequencies do (Fig. 4D)",
    "smnist_residual",
    shuffled=pooled((0,)),
    synthetic=lambda rng: (
        sweep(
            rng,
            "residual",
            ("homogeneous", "heterogeneous radii", "heterogeneous frequencies", "orthogonal", "heterogeneous"),
            score={
                "homogeneous": 0.7,
                "heterogeneous radii": 0.75,
                "heterogeneous frequencies": 0.9,
                "orthogonal": 0.9,
                "heterogeneous": 0.92,
            },
        ),
    ),
)
def orthogonal_is_like_heterogeneous(smnist: xr.Dataset) -> Verdict:
    """Expect best scores within 0.03 of each other, and both above those of r·I by 0.03 and more.

    0.03 is what the text calls on par in Table 1. Intervals of the differences of means over networks decide.
    """
    table = dict(zip(smnist["residual"].values.tolist(), scores(smnist), strict=True))
    orthogonal, mixed, plain = (table[name] for name in ("orthogonal", "heterogeneous frequencies", "homogeneous"))
    said = [one[~np.isnan(one)] for one in (orthogonal, mixed)]
    low, high = bootstrap(*said)
    difference = float(said[0].mean() - said[1].mean())
    n = min(map(len, said))
    name = f"0.03 minus |orthogonal − heterogeneous frequencies| ({difference:+.3f})"
    near = 0.03 - abs(difference)
    farthest, nearest = max(abs(low), abs(high)), 0.0 if low < 0 < high else min(abs(low), abs(high))
    alike = Effect(name, near, 0.03 - farthest, 0.03 - nearest, None, None, n)
    above = margin("the lesser of the two minus r·I", min(said, key=np.mean), plain, smallest=0.03)
    return judged([alike, above])
