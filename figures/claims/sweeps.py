"""What claims read off the learning curves of a sweep: tables (values, networks)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from lyapkit.plots.training import swept_parameter

FEW = 0.5  # of the networks at the best value: where fewer than these learn, no speeds are compared


def scores(ds: xr.Dataset) -> np.ndarray:
    """Return best scores, the larger the better: the negative of errors."""
    return better(ds) * _table(ds, ds["best_score"])


def better(ds: xr.Dataset) -> int:
    """Return 1 if large scores are good, -1 if small ones are."""
    return 1 if ds.attrs["score"] == "accuracy" else -1


def times(ds: xr.Dataset) -> np.ndarray:
    """Return iterations to minimal performance: infinitely many where it is never reached, NaN if not trained."""
    reached = _table(ds, ds["iterations_to_minimal_performance"])
    return np.where(np.isnan(_table(ds, ds["best_score"])), np.nan, np.where(np.isnan(reached), np.inf, reached))


def times_to(ds: xr.Dataset, accuracy: float) -> np.ndarray:
    """Return the iterations after which the test score is first at an accuracy; infinitely many if it never is."""
    curves = ds["test_score"].transpose(swept_parameter(ds), "network", "iteration").values
    there = curves >= accuracy
    found = np.where(there.any(-1), ds["iteration"].values[there.argmax(-1)], np.inf)
    return np.where(np.isnan(curves).all(-1), np.nan, found)


def setbacks(ds: xr.Dataset) -> np.ndarray:
    """Return the largest rise of the test loss above the least it had been, in decades: log10(1 + rise)."""
    losses = ds["test_loss"].transpose(swept_parameter(ds), "network", "iteration").values
    return np.where(np.isnan(_table(ds, ds["best_score"])), np.nan, np.log10(1 + largest_rises(losses)))


def largest_rises(losses: np.ndarray) -> np.ndarray:
    """Return by how much losses (…, iteration) rise at most above the least they had been; 0 where there are none."""
    least = np.minimum.accumulate(np.where(np.isnan(losses), np.inf, losses), axis=-1)
    return np.where(np.isnan(losses), 0.0, losses - np.where(np.isfinite(least), least, 0.0)).max(-1)


def collapsed(ds: xr.Dataset) -> np.ndarray:
    """Return which networks collapse: test losses that rise by more than 1 above the least they had been."""
    return setbacks(ds) > np.log10(2)


def too_few_learnt(ds: xr.Dataset) -> str:
    """Return that fewer than half of the networks learn at every value, if so."""
    reached = np.isfinite(times(ds)) & ~np.isnan(times(ds))
    known = np.maximum((~np.isnan(times(ds))).sum(1), 1)
    few = bool((reached.sum(1) / known).max() < FEW)
    n = int((~np.isnan(times(ds))).sum())
    return f"{int(reached.sum())} of {n} networks learn" if few else ""


def too_many_collapse(ds: xr.Dataset, mask: np.ndarray) -> str:
    """Return that half or more of the networks at some values collapse, if so: then it is the rate that does harm."""
    gone, n = int(collapsed(ds)[mask].sum()), int((~np.isnan(setbacks(ds)[mask])).sum())
    return f"{gone} of {n} networks above 1 collapse at this learning rate" if n and gone >= n / 2 else ""


def regimes(ds: xr.Dataset) -> dict[str, np.ndarray]:
    """Return masks of radii by what a whole sequence leaves, r^T: far below criticality, near below, at it, above."""
    radius = ds["radius"].values
    left = radius ** float(ds.attrs["n_steps"])
    return {"far": left < 0.1, "near": (left >= 0.1) & (radius < 1), "at": radius == 1, "above": radius > 1}


def _table(ds: xr.Dataset, values: xr.DataArray) -> np.ndarray:
    return values.transpose(swept_parameter(ds), "network").values.astype(float)
