"""Claims of Section 4.2: rotational residuals."""

from __future__ import annotations

import numpy as np
import xarray as xr
from layers import shares, spectrum
from panels import characteristic_frequency, mean_best_score

from claims.judging import Verdict, all_judged, claim, judged


@claim("4.2", "The maximal peak of sMNIST's power spectrum is at 2π/28", "power")
def data_peak_at_their_rows(power: xr.Dataset) -> Verdict:
    """Expect the mean power spectrum of sMNIST to be largest at 2π/28."""
    peak = float(power["characteristic_frequency"].sel(task="smnist"))
    return judged(
        abs(peak - 2 * np.pi / 28) < 1e-6, f"largest at {peak:.5f} rad per step, 2π/28 = {2 * np.pi / 28:.5f}"
    )


@claim(
    "4.2", "Rotations at the characteristic frequency or its harmonics are best on sMNIST (Fig. 4A)", "smnist_frequency"
)
def best_frequency(smnist: xr.Dataset) -> Verdict:
    """Expect the best ω at the characteristic frequency or a multiple of it, and better than none."""
    own = characteristic_frequency(smnist)
    best = mean_best_score(smnist)
    at = float(best.idxmax("frequency")) / own
    gain = float(best.max()) - float(best.sel(frequency=0.0))
    is_seen = at > 0.5 and abs(at - round(at)) < 0.05 and gain > 0.02
    multiples = best.assign_coords(frequency=best["frequency"] / own)
    shown = ", ".join(f"{float(f):.2g}: {float(b):.3f}" for f, b in zip(multiples["frequency"], multiples, strict=True))
    return judged(is_seen, f"best at {at:.2f} times the characteristic frequency, {gain:+.3f} over ω = 0; all: {shown}")


@claim("4.2", "A long training gives similar results (Fig. S4)", "smnist_frequency-long", "smnist_frequency")
def long_training_is_similar(long: xr.Dataset, short: xr.Dataset) -> Verdict:
    """Expect the same order of frequencies by best score after a long training as after a short one."""
    frequencies = long["frequency"].values
    ranked = [mean_best_score(ds).sel(frequency=frequencies) for ds in (short, long)]
    is_seen = bool((ranked[0].argsort().values == ranked[1].argsort().values).all())
    own = characteristic_frequency(long)
    shown = "; ".join(
        f"{name}: " + ", ".join(f"{f / own:.2g}: {b:.3f}" for f, b in zip(frequencies, best.values, strict=True))
        for name, best in zip(("short", "long"), ranked, strict=True)
    )
    return judged(is_seen, f"best score at ω over the characteristic frequency, {shown}")


@claim("4.2", "Rotations modulate effective learning rates in an oscillatory manner (Fig. 4B)", "modulation")
def modulation_oscillates(modulation: xr.Dataset) -> Verdict:
    """Expect rotations by ω to at least double the share of power at ω in c(t) or at 2ω in m(t), for every ω.

    c(t) is each layer's share of the gradient, m(t) of the curvature, both without their trend. The data oscillate too,
    at 2π/28 and its harmonics, which hides one of the two where ω is among them.
    """
    cases = []
    for value in modulation["frequency"].values[1:]:
        gains = []
        for name, multiple in (("alignment", 1), ("modulation", 2)):
            turned, plain = (
                np.mean([_power_near(multiple * value, curve) for curve in shares(modulation, name).sel(frequency=f)])
                for f in (value, 0.0)
            )
            gains.append(turned / plain)
        cases.append((max(gains) > 2, f"ω = {value:.3f}: {gains[0]:.2g} in c(t), {gains[1]:.2g} in m(t)"))
    return all_judged(cases, "share of power over that without rotations, ")


def _power_near(frequency: float, curve: xr.DataArray) -> float:
    """Return the share of a curve's power within 15 % of a frequency."""
    frequencies, power = spectrum(curve.values)
    return float(power[np.abs(frequencies / frequency - 1) < 0.15].sum() / power.sum())


@claim("4.2", "ω has no strong effect on psMNIST (Fig. 4A)", "smnist_frequency", "psmnist_frequency")
def permuted_has_no_frequency(smnist: xr.Dataset, psmnist: xr.Dataset) -> Verdict:
    """Expect the range of mean scores on psMNIST to be less than half of sMNIST's, at the same values of ω."""
    common = np.intersect1d(smnist["frequency"], psmnist["frequency"])
    best = [mean_best_score(ds).sel(frequency=common) for ds in (psmnist, smnist)]
    permuted, plain = (float(np.ptp(one.values)) for one in best)
    turned = float(np.ptp(best[0].where(best[0]["frequency"] > 0, drop=True).values))
    return judged(
        permuted < plain / 2,
        f"range of best scores over {len(common)} values of ω: {permuted:.3f} ({turned:.3f} without ω = 0), "
        f"sMNIST {plain:.3f}",
    )


@claim("4.2", "Random orthogonal residuals do as heterogeneous frequencies do (Fig. 4D)", "smnist_residual")
def orthogonal_is_like_heterogeneous(smnist: xr.Dataset) -> Verdict:
    """Expect orthogonal residuals and heterogeneous frequencies to score more alike than either and r·I."""
    best = mean_best_score(smnist)
    orthogonal, mixed, plain = (
        float(best.sel(residual=name)) for name in ("orthogonal", "heterogeneous frequencies", "homogeneous")
    )
    is_seen = abs(orthogonal - mixed) < min(abs(orthogonal - plain), abs(mixed - plain))
    return judged(is_seen, f"orthogonal {orthogonal:.3f}, heterogeneous frequencies {mixed:.3f}, r·I {plain:.3f}")
