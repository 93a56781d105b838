"""Claims of Section 4.1 on networks before training, and on Eq. 13."""

from __future__ import annotations

import numpy as np
import xarray as xr

from figures.claims.judging import LEVEL_OF_SEVERAL, Data, Verdict, claim, judged, per_value
from figures.claims.statistics import contrast, margin, ranks, trend, within
from figures.claims.synthetic import along

ALLOWED = 0.01 * 2 / np.sqrt(3)  # α ‖W‖₂ of large matrices of U(−1/√N, 1/√N): what Eq. 13 and 15 leave, at α = 0.01
RADII = (0.9, 0.98, 0.99, 1.0, 1.005, 1.02)


def share_of_allowed(rates: xr.DataArray, radius: xr.DataArray) -> xr.DataArray:
    """Return how far rates are from log r, as a share of what Eq. 13 and 15 leave: α ‖W‖₂ / r."""
    return np.abs(rates - np.log(radius)) * radius / ALLOWED


def before_training(rng: np.random.Generator) -> Data:
    """Return made-up networks before training that are as the theory says."""
    radius, n, time = np.array(RADII), 5, np.arange(784)
    rates = np.log(radius)[:, None] + 0.001 * rng.normal(size=(len(radius), n))
    exponents = np.log(radius)[:, None, None] + 0.002 * rng.normal(size=(len(radius), n, 10))
    logs = -rates[..., None] * time[::-1] + 1e-3 * rng.normal(size=(len(radius), n, 784))
    curvature = 10 ** (100 * (radius - 1))[:, None, None] * np.exp(0.1 * rng.normal(size=(len(radius), n, 3)))
    return (
        xr.Dataset(
            {
                "lyapunov_exponent": (("radius", "network", "exponent"), exponents),
                "decay_rate": (("radius", "network"), rates),
                "log_gradient_norm": (("radius", "network", "time"), logs),
                "hessian_eigenvalue": (("radius", "network", "eigenvalue"), curvature),
            },
            {"radius": radius, "network": np.arange(n), "time": time},
        ),
    )


@claim(
    "4.1",
    "Lyapunov exponents are log r, up to O(α) (Eq. 13, Fig. 2B)",
    "before",
    shuffled=along("radius"),
    synthetic=before_training,
)
def exponents_converge(before: xr.Dataset) -> Verdict:
    """Expect every single exponent within log r ± α ‖W‖ / r, at every r: ‖W‖₂ is 2/√3 for large networks.

    The farthest exponent of each network, as a share of what is allowed, is 1 or less: the mean over networks at the
    worst r, and its interval.
    """
    shares = share_of_allowed(before["lyapunov_exponent"], before["radius"])
    share = shares.max("exponent").transpose("radius", "network").values
    off = np.abs(before["lyapunov_exponent"] - np.log(before["radius"]))
    worst = int(np.nanargmax(np.nanmean(share, axis=1)))
    at = float(before["radius"][worst])
    mean = np.abs((before["lyapunov_exponent"] - np.log(before["radius"])).mean(["exponent", "network"]))
    return judged(
        [
            margin(
                f"1 minus the share of what is allowed that the farthest exponent takes, at r = {at:g}",
                1 - share[worst],
            )
        ],
        also=f"single exponents up to {float(off.max()):.4f} off, their means up to {float(mean.max()):.1e}",
    )


def _eq13(rng: np.random.Generator) -> Data:
    coupling, n = np.array([0.0, 0.001, 0.003, 0.01, 0.03]), 5
    off = (coupling[:, None] * (0.5 + 0.02 * rng.normal(size=(len(coupling), n)))).T
    dims = ("model", "inputs", "hidden_size", "radius", "network", "coupling", "trajectory")
    shape = (3, 1, 1, 1, n, len(coupling), 1)
    top = np.log(1.02) + np.array([0.0, -0.03, -0.04]).reshape(-1, *(1,) * (len(shape) - 1))
    top = top + 0.001 * rng.normal(size=shape)
    deviation = np.broadcast_to(off[None, None, None, None, :, :, None], shape)
    return (
        xr.Dataset(
            {"largest_deviation": (dims, deviation), "largest_exponent": (dims, top)},
            {
                "model": ["identity", "type A", "type B"],
                "inputs": ["digit"],
                "hidden_size": [100],
                "radius": [1.02],
                "network": np.arange(n),
                "coupling": coupling,
                "trajectory": [0],
            },
        ),
    )


@claim("3", "Exponents leave log r in proportion to α (Eq. 13)", "eq13", shuffled=along("coupling"), synthetic=_eq13)
def deviation_is_of_first_order(eq13: xr.Dataset) -> Verdict:
    """Expect the slope of log |λ − log r| against log α, α = 0.001 … 0.03, r·I, N = 100, within 0.25 of 1.

    The next orders that a theory could give are 1/2 and 2: 0.25 is half the way to the nearer one. The farthest
    exponent of each network, digits as inputs, mean over the logs at all r.
    """
    off = eq13["largest_deviation"].sel(model="identity", inputs="digit", hidden_size=100)
    off = off.sel(coupling=slice(0.0009, 0.031))
    off = np.log(off.where(off > 0)).mean(["trajectory", "radius"]).transpose("coupling", "network")
    log = np.log(off["coupling"].values)
    slopes = ((log - log.mean()) @ off.values) / ((log - log.mean()) ** 2).sum()
    name = f"0.25 minus |slope − 1|, slopes {slopes.min():.2f} … {slopes.max():.2f}"
    return judged([margin(name, 0.25 - np.abs(slopes - 1))])


def _sizes(rng: np.random.Generator) -> Data:
    radius, n = np.array([0.9, 0.98, 1.02]), 5
    off = 0.002 * rng.normal(size=(1, 1, 3, len(radius), n, 1, 10))
    exponents = np.log(radius)[:, None, None, None] + off
    dims = ("model", "inputs", "hidden_size", "radius", "network", "coupling", "exponent")
    coordinates = {"hidden_size": [50, 100, 200], "radius": radius, "coupling": [0.01], "network": np.arange(n)}
    return (
        xr.Dataset(
            {"lyapunov_exponent": (dims, exponents)}, coordinates | {"model": ["identity"], "inputs": ["digit"]}
        ),
    )


@claim(
    "4",
    "Exponents are log r, up to O(α), for N = 50 and 200, too",
    "eq13",
    shuffled=along("radius"),
    synthetic=_sizes,
)
def exponents_converge_at_all_sizes(eq13: xr.Dataset) -> Verdict:
    """Expect every single exponent within log r ± α ‖W‖ / r, at every r and N: ‖W‖₂ is 2/√3 for large networks.

    α = 0.01, digits as inputs. The farthest exponent of each network at any r, as a share of what is allowed, is 1 or
    less: for each N the mean over networks, and its interval.
    """
    exponents = eq13["lyapunov_exponent"].sel(model="identity", inputs="digit", coupling=0.01)
    share = share_of_allowed(exponents, eq13["radius"]).max(["exponent", "radius"]).transpose("hidden_size", "network")
    return judged(
        [
            margin(f"N = {int(one['hidden_size'])}, 1 minus the share of what is allowed", 1 - one.values)
            for one in share
        ]
    )


@claim(
    "4.4",
    "Non-linear residuals prevent chaos: types A and B at r = 1.02",
    "eq13",
    shuffled=along("model"),
    synthetic=_eq13,
)
def nonlinearity_prevents_chaos(eq13: xr.Dataset) -> Verdict:
    """Expect the largest exponent at r = 1.02, α = 0.01, above 0 for r·I, and below 0 for types A and B.

    Chaos is a positive exponent. Digits as inputs, N = 100, nats per step; intervals decide.
    """
    top = _largest(eq13)
    grows = margin("largest exponent of r·I", top.sel(model="identity").values)
    stays = [
        margin(f"{kind}, minus the largest exponent", -top.sel(model=kind).values) for kind in ("type A", "type B")
    ]
    return judged([grows, *stays])


@claim(
    "4.4",
    "One common nonlinearity (type B) prevents chaos better than two (type A)",
    "eq13",
    shuffled=along("model"),
    synthetic=_eq13,
)
def one_nonlinearity_prevents_chaos_better(eq13: xr.Dataset) -> Verdict:
    """Expect a smaller largest exponent of type B than of type A at r = 1.02, α = 0.01, in the same networks.

    Digits as inputs, N = 100; tested against exchanges of the types within networks.
    """
    top = _largest(eq13)
    name = "largest exponent of type A ({:+.4f}) minus that of type B ({:+.4f})".format(
        *(float(top.sel(model=kind).mean()) for kind in ("type A", "type B"))
    )
    pair = top.sel(model=["type A", "type B"]).values
    return judged([within(name, pair, contrast(np.array([0]), np.array([1])))], level=LEVEL_OF_SEVERAL)


def _largest(eq13: xr.Dataset) -> xr.DataArray:
    top = eq13["largest_exponent"].sel(inputs="digit", hidden_size=100, radius=1.02, coupling=0.01)
    return top.mean("trajectory").transpose("model", "network")


@claim(
    "4.1", "Hessian eigenvalues grow with r (Fig. 2C)", "before", shuffled=along("radius"), synthetic=before_training
)
def curvature_grows(before: xr.Dataset) -> Verdict:
    """Expect the largest |Hessian eigenvalue| to grow with r within networks: a rank correlation of 0.3 and more."""
    leading = np.abs(before["hessian_eigenvalue"]).max("eigenvalue").dropna("radius", how="all").dropna("network")
    table = ranks(leading.transpose("radius", "network").values)
    effect = within("rank correlation with r", table, trend(leading["radius"].values), smallest=0.3)
    return judged([effect], also="largest |eigenvalue| at r = " + per_value(leading, ".2g"))


@claim(
    "4.1",
    "Gradient norms fall or grow exponentially, at a constant rate (Fig. 2D)",
    "before",
    shuffled=along("time", "radius", "network"),
    synthetic=before_training,
)
def gradients_are_exponential(before: xr.Dataset) -> Verdict:
    """Expect log gradient norms to be straight lines in time, R² > 0.99, at every r but 1.

    The mean R² over networks at the worst r, and its interval.
    """
    others = before.sel(radius=before["radius"] != 1)
    logs = others["log_gradient_norm"].transpose("radius", "network", "time").values
    time = others["time"].values - others["time"].values.mean()
    centred = logs - logs.mean(-1, keepdims=True)
    straight = (centred @ time) ** 2 / ((centred**2).sum(-1) * (time**2).sum())
    worst = int(straight.mean(1).argmin())
    failing = [f"{r:g}" for r, one in zip(others["radius"].values, straight.mean(1), strict=True) if one < 0.99]
    return judged(
        [margin(f"R² minus 0.99 at r = {float(others['radius'][worst]):g}", straight[worst] - 0.99)],
        also=f"below 0.99 at r = {', '.join(failing) or 'none'}; at the others at least "
        f"{min([one for one in straight.mean(1) if one >= 0.99], default=np.nan):.3f}",
    )


@claim(
    "4.1",
    "The rate of gradient norms is log r, up to O(α) (Eq. 15)",
    "before",
    shuffled=along("radius"),
    synthetic=before_training,
)
def gradients_have_the_rate_of_the_residual(before: xr.Dataset) -> Verdict:
    """Expect slopes of log gradient norms within log r ± α ‖W‖ / r, at every r: ‖W‖₂ is 2/√3 for large networks."""
    share = share_of_allowed(before["decay_rate"], before["radius"]).transpose("radius", "network").values
    worst = int(np.nanargmax(np.nanmean(share, axis=1)))
    at = float(before["radius"][worst])
    slopes = ", ".join(
        f"{float(one):+.4f} for {np.log(float(r)):+.4f}"
        for r, one in zip(before["radius"].values, before["decay_rate"].mean("network").values, strict=True)
    )
    name = f"1 minus the share of what is allowed that the slope is off, at r = {at:g}"
    return judged([margin(name, 1 - share[worst])], also=f"slopes are {slopes} nats per step")
