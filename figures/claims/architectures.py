"""Claims of Section 4.4: non-linear residuals, and other architectures."""

from __future__ import annotations

import numpy as np
import xarray as xr
from panels import characteristic_frequency, mean_best_score

from claims.heterogeneity import against_the_best
from claims.judging import Verdict, all_judged, claim, judged, per_value
from lyapkit.plots.training import until_minimal_performance


@claim(
    "4.4",
    "Types A and B show the same trade-off of efficiency and stability (Fig. 6A)",
    "smnist_radius-a",
    "smnist_radius-b",
)
def nonlinear_is_alike(type_a: xr.Dataset, type_b: xr.Dataset) -> Verdict:
    """Expect types A and B, too, to be slower far below criticality than near it."""
    speeds = [until_minimal_performance(ds).mean("network") for ds in (type_a, type_b)]
    is_seen = all(float(speed[0]) > float(speed.min()) for speed in speeds)
    evidence = "; ".join(
        f"type {n}: {per_value(until_minimal_performance(ds), '.0f')}" for n, ds in (("A", type_a), ("B", type_b))
    )
    return judged(is_seen, f"iterations to minimal performance at r = {evidence}")


@claim(
    "4.4", "Type A is best below criticality, type B weakly above it (Fig. 6A)", "smnist_radius-a", "smnist_radius-b"
)
def types_differ_in_the_best_radius(type_a: xr.Dataset, type_b: xr.Dataset) -> Verdict:
    """Expect the best score below 1 for type A, above it for type B."""
    best = [float(mean_best_score(ds).idxmax("radius")) for ds in (type_a, type_b)]
    evidence = "; ".join(f"type {n}: {per_value(ds['best_score'])}" for n, ds in (("A", type_a), ("B", type_b)))
    return judged(best[0] < 1 < best[1], f"best score at r = {evidence}")


@claim(
    "4.4", "Both types have peaks of performance with rotations (Fig. 6B)", "smnist_frequency-a", "smnist_frequency-b"
)
def types_have_peaks(type_a: xr.Dataset, type_b: xr.Dataset) -> Verdict:
    """Expect both types to score best with rotations, at a local maximum within 0.2 of the characteristic frequency."""
    own = characteristic_frequency(type_a)
    at = [float(mean_best_score(ds).idxmax("frequency")) / own for ds in (type_a, type_b)]
    is_seen = all(one > 0 and abs(one - max(1, round(one))) < 0.21 for one in at)
    return judged(is_seen, f"best ω over the characteristic frequency: type A {at[0]:.2g}, type B {at[1]:.2g}")


@claim("4.4", "Type B is more sensitive to ω than type A (Fig. 6B)", "smnist_frequency-a", "smnist_frequency-b")
def type_b_is_more_sensitive(type_a: xr.Dataset, type_b: xr.Dataset) -> Verdict:
    """Expect best scores of type B to vary more with ω than those of type A (standard deviation over ω)."""
    spread = [float(mean_best_score(ds).std()) for ds in (type_a, type_b)]
    own = characteristic_frequency(type_a)
    scores = []
    for ds in (type_a, type_b):
        best = ds["best_score"].assign_coords(frequency=ds["frequency"] / own)
        scores.append(per_value(best))
    evidence = f"SD over ω {spread[0]:.3f} for A, {spread[1]:.3f} for B; A: {scores[0]}; B: {scores[1]}"
    return judged(spread[1] > spread[0], evidence)


@claim(
    "4.4",
    "Types A and B with informed heterogeneity are like their best homogeneous variants (data not shown there)",
    "smnist_residual-a",
    "smnist_residual-b",
    "smnist_radius-a",
    "smnist_radius-b",
    "smnist_frequency-a",
    "smnist_frequency-b",
)
def types_gain_by_heterogeneity(*sweeps: xr.Dataset) -> Verdict:
    """Expect heterogeneous residuals of types A and B to score within 0.02 of the best r·I or rotation, or above."""
    type_a, type_b = sweeps[0::2], sweeps[1::2]
    return all_judged(
        against_the_best(f"type {name}", mixed, homogeneous)
        for name, (mixed, *homogeneous) in (("A", type_a), ("B", type_b))
    )


@claim(
    "4.4",
    "Elman networks with identity residuals and clipping have difficulties with long tasks (Table 2)",
    "smnist_architecture",
    "add100_architecture",
)
def elman_fails(*sweeps: xr.Dataset) -> Verdict:
    """Expect Elman networks with identity residuals not to reach minimal performance where type B does."""
    cases = []
    for ds in sweeps:
        reached = ds["iterations_to_minimal_performance"].min("network")
        elman, type_b = (float(reached.sel(architecture=name)) for name in ("elman-residual", "wcrnn-b"))
        scores = [float(mean_best_score(ds).sel(architecture=name)) for name in ("elman-residual", "wcrnn-b")]
        cases.append(
            (
                np.isnan(elman) and not np.isnan(type_b),
                f"{ds.attrs['task']} ({ds.attrs['score']}): {scores[0]:.3f} Elman, {scores[1]:.3f} type B",
            )
        )
    return all_judged(cases, "best score, ")


@claim(
    "4.4",
    "The nonlinearity is important (Table 2)",
    "smnist_architecture",
    "psmnist_architecture",
    "scifar10_architecture",
    "add100_architecture",
)
def nonlinearity_matters(*sweeps: xr.Dataset) -> Verdict:
    """Expect a WCRNN to be better than one without nonlinearity, on every task."""
    cases = []
    for ds in sweeps:
        best = mean_best_score(ds)
        with_it, without = (float(best.sel(architecture=name)) for name in ("wcrnn", "wcrnn-identity"))
        cases.append(
            (
                with_it > without if ds.attrs["score"] == "accuracy" else with_it < without,
                f"{ds.attrs['task']} ({ds.attrs['score']}): {with_it:.3f} with, {without:.3f} without",
            )
        )
    return all_judged(cases)


@claim(
    "4.4",
    "Heterogeneous WCRNNs compete with larger architectures on some tasks (Table 2)",
    "smnist_residual",
    "smnist_architecture",
    "psmnist_residual",
    "psmnist_architecture",
)
def heterogeneous_competes(*sweeps: xr.Dataset) -> Verdict:
    """Expect heterogeneous WCRNNs within 0.03 of the best of LSTM, UR-LSTM and S4 on some task, at equal iterations."""
    found, evidence = [], []
    for residuals, architectures in zip(sweeps[::2], sweeps[1::2], strict=True):
        halfway = int(architectures["iteration"].max())
        scores = residuals["test_score"].sel(residual="heterogeneous").sel(iteration=slice(None, halfway))
        mixed = float(scores.max("iteration").mean("network"))
        others = mean_best_score(architectures).sel(architecture=["lstm", "ur-lstm", "s4"])
        found.append(mixed > float(others.max()) - 0.03)
        evidence.append(f"{architectures.attrs['task']}: {mixed:.3f} after {halfway} iterations; {per_value(others)}")
    return judged(any(found), "; ".join(evidence))
