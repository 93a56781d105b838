"""The claims of the paper's Section 4, each with what our data say of it: seen, not seen, or not yet at this scale.

A claim asks a question of datasets, by the names of `SOURCES`, and gets a verdict and the numbers. The docstring of the
function that answers says when the claim counts as seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from drawing import Datasets, Source, sweep

from lyapkit.plots.training import until_minimal_performance

SEEN, NOT_SEEN, NOT_YET = "seen", "not seen", "not yet at this scale"
SOURCES = {
    "before": Source(
        "before_training.nc", "python analyses/before_training.py", "35 minutes", ("decay_rate", "radius")
    ),
    "mixed": Source("heterogeneous.nc", "python analyses/heterogeneous.py", "half an hour", ("spread", "decay_rate")),
    "modulation": Source("modulation.nc", "python analyses/modulation.py", "5 minutes", ("alignment", "frequency")),
    "power": Source(
        "power_spectra.nc", "python analyses/power_spectra.py", "half a minute", ("characteristic_frequency",)
    ),
    **{
        f"{task}_{name}": sweep(task, name, "")
        for task in ("smnist", "psmnist", "add100", "add200")
        for name in ("radius", "frequency", "residual", "spread", "coupling", "radius-a", "radius-b", "architecture")
    },
}
Verdict = tuple[str, str]


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


def _judged(is_seen: bool, evidence: str) -> Verdict:
    return SEEN if is_seen else NOT_SEEN, evidence


def _per_value(values: xr.DataArray, form: str = ".3f") -> str:
    """Return a number per swept value as text: mean over networks."""
    (dim,) = (dim for dim in values.dims if dim != "network")
    mean = values.mean("network")
    names = [name if isinstance(name, str) else f"{name:.4g}" for name in values[dim].values.tolist()]
    return ", ".join(f"{name}: {float(one):{form}}" for name, one in zip(names, mean.values, strict=True))


def exponents_converge(before: xr.Dataset) -> Verdict:
    """Expect mean exponents within 1e-3 nats of log r."""
    off = before["lyapunov_exponent"].mean(["exponent", "network"]) - np.log(before["radius"])
    largest = float(np.abs(before["lyapunov_exponent"] - np.log(before["radius"])).max())
    worst = float(np.abs(off).max())
    return _judged(
        worst < 1e-3, f"means within {worst:.1e} nats per step of log r; single exponents up to {largest:.4f} off"
    )


def curvature_grows(before: xr.Dataset) -> Verdict:
    """Expect the largest Hessian eigenvalue to grow with r in every network."""
    leading = np.abs(before["hessian_eigenvalue"]).max("eigenvalue").dropna("radius", how="all").dropna("network")
    grows = bool((leading.sortby("radius").diff("radius") > 0).all())
    return _judged(grows, "largest |eigenvalue| at r = " + _per_value(leading, ".2g"))


def gradients_are_exponential(before: xr.Dataset) -> Verdict:
    """Expect rates of log gradient norms within 2 % of log r, where |log r| is at least 0.005."""
    far = before.where(np.abs(np.log(before["radius"])) >= 0.005, drop=True)
    off = np.abs(far["decay_rate"].mean("network") / np.log(far["radius"]) - 1)
    evidence = "rates differ from log r by " + ", ".join(
        f"{float(one):.0%} at r = {radius:g}" for radius, one in zip(far["radius"].values, off.values, strict=True)
    )
    return _judged(bool((off < 0.02).all()), evidence + "; they are those of the largest exponents (first order in α)")


def curvature_over_training(smnist: xr.Dataset) -> Verdict:
    """Expect the largest Hessian eigenvalue to rise below criticality and to fall at and above it."""
    leading = np.abs(smnist["hessian_eigenvalue"]).max("eigenvalue").sel(network=0).dropna("radius", how="all")
    ratio = leading.isel(checkpoint=-1) / leading.isel(checkpoint=0)
    radius = ratio["radius"].values
    is_seen = bool((ratio.values[radius < 1] > 1).all() and (ratio.values[radius >= 1] < 1).all())
    evidence = "after training over before, at r = " + ", ".join(
        f"{r:g}: {float(x):.2g}" for r, x in zip(radius, ratio.values, strict=True)
    )
    return _judged(is_seen, evidence)


def exponents_stay(smnist: xr.Dataset) -> Verdict:
    """Expect mean exponents at the end within 0.005 nats of those before, extremes within 0.02."""
    ends = smnist["lyapunov_exponent"].sel(network=0).dropna("radius", how="all").isel(checkpoint=[0, -1])
    means = np.abs(ends.mean("exponent").diff("checkpoint"))
    extremes = np.maximum(
        np.abs(ends.max("exponent").diff("checkpoint")), np.abs(ends.min("exponent").diff("checkpoint"))
    )
    is_seen = float(means.max()) < 0.005 and float(extremes.max()) < 0.02
    evidence = f"means move by up to {float(means.max()):.4f} nats per step, the largest or smallest by up to "
    return _judged(is_seen, f"{evidence}{float(extremes.max()):.3f} (at the learning rate of this scale)")


def subcritical_is_slow(*sweeps: xr.Dataset) -> Verdict:
    """Expect the most subcritical networks to need more iterations than the fastest of r ≤ 1, in every task."""
    found, parts = [], []
    for ds in sweeps:
        speed = until_minimal_performance(ds).mean("network").sel(radius=slice(None, 1.0))
        slow, fast, fastest = float(speed[0]), float(speed.min()), float(speed.idxmin("radius"))
        found.append(slow > fast)
        parts.append(
            f"{ds.attrs['task']}: {slow:.0f} at r = {float(speed['radius'][0]):g}, {fast:.0f} at r = {fastest:g}"
        )
    return _judged(all(found), "iterations to minimal performance: " + "; ".join(parts))


def supercritical_is_unstable(*sweeps: xr.Dataset) -> Verdict:
    """Expect test scores to fall farther between evaluations above 1 than at 0.99 … 1, or learning to fail there."""
    found, parts = [], []
    for ds in sweeps:
        falls = (-ds["test_score"].diff("iteration")).max("iteration")
        above, near = falls.sel(radius=slice(1.001, None)), falls.sel(radius=slice(0.99, 1.0))
        failed = ds["iterations_to_minimal_performance"].sel(radius=slice(1.001, None)).isnull()
        failed = int((failed & above.notnull()).sum())
        found.append(float(above.max()) > float(near.max()) or failed > 0)
        parts.append(
            f"{ds.attrs['task']}: largest fall {float(above.max()):.2f} above 1, {float(near.max()):.2f} at 0.99 … 1; "
            f"{failed} of {int(above.notnull().sum())} networks above 1 never reach minimal performance"
        )
    return _judged(all(found), "; ".join(parts))


def best_radius_by_task(smnist: xr.Dataset, psmnist: xr.Dataset, add: xr.Dataset) -> Verdict:
    """Expect images to be learnt best above 1, and the adding problem fastest below 1."""
    best = [float(ds["best_score"].mean("network").idxmax("radius")) for ds in (smnist, psmnist)]
    fastest = float(until_minimal_performance(add).mean("network").idxmin("radius"))
    is_seen = min(best) > 1 and fastest < 1
    return _judged(is_seen, f"best r: sMNIST {best[0]:g}, psMNIST {best[1]:g}; fastest r on ADD100: {fastest:g}")


def near_critical_is_best(*sweeps: xr.Dataset) -> Verdict:
    """Expect best scores at r within 0.01 of criticality, and not above 1."""
    best = [float(ds["best_score"].mean("network").idxmax("radius")) for ds in sweeps]
    named = ", ".join(f"{ds.attrs['task']}: r = {one:g}" for ds, one in zip(sweeps, best, strict=True))
    return _judged(all(0.99 <= one <= 1.0 for one in best), f"best {named}")


def coupling_range(smnist: xr.Dataset) -> Verdict:
    """Expect the weakest and the strongest coupling to score less than 0.01."""
    best = smnist["best_score"].mean("network")
    middle = float(best.sel(coupling=0.01))
    is_seen = middle > float(best[0]) and middle > float(best[-1])
    return _judged(is_seen, "best score at α = " + _per_value(smnist["best_score"]))


def characteristic_frequency(power: xr.Dataset) -> Verdict:
    """Expect the mean power spectrum of sMNIST to be largest at 2π/28."""
    peak = float(power["characteristic_frequency"].sel(task="smnist"))
    return _judged(
        abs(peak - 2 * np.pi / 28) < 1e-6, f"largest at {peak:.5f} rad per step, 2π/28 = {2 * np.pi / 28:.5f}"
    )


def best_frequency(smnist: xr.Dataset) -> Verdict:
    """Expect the best ω at the characteristic frequency or a multiple of it, and better than none."""
    own = 2 * np.pi / smnist.attrs["n_steps"] ** 0.5
    best = smnist["best_score"].mean("network")
    at = float(best.idxmax("frequency")) / own
    gain = float(best.max()) - float(best.sel(frequency=0.0))
    is_seen = at > 0.5 and abs(at - round(at)) < 0.05 and gain > 0.02
    multiples = best.assign_coords(frequency=best["frequency"] / own)
    shown = ", ".join(f"{float(f):.2g}: {float(b):.3f}" for f, b in zip(multiples["frequency"], multiples, strict=True))
    return _judged(
        is_seen, f"best at {at:.2f} times the characteristic frequency, {gain:+.3f} over ω = 0; all: {shown}"
    )


def permuted_has_no_frequency(smnist: xr.Dataset, psmnist: xr.Dataset) -> Verdict:
    """Expect the range of mean scores on psMNIST to be less than half of sMNIST's, at the same values of ω."""
    common = np.intersect1d(smnist["frequency"], psmnist["frequency"])
    spans = [float(np.ptp(ds["best_score"].mean("network").sel(frequency=common).values)) for ds in (smnist, psmnist)]
    return _judged(
        spans[1] < spans[0] / 2,
        f"range of best scores over {len(common)} values of ω: {spans[1]:.3f}, sMNIST {spans[0]:.3f}",
    )


def orthogonal_is_like_heterogeneous(smnist: xr.Dataset) -> Verdict:
    """Expect orthogonal residuals and heterogeneous frequencies to score more alike than either and r·I."""
    best = smnist["best_score"].mean("network")
    orthogonal, mixed, plain = (
        float(best.sel(residual=name)) for name in ("orthogonal", "heterogeneous frequencies", "homogeneous")
    )
    is_seen = abs(orthogonal - mixed) < min(abs(orthogonal - plain), abs(mixed - plain))
    return _judged(is_seen, f"orthogonal {orthogonal:.3f}, heterogeneous frequencies {mixed:.3f}, r·I {plain:.3f}")


def modulation_oscillates(modulation: xr.Dataset) -> Verdict:
    """Expect the gradient's layers to have a larger amplitude at ω with rotations by ω than without, for every ω."""
    shares = (modulation["alignment"] / modulation["alignment"].sum("time")).isel(network=0)
    time = np.arange(shares.sizes["time"])
    ratios = []
    for value in modulation["frequency"].values[1:]:
        wave = np.exp(-1j * value * time) * np.hanning(len(time))
        turned, plain = (abs(complex((shares.sel(frequency=f).values * wave).sum())) for f in (value, 0.0))
        ratios.append(turned / plain)
    return _judged(
        min(ratios) > 1, "amplitude at ω with rotations over without: " + ", ".join(f"{r:.1f}" for r in ratios)
    )


def moderate_spread_helps(smnist: xr.Dataset) -> Verdict:
    """Expect some ε below the distance to criticality to score higher than none, and the largest not to be best."""
    best = smnist["best_score"].mean("network")
    moderate = best.sel(spread=slice(0.001, 0.0199)).max()
    is_seen = float(moderate) > float(best.sel(spread=0.0)) and float(best[-1]) < float(best.max())
    return _judged(is_seen, "best score at ε = " + _per_value(smnist["best_score"]))


def spread_widens_spectra(mixed: xr.Dataset) -> Verdict:
    """Expect the range of exponents and the largest exponent to grow with ε."""
    exponents = mixed["lyapunov_exponent"].mean("network")
    span, top = exponents.max("exponent") - exponents.min("exponent"), exponents.max("exponent")
    grows = bool((span.diff("spread") > 0).all() and (top.diff("spread") > 0).all())
    shown = ", ".join(f"{float(e):g}: {float(s):.4f}" for e, s in zip(mixed["spread"], span, strict=True))
    return _judged(grows, f"range of exponents (nats per step) at ε = {shown}")


def spread_helps_gradients(mixed: xr.Dataset) -> Verdict:
    """Expect gradients to fade more slowly, and the tenth Hessian eigenvalue to grow, with ε."""
    rate = mixed["decay_rate"].mean("network")
    tenth = np.abs(mixed["hessian_eigenvalue"]).min("eigenvalue").sel(network=0).dropna("spread")
    is_seen = bool((rate.diff("spread") > 0).all() and (tenth.diff("spread") > 0).all())
    rates = ", ".join(f"{float(e):g}: {float(r):+.4f}" for e, r in zip(mixed["spread"], rate, strict=True))
    tenths = ", ".join(f"{float(e):g}: {float(t):.2g}" for e, t in zip(tenth["spread"], tenth, strict=True))
    return _judged(is_seen, f"decay rates at ε = {rates}; tenth Hessian eigenvalue {tenths}")


def heterogeneous_is_better(*sweeps: xr.Dataset) -> Verdict:
    """Expect heterogeneous residuals to score higher, or to be faster where only speed is measured."""
    found, parts = [], []
    for ds in sweeps:
        if ds.attrs["score"] == "accuracy":
            numbers, better = ds["best_score"].mean("network"), 1
        else:
            numbers, better = until_minimal_performance(ds).mean("network"), -1
        plain, mixed = (float(numbers.sel(residual=name)) for name in ("homogeneous", "heterogeneous"))
        found.append(better * (mixed - plain) > 0)
        parts.append(f"{ds.attrs['task']}: {plain:.4g} homogeneous, {mixed:.4g} heterogeneous")
    return _judged(all(found), "; ".join(parts))


def nonlinear_is_alike(type_a: xr.Dataset, type_b: xr.Dataset) -> Verdict:
    """Expect types A and B, too, to be slower far below criticality than near it."""
    speeds = [until_minimal_performance(ds).mean("network") for ds in (type_a, type_b)]
    is_seen = all(float(speed[0]) > float(speed.min()) for speed in speeds)
    evidence = "; ".join(
        f"type {n}: {_per_value(until_minimal_performance(ds), '.0f')}" for n, ds in (("A", type_a), ("B", type_b))
    )
    return _judged(is_seen, f"iterations to minimal performance at r = {evidence}")


_RADIUS = ("smnist_radius", "psmnist_radius", "add100_radius")
CLAIMS = (
    Claim("4.1", "Lyapunov exponents converge to log r (Eq. 13, Fig. 2B)", ("before",), exponents_converge),
    Claim("4.1", "Hessian eigenvalues grow with r (Fig. 2C)", ("before",), curvature_grows),
    Claim(
        "4.1",
        "Gradient norms fall or grow at a constant rate, log r (Eq. 15, Fig. 2D)",
        ("before",),
        gradients_are_exponential,
    ),
    Claim(
        "4.1",
        "Over training, Hessian eigenvalues rise below criticality and fall at and above it (Fig. 3)",
        ("smnist_radius",),
        curvature_over_training,
    ),
    Claim("4.1", "Over training, exponents remain in the same range (Fig. S1)", ("smnist_radius",), exponents_stay),
    Claim("4.1", "Farther below criticality, learning is less efficient, on all tasks", _RADIUS, subcritical_is_slow),
    Claim("4.1", "Supercritical networks learn unstably (Fig. 3A)", _RADIUS, supercritical_is_unstable),
    Claim(
        "4.1",
        "Supercritical networks are better on sMNIST and psMNIST, subcritical ones on ADD",
        _RADIUS,
        best_radius_by_task,
    ),
    Claim("4.1", "Weakly subcritical networks, close to criticality, are best", _RADIUS[:2], near_critical_is_best),
    Claim(
        "4.1",
        "The best networks are closer to criticality for longer ADD",
        ("add100_radius", "add200_radius"),
        near_critical_is_best,
    ),
    Claim("4.1", "Too small and too large α make learning hard (Fig. S3)", ("smnist_coupling",), coupling_range),
    Claim("4.2", "The maximal peak of sMNIST's power spectrum is at 2π/28", ("power",), characteristic_frequency),
    Claim(
        "4.2",
        "Rotations at the characteristic frequency or its harmonics are best on sMNIST (Fig. 4A)",
        ("smnist_frequency",),
        best_frequency,
    ),
    Claim(
        "4.2",
        "Rotations modulate effective learning rates in an oscillatory manner (Fig. 4B)",
        ("modulation",),
        modulation_oscillates,
    ),
    Claim(
        "4.2",
        "ω has no strong effect on psMNIST (Fig. 4A)",
        ("smnist_frequency", "psmnist_frequency"),
        permuted_has_no_frequency,
    ),
    Claim(
        "4.2",
        "Random orthogonal residuals do as heterogeneous frequencies do (Fig. 4D)",
        ("smnist_residual",),
        orthogonal_is_like_heterogeneous,
    ),
    Claim(
        "4.3",
        "Moderate spread of radii helps, strong spread makes learning unstable (Fig. 5A)",
        ("smnist_spread",),
        moderate_spread_helps,
    ),
    Claim(
        "4.3",
        "Spread makes memory timescales diverse and brings them closer to criticality (Fig. 5B)",
        ("mixed",),
        spread_widens_spectra,
    ),
    Claim(
        "4.3",
        "Spread improves gradient propagation and the Hessian's rank (Fig. 5C, D)",
        ("mixed",),
        spread_helps_gradients,
    ),
    Claim(
        "4.3",
        "Heterogeneous residuals are better than homogeneous ones (Table 1)",
        ("smnist_residual", "psmnist_residual", "add100_residual"),
        heterogeneous_is_better,
    ),
    Claim(
        "4.4",
        "Non-linear residuals, types A and B, behave alike (Fig. 6)",
        ("smnist_radius-a", "smnist_radius-b"),
        nonlinear_is_alike,
    ),
)
