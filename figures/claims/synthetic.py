"""Data that judge the claims: shuffled, so that nothing is left to be seen, and made up, so that there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from figures.claims.judging import Data, Shuffle

RADII = (0.95, 0.97, 0.98, 0.99, 0.995, 1.0, 1.005, 1.01)
ITERATIONS = np.arange(0, 1873, 117)
Rule = Callable[[float], float] | Mapping[str, float] | float


def along(dim: str, *blocks: str) -> Shuffle:
    """Return what shuffles the values of one dimension, within each network (or other blocks), in all datasets."""
    within = blocks or ("network",)

    def shuffle(datasets: Data, rng: np.random.Generator) -> Data:
        return tuple(_along(ds, dim, within, rng) if dim in ds.dims else ds for ds in datasets)

    return shuffle


def _along(ds: xr.Dataset, dim: str, blocks: tuple[str, ...], rng: np.random.Generator) -> xr.Dataset:
    sizes = [ds.sizes[block] for block in blocks]
    order = rng.random((ds.sizes[dim], *sizes)).argsort(axis=0)
    changed = {}
    for name in ds.data_vars:
        variable = ds.variables[name]
        if dim not in variable.dims or any(block not in variable.dims for block in blocks):
            continue
        front = variable.transpose(dim, *blocks, ...)
        index = order.reshape(order.shape + (1,) * (front.ndim - order.ndim))
        mixed = np.take_along_axis(front.values, np.broadcast_to(index, front.shape), axis=0)
        changed[name] = front.copy(data=mixed).transpose(*variable.dims)
    return ds.assign(changed)


def exchanged(*pairs: tuple[int, int]) -> Shuffle:
    """Return what exchanges networks between two datasets of the same sweep, at every value that both have."""

    def shuffle(datasets: Data, rng: np.random.Generator) -> Data:
        mixed = list(datasets)
        for first, second in pairs:
            a, b = (mixed[index] for index in (first, second))
            (dim,) = (str(d) for d in a["best_score"].dims if d != "network")
            common = np.intersect1d(a[dim].values, b[dim].values)
            n = a.sizes["network"]
            both = xr.concat(
                [
                    ds.sel({dim: common})[
                        ["best_score", "iterations_to_minimal_performance", "test_score", "test_loss"]
                    ]
                    for ds in (a, b.assign_coords(network=b["network"] + n))
                ],
                "network",
            )
            both = _along(both, "network", (dim,), rng)
            mixed[first] = both.isel(network=slice(None, n)).assign_attrs(a.attrs)
            mixed[second] = both.isel(network=slice(n, None)).assign_attrs(b.attrs)
        return tuple(mixed)

    return shuffle


def pooled(*groups: tuple[int, ...]) -> Shuffle:
    """Return what exchanges networks between all values of all datasets of a group: scores, and how soon they come."""

    def shuffle(datasets: Data, rng: np.random.Generator) -> Data:
        mixed = [ds.copy(deep=True) for ds in datasets]
        for group in groups:
            known = [mixed[index]["best_score"].notnull().values for index in group]
            order = rng.permutation(sum(int(one.sum()) for one in known))
            for name in ("best_score", "iterations_to_minimal_performance"):
                values = np.concatenate([mixed[i][name].values[one] for i, one in zip(group, known, strict=True)])
                for index, one in zip(group, known, strict=True):
                    n = int(one.sum())
                    mixed[index][name].values[one] = values[order][:n]
                    order = np.roll(order, -n)
            mixed = [mixed[index] if index in group else ds for index, ds in enumerate(mixed)]
        return tuple(mixed)

    return shuffle


def one_after_the_other(*shuffles: Shuffle) -> Shuffle:
    """Return what shuffles in several ways."""

    def shuffle(datasets: Data, rng: np.random.Generator) -> Data:
        for one in shuffles:
            datasets = one(datasets, rng)
        return datasets

    return shuffle


def sweep(
    rng: np.random.Generator,
    dim: str,
    values: tuple,
    *,
    score: Rule = 0.7,
    time: Rule = 500.0,
    setback: Rule = 0.05,
    n_networks: int = 5,
    noise: float = 0.01,
    task: str = "smnist/2",
    n_steps: int = 196,
) -> xr.Dataset:
    """Return a made-up sweep: what networks reach, when, and how far their losses rise again, by the swept value.

    Times beyond the last iteration are those of networks that never learn.
    """

    def table(rule: Rule, relative: float) -> np.ndarray:
        means = [
            rule[value] if isinstance(rule, Mapping) else rule(value) if callable(rule) else rule for value in values
        ]
        spread = rng.normal(size=(len(values), n_networks))
        return np.array(means, dtype=float)[:, None] * (1 + relative * spread)

    is_error = task.startswith("add")
    best, when, rise = table(score, noise), table(time, 5 * noise), np.abs(table(setback, 10 * noise))
    when = np.maximum(117, 117 * np.round(when / 117))
    chance, goal = (0.41, 0.25) if is_error else (0.1, 0.5)
    share = 1 / (1 + np.exp(-(ITERATIONS - when[..., None]) / 150))
    curves = chance + (best[..., None] - chance) * share
    losses = np.minimum.accumulate(2.3 * (1 - 0.8 * share), axis=-1)
    losses[..., -3] += rise
    reached = np.where(when <= ITERATIONS[-1], when, np.nan)
    dims = (dim, "network")
    return xr.Dataset(
        {
            "test_score": ((*dims, "iteration"), curves),
            "test_loss": ((*dims, "iteration"), losses),
            "best_score": (dims, best),
            "iterations_to_minimal_performance": (dims, reached),
        },
        {dim: list(values), "network": np.arange(n_networks), "iteration": ITERATIONS},
        {
            "task": task,
            "score": "RMS error" if is_error else "accuracy",
            "n_steps": n_steps,
            "minimal_performance": goal,
        },
    )
