"""Claims of Section 4.3: heterogeneous residuals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from panels import mean_best_score

from claims.judging import Verdict, all_judged, claim, judged, per_value
from lyapkit.plots.training import until_minimal_performance


@claim("4.3", "Moderate spread of radii helps, strong spread makes learning unstable (Fig. 5A)", "smnist_spread")
def moderate_spread_helps(smnist: xr.Dataset) -> Verdict:
    """Expect some ε up to the distance to criticality to gain 0.01 over none, and the largest not to be best."""
    best = mean_best_score(smnist)
    moderate = best.sel(spread=slice(0.001, 0.02)).max()
    is_seen = float(moderate) > float(best.sel(spread=0.0)) + 0.01 and float(best[-1]) < float(best.max())
    return judged(is_seen, "best score at ε = " + per_value(smnist["best_score"]))


@claim("4.3", "Near criticality, spread helps less (data not shown there)", "smnist_spread-critical", "smnist_spread")
def spread_helps_less_near_criticality(critical: xr.Dataset, subcritical: xr.Dataset) -> Verdict:
    """Expect the best of small spreads (ε ≤ 0.02) to gain less over none around r = 1 than around 0.98."""
    gains = []
    for ds in (critical, subcritical):
        best = mean_best_score(ds).sel(spread=slice(0.0, 0.02))
        gains.append(float(best[1:].max() - best[0]))
    return judged(gains[0] < gains[1], f"gain of the best score {gains[0]:+.3f} around 1, {gains[1]:+.3f} around 0.98")


@claim("4.3", "Spread makes memory timescales diverse and brings them closer to criticality (Fig. 5B)", "mixed")
def spread_widens_spectra(mixed: xr.Dataset) -> Verdict:
    """Expect the range of exponents and the largest exponent to grow with ε."""
    exponents = mixed["lyapunov_exponent"].mean("network")
    span, top = exponents.max("exponent") - exponents.min("exponent"), exponents.max("exponent")
    grows = bool((span.diff("spread") > 0).all() and (top.diff("spread") > 0).all())
    return judged(grows, f"range of exponents (nats per step) at ε = {per_value(span, '.4f')}")


@claim("4.3", "Spread improves gradient propagation and the Hessian's rank (Fig. 5C, D)", "mixed")
def spread_helps_gradients(mixed: xr.Dataset) -> Verdict:
    """Expect gradients to fade more slowly, and the tenth Hessian eigenvalue to grow, with ε."""
    rate = mixed["decay_rate"].mean("network")
    tenth = np.abs(mixed["hessian_eigenvalue"]).min("eigenvalue").sel(network=0).dropna("spread")
    is_seen = bool((rate.diff("spread") > 0).all() and (tenth.diff("spread") > 0).all())
    rates, tenths = per_value(rate, "+.4f"), per_value(tenth, ".2g")
    return judged(is_seen, f"decay rates at ε = {rates}; tenth Hessian eigenvalue {tenths}")


@claim(
    "4.3",
    "Heterogeneous residuals are better than homogeneous ones (Table 1)",
    "smnist_residual",
    "psmnist_residual",
    "add100_residual",
)
def heterogeneous_is_better(*sweeps: xr.Dataset) -> Verdict:
    """Expect heterogeneous residuals to score higher, or to be faster where only speed is measured."""
    cases = []
    for ds in sweeps:
        if ds.attrs["score"] == "accuracy":
            numbers, better = mean_best_score(ds), 1
        else:
            numbers, better = until_minimal_performance(ds).mean("network"), -1
        plain, mixed = (float(numbers.sel(residual=name)) for name in ("homogeneous", "heterogeneous"))
        cases.append(
            (better * (mixed - plain) > 0, f"{ds.attrs['task']}: {plain:.4g} homogeneous, {mixed:.4g} heterogeneous")
        )
    return all_judged(cases)


@claim(
    "4.3",
    "Informed heterogeneity does as well as the best homogeneous residual",
    "smnist_residual",
    "psmnist_residual",
    "smnist_radius",
    "smnist_frequency",
    "psmnist_radius",
    "psmnist_frequency",
)
def heterogeneous_is_like_the_best(smnist: xr.Dataset, psmnist: xr.Dataset, *homogeneous: xr.Dataset) -> Verdict:
    """Expect informed heterogeneity to score within 0.02 of the best r·I or rotation swept, or above."""
    return all_judged(
        against_the_best(ds.attrs["task"], ds, homogeneous[2 * index : 2 * index + 2])
        for index, ds in enumerate((smnist, psmnist))
    )


def against_the_best(name: str, mixed: xr.Dataset, homogeneous: Sequence[xr.Dataset]) -> tuple[bool, str]:
    """Return whether informed heterogeneity scores within 0.02 of the best homogeneous residual, and both scores."""
    score = float(mean_best_score(mixed).sel(residual="heterogeneous"))
    best = max(float(mean_best_score(ds).max()) for ds in homogeneous)
    return score > best - 0.02, f"{name}: {score:.3f} heterogeneous, {best:.3f} the best homogeneous"
