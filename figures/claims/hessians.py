"""Claims of Sections 2.2 and 4.1 on what Hessians are made of, and what they depend on."""

from __future__ import annotations

import numpy as np
import xarray as xr

from figures.claims.judging import Data, Verdict, claim, judged, per_value
from figures.claims.statistics import margin, signed, within
from figures.claims.synthetic import along

LEARNT = 0.5  # accuracy


def _parts(rng: np.random.Generator) -> Data:
    n, at = 6, np.array([0, 117, 468, 936, 1872])
    share = np.exp(-at / 800) * (1 + 0.05 * rng.normal(size=(n, len(at))))
    hessian = np.exp(0.1 * rng.normal(size=share.shape))
    score = np.broadcast_to(0.1 + 0.8 * at / at[-1], share.shape)
    dims = ("network", "checkpoint")
    values = {"remainder_eigenvalue": share * hessian, "hessian_eigenvalue": hessian, "test_score": score}
    return (
        xr.Dataset({name: (dims, one) for name, one in values.items()}, {"network": np.arange(n), "checkpoint": at}),
    )


@claim(
    "2.2",
    "As training converges, the Hessian becomes its Gauss-Newton part (Eq. 7)",
    "curvature_parts",
    shuffled=along("checkpoint"),
    synthetic=_parts,
)
def hessian_becomes_gauss_newton(parts: xr.Dataset) -> Verdict:
    """Expect a smaller share of the Hessian's largest |eigenvalue| in that of the Hessian minus its Gauss-Newton part.

    At the last checkpoint than at the first, in networks that learnt (accuracy 0.5 and more at the last): p ≤ 0.025
    against exchanges of the two within networks.
    """
    learnt = parts["test_score"].isel(checkpoint=-1) >= LEARNT
    share = (parts["remainder_eigenvalue"] / parts["hessian_eigenvalue"]).transpose("checkpoint", "network")
    fall = (share.isel(checkpoint=0) - share.isel(checkpoint=-1)).where(learnt).values
    few = "" if int(learnt.sum()) >= 3 else f"{int(learnt.sum())} of {len(learnt)} networks learn"
    return judged(
        [signed("share at first minus share at last", fall[None], reason=few)],
        also="shares at iteration " + per_value(share.where(learnt), ".2f"),
    )


def _layers(rng: np.random.Generator) -> Data:
    radius, n, time = np.array([0.98, 0.99, 1.005, 1.01]), 3, np.arange(1, 785)
    gradient = np.log(radius)[:, None, None] * (784 - time) + np.zeros((n, 1))
    bend = 0.5 * rng.normal(size=gradient.shape) - 2
    curvature = gradient + bend - 1 + 0.3 * rng.normal(size=gradient.shape)
    dims = ("radius", "network", "time")
    values = {"log_layer_curvature": curvature, "log_bend": bend, "log_gradient_norm": gradient}
    return (
        xr.Dataset(
            {name: (dims, one) for name, one in values.items()},
            {"radius": radius, "network": np.arange(n), "time": time},
        ),
    )


@claim(
    "2.2",
    "A layer's share of the curvature is proportional to the norm of the gradient that reaches it (Eq. 9, 10)",
    "curvature_layers",
    shuffled=lambda datasets, rng: tuple(_gradients_of_other_layers(ds, rng) for ds in datasets),
    synthetic=_layers,
)
def curvature_is_proportional_to_gradients(layers: xr.Dataset) -> Verdict:
    """Expect the slope of log |vᵀK_t v| against log ‖a_t‖ over layers nearer to 1 than to 0 and to 2, in every network.

    At r below and above 1; trends of Dh_t taken into account: log ‖b_t‖ is taken off, where vᵀK_t v = a_t · b_t. Of
    each network the radius at which the slope is farthest from 1 counts, below 1 and above.
    """
    curvature = layers["log_layer_curvature"] - layers["log_bend"]
    known = np.isfinite(curvature) & np.isfinite(layers["log_gradient_norm"])
    x, y = layers["log_gradient_norm"].where(known), curvature.where(known)
    x = x - x.mean("time")
    slope = (x * y).sum("time") / (x**2).sum("time")
    off = np.abs(slope - 1).transpose("radius", "network")
    sides = {"below": layers["radius"] < 1, "above": layers["radius"] > 1}
    return judged(
        [
            margin(f"0.5 minus |slope − 1| at r {side} 1", (0.5 - off.sel(radius=chosen).max("radius")).values)
            for side, chosen in sides.items()
        ],
        also="slopes at r = " + per_value(slope, ".2f"),
    )


def _gradients_of_other_layers(ds: xr.Dataset, rng: np.random.Generator) -> xr.Dataset:
    """Return the same curvatures beside gradients of layers drawn by chance."""
    return ds.assign(
        log_gradient_norm=along("time", "radius", "network")((ds[["log_gradient_norm"]],), rng)[0].log_gradient_norm
    )


def _samples(rng: np.random.Generator) -> Data:
    radius, n = np.array([0.98, 1.0, 1.02]), 3
    logs = np.log([0.01, 0.2, 40.0])[:, None, None] + 0.1 * rng.normal(size=(3, n, 1))
    logs = logs + 0.05 * rng.normal(size=(3, n, 3))
    dims = ("radius", "network", "choice", "eigenvalue")
    return (
        xr.Dataset(
            {"hessian_eigenvalue": (dims, np.exp(logs)[..., None])},
            {"radius": radius, "network": np.arange(n), "choice": np.arange(3)},
        ),
    )


@claim(
    "4.1",
    "Hessian eigenvalues are alike for other choices of the 1000 samples (data not shown there)",
    "curvature_samples",
    shuffled=along("radius", "network", "choice"),
    synthetic=_samples,
)
def hessians_are_alike_on_other_samples(samples: xr.Dataset) -> Verdict:
    """Expect the variance of log |eigenvalue| between choices of samples to be less than that between values of r.

    Of the largest by magnitude, in networks before training; by a permutation test within networks.
    """
    leading = np.log(np.abs(samples["hessian_eigenvalue"]).max("eigenvalue"))
    shape = samples.sizes["radius"], samples.sizes["choice"]

    def excess(table: np.ndarray) -> np.ndarray:
        values = table.reshape(*table.shape[:-2], *shape, table.shape[-1])
        return values.mean(-2).var(-2, ddof=1) - values.var(-2, ddof=1).mean(-2)

    table = leading.transpose("radius", "choice", "network").values.reshape(-1, samples.sizes["network"])
    spread = np.exp(leading.std("choice").max())
    return judged(
        [within("variance between values of r minus that between choices", table, excess)],
        also=f"choices differ by a factor of {float(spread):.2f} at most (one standard deviation); largest "
        "|eigenvalue| at r = " + per_value(np.exp(leading.mean("choice")), ".2g"),
    )
