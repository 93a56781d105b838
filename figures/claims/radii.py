"""Claims of Section 4.1: residuals r·I from sub- to supercritical."""

from __future__ import annotations

import numpy as np
import xarray as xr
from panels import is_learnt, mean_best_score

from claims.judging import NOT_YET, Verdict, all_judged, claim, judged, per_value
from lyapkit.plots.training import until_minimal_performance


@claim("4.1", "Lyapunov exponents converge to log r (Eq. 13, Fig. 2B)", "before")
def exponents_converge(before: xr.Dataset) -> Verdict:
    """Expect mean exponents within 1e-3 nats of log r."""
    off = before["lyapunov_exponent"].mean(["exponent", "network"]) - np.log(before["radius"])
    largest = float(np.abs(before["lyapunov_exponent"] - np.log(before["radius"])).max())
    worst = float(np.abs(off).max())
    return judged(
        worst < 1e-3, f"means within {worst:.1e} nats per step of log r; single exponents up to {largest:.4f} off"
    )


@claim("4.1", "Hessian eigenvalues grow with r (Fig. 2C)", "before")
def curvature_grows(before: xr.Dataset) -> Verdict:
    """Expect the largest Hessian eigenvalue to grow with r in every network."""
    leading = np.abs(before["hessian_eigenvalue"]).max("eigenvalue").dropna("radius", how="all").dropna("network")
    grows = bool((leading.sortby("radius").diff("radius") > 0).all())
    return judged(grows, "largest |eigenvalue| at r = " + per_value(leading, ".2g"))


@claim("4.1", "Gradient norms fall or grow exponentially, at a constant rate (Fig. 2D)", "before")
def gradients_are_exponential(before: xr.Dataset) -> Verdict:
    """Expect log gradient norms to be straight lines in time, R² > 0.99, where |log r| ≥ 0.005."""
    far = _far_from_criticality(before)["log_gradient_norm"].mean("network")
    straight = {radius: _straightness(far.sel(radius=radius)) for radius in far["radius"].values.tolist()}
    worst = min(straight, key=straight.get)
    return judged(straight[worst] > 0.99, f"R² of straight lines at least {straight[worst]:.3f} (r = {worst:g})")


@claim("4.1", "The rate of gradient norms is log r (Eq. 15)", "before")
def gradients_have_the_rate_of_the_residual(before: xr.Dataset) -> Verdict:
    """Expect slopes of log gradient norms within 2 % of log r, where |log r| ≥ 0.005."""
    far = _far_from_criticality(before)
    rate, log_r = far["decay_rate"].mean("network"), np.log(far["radius"])
    slopes = ", ".join(
        f"{float(one):+.4f} for {float(log):+.4f}" for one, log in zip(rate.values, log_r.values, strict=True)
    )
    left = float(np.abs(rate - far["averaged_decay_rate"].mean("network")).max())
    return judged(
        bool((np.abs(rate / log_r - 1) < 0.02).all()),
        f"slopes are {slopes} nats per step; they are those of the averaged Jacobian, which has α in it, to {left:.4f}",
    )


def _far_from_criticality(before: xr.Dataset) -> xr.Dataset:
    return before.where(np.abs(np.log(before["radius"])) >= 0.005, drop=True)


def _straightness(values: xr.DataArray) -> float:
    """Return R² of the straight line through values against time."""
    return float(np.corrcoef(values["time"].values, values.values)[0, 1] ** 2)


@claim(
    "4.1",
    "Over training, Hessian eigenvalues rise below criticality and fall at and above it (Fig. 3)",
    "smnist_radius",
)
def curvature_over_training(smnist: xr.Dataset) -> Verdict:
    """Expect the largest Hessian eigenvalue to rise below criticality and to fall at and above it."""
    leading = np.abs(smnist["hessian_eigenvalue"]).max("eigenvalue").sel(network=0).dropna("radius", how="all")
    ratio = leading.isel(checkpoint=-1) / leading.isel(checkpoint=0)
    radius = ratio["radius"].values
    is_seen = bool((ratio.values[radius < 1] > 1).all() and (ratio.values[radius >= 1] < 1).all())
    return judged(is_seen, "after training over before, at r = " + per_value(ratio, ".2g"))


@claim("4.1", "Over training, exponents remain in the same range (Fig. S1)", "smnist_radius")
def exponents_stay(smnist: xr.Dataset) -> Verdict:
    """Expect mean exponents at the end within 0.005 nats of those before, extremes within 0.02."""
    ends = smnist["lyapunov_exponent"].sel(network=0).dropna("radius", how="all").isel(checkpoint=[0, -1])
    means = np.abs(ends.mean("exponent").diff("checkpoint"))
    extremes = np.maximum(
        np.abs(ends.max("exponent").diff("checkpoint")), np.abs(ends.min("exponent").diff("checkpoint"))
    )
    is_seen = float(means.max()) < 0.005 and float(extremes.max()) < 0.02
    evidence = f"means move by up to {float(means.max()):.4f} nats per step, the largest or smallest by up to "
    return judged(is_seen, f"{evidence}{float(extremes.max()):.3f} (at the learning rate of this scale)")


@claim(
    "4.1",
    "Farther below criticality, learning is less efficient, on all tasks",
    "smnist_radius",
    "psmnist_radius",
    "add100_radius",
)
def subcritical_is_slow(*sweeps: xr.Dataset) -> Verdict:
    """Expect the most subcritical networks to need more iterations than the fastest of r ≤ 1, in every task."""
    cases = []
    for ds in sweeps:
        speed = until_minimal_performance(ds).mean("network").sel(radius=slice(None, 1.0))
        slow, fast, fastest = float(speed[0]), float(speed.min()), float(speed.idxmin("radius"))
        cases.append(
            (
                slow > fast,
                f"{ds.attrs['task']}: {slow:.0f} at r = {float(speed['radius'][0]):g}, {fast:.0f} at r = {fastest:g}",
            )
        )
    return all_judged(cases, "iterations to minimal performance: ")


@claim("4.1", "Supercritical networks learn unstably (Fig. 3A)", "smnist_radius", "psmnist_radius", "add100_radius")
def supercritical_is_unstable(*sweeps: xr.Dataset) -> Verdict:
    """Expect test scores to fall farther between evaluations above 1 than at 0.99 … 1, or learning to fail there."""
    cases = []
    for ds in sweeps:
        falls = (-ds["test_score"].diff("iteration")).max("iteration")
        above, near = falls.sel(radius=slice(1.001, None)), falls.sel(radius=slice(0.99, 1.0))
        failed = ds["iterations_to_minimal_performance"].sel(radius=slice(1.001, None)).isnull()
        failed = int((failed & above.notnull()).sum())
        cases.append(
            (
                float(above.max()) > float(near.max()) or failed > 0,
                f"{ds.attrs['task']}: largest fall {float(above.max()):.2f} above 1, {float(near.max()):.2f} at 0.99 … "
                f"1; {failed} of {int(above.notnull().sum())} networks above 1 never reach minimal performance",
            )
        )
    return all_judged(cases)


@claim(
    "4.1",
    "Clipping of gradients makes learning of supercritical networks more stable (data not shown there)",
    "smnist_radius-clipped",
    "smnist_radius",
)
def clipping_steadies(clipped: xr.Dataset, smnist: xr.Dataset) -> Verdict:
    """Expect supercritical networks to fall less between evaluations if gradients are clipped, in the mean."""
    own = smnist.sel(radius=clipped["radius"], network=clipped["network"])
    with_clip, without = (
        float((-ds["test_score"].diff("iteration")).clip(min=0).max("iteration").mean()) for ds in (clipped, own)
    )
    best = [float(ds["best_score"].mean()) for ds in (clipped, own)]
    return judged(
        with_clip < without,
        f"largest fall of the test score {with_clip:.3f} with clipping, {without:.3f} without; best scores "
        f"{best[0]:.3f} and {best[1]:.3f} (means over r = {', '.join(f'{r:g}' for r in clipped['radius'].values)})",
    )


@claim(
    "4.1",
    "Supercritical networks are better on sMNIST and psMNIST, subcritical ones on ADD",
    "smnist_radius",
    "psmnist_radius",
    "add100_radius",
)
def best_radius_by_task(smnist: xr.Dataset, psmnist: xr.Dataset, add: xr.Dataset) -> Verdict:
    """Expect images to be learnt best above 1, and the adding problem fastest below 1."""
    best = [float(mean_best_score(ds).idxmax("radius")) for ds in (smnist, psmnist)]
    fastest = float(until_minimal_performance(add).mean("network").idxmin("radius"))
    is_seen = min(best) > 1 and fastest < 1
    return judged(is_seen, f"best r: sMNIST {best[0]:g}, psMNIST {best[1]:g}; fastest r on ADD100: {fastest:g}")


@claim("4.1", "Weakly subcritical networks, close to criticality, are best", "smnist_radius", "psmnist_radius")
def near_critical_is_best(*sweeps: xr.Dataset) -> Verdict:
    """Expect best scores at r within 0.01 of criticality, and not above 1."""
    best = [float(mean_best_score(ds).idxmax("radius")) for ds in sweeps]
    named = ", ".join(f"{ds.attrs['task']}: r = {one:g}" for ds, one in zip(sweeps, best, strict=True))
    return judged(all(0.99 <= one <= 1.0 for one in best), f"best {named}")


@claim(
    "4.1",
    "The best networks are closer to criticality for longer ADD",
    "add50_radius",
    "add100_radius",
    "add200_radius",
)
def longer_is_closer(*sweeps: xr.Dataset) -> Verdict:
    """Expect the fastest radius to be closer to 1 at every longer task, of those that are learnt at all."""
    distances, evidence = [], []
    for ds in sweeps:
        speed = until_minimal_performance(ds).mean("network")
        if not is_learnt(ds):
            evidence.append(f"{ds.attrs['task']}: learnt at no r in {int(ds['iteration'].max())} iterations")
            continue
        best = float(speed.idxmin("radius"))
        distances.append(abs(best - 1))
        evidence.append(f"{ds.attrs['task']}: fastest at r = {best:g} ({per_value(speed, '.0f')})")
    if len(distances) < 2:
        return NOT_YET, "; ".join(evidence)
    return judged(bool((np.diff(distances) < 0).all()), "; ".join(evidence))


@claim("4.1", "Too small and too large α make learning hard (Fig. S3)", "smnist_coupling")
def coupling_range(smnist: xr.Dataset) -> Verdict:
    """Expect the weakest and the strongest coupling to score less than α = 0.01 does."""
    best = mean_best_score(smnist)
    middle = float(best.sel(coupling=0.01))
    is_seen = middle > float(best[0]) and middle > float(best[-1])
    return judged(is_seen, "best score at α = " + per_value(smnist["best_score"]))


@claim("4.1", "α acts on learning as a learning rate does", "smnist_coupling")
def coupling_is_a_rate(smnist: xr.Dataset) -> Verdict:
    """Expect larger α to need fewer iterations to minimal performance, up to the fastest one."""
    speed = until_minimal_performance(smnist).mean("network")
    fastest = int(speed.argmin("coupling"))
    is_seen = fastest > 0 and bool((speed[: fastest + 1].diff("coupling") <= 0).all())
    return judged(
        is_seen, "iterations to minimal performance at α = " + per_value(until_minimal_performance(smnist), ".0f")
    )
