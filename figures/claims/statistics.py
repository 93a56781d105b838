"""Effects with their uncertainty: permutation tests, exact where they can be counted, and bootstraps over networks.

Values come as tables (values of the swept parameter, networks). An effect is positive where it is what a claim says.
Its interval is the 95 % percentile interval of its mean over networks, which are drawn with replacement: all draws
are gone through where there are few. Its p-values are the shares of relabelled data whose effect is as large or larger,
or as small or smaller; there is none where only the interval decides.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

MIN_NETWORKS = 3  # with fewer, their variability is not known
MAX_COUNTED, N_DRAWN = 2500, 999  # relabellings: all of them up to so many, or so many at random
PerNetwork = Callable[[np.ndarray], np.ndarray]  # tables (..., values, networks) to effects (..., networks)


@dataclass(frozen=True)
class Effect:
    """The size of an effect and what chance does.

    Attributes
    ----------
    name : str
        What is compared, with its numbers if they need saying.
    size, low, high : float
        Mean over networks, and its 95 % interval by bootstrap.
    p, p_opposite : float or None
        Chance of an effect as large or larger, as small or smaller, if labels mean nothing.
    n_networks : int
        The fewest in any group that is compared.
    smallest : float
        Effects below are too small to count.
    reason : str
        Why nothing can be said of it, if so.
    """

    name: str
    size: float
    low: float
    high: float
    p: float | None
    p_opposite: float | None
    n_networks: int
    smallest: float = 0.0
    reason: str = ""

    def __str__(self) -> str:
        """Return the numbers as text."""
        chance = "" if self.p is None else f", p = {self.p:.2g}"
        n = f"{self.n_networks} network{'' if self.n_networks == 1 else 's'}"
        if not np.isfinite(self.size):
            return f"{self.name}: {self.reason}"
        said = f"{self.name}: {self.size:+.3g} [{self.low:+.3g}, {self.high:+.3g}]{chance}, {n}"
        return said + (f" ({self.reason})" if self.reason else "")


def unknown(name: str, reason: str) -> Effect:
    """Return an effect of which nothing can be said."""
    return Effect(name, np.nan, np.nan, np.nan, None, None, 0, 0.0, reason)


def bootstrap(*groups: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of the mean of the first group minus the mean of the second, if there is one."""
    (means, weights), *others = (_means(one) for one in groups)
    for more, weight in others:
        means, weights = np.subtract.outer(means, more).ravel(), np.multiply.outer(weights, weight).ravel()
    order = means.argsort(kind="stable")
    below = weights[order].cumsum()
    low, high = (means[order][min(int(np.searchsorted(below, q * below[-1])), len(below) - 1)] for q in (0.025, 0.975))
    return float(low), float(high)


def _means(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the means of all draws of values with replacement, and how often each comes."""
    draws, weights = _draws(len(values))
    return values[draws].mean(-1), weights


@functools.lru_cache
def _draws(n: int) -> tuple[np.ndarray, np.ndarray]:
    if math.comb(2 * n - 1, n) <= MAX_COUNTED:
        draws = np.array(list(itertools.combinations_with_replacement(range(n), n)))
        repeats = (draws[:, :, None] == np.arange(n)).sum(1)
        return draws, np.array([math.factorial(n) / math.prod(map(math.factorial, row)) for row in repeats.tolist()])
    return np.random.default_rng(0).integers(0, n, (N_DRAWN, n)), np.ones(N_DRAWN)


@functools.lru_cache
def _orders(k: int, n: int) -> tuple[np.ndarray, int]:
    """Return permutations of k labels in n networks, (permutation, k, n); 1 if they are drawn, 0 if they are all."""
    if math.factorial(k) ** n <= MAX_COUNTED:
        orders = np.array(list(itertools.permutations(range(k))))
        chosen = np.array(list(itertools.product(range(len(orders)), repeat=n)))
        return orders[chosen].transpose(0, 2, 1), 0
    return np.random.default_rng(0).random((N_DRAWN, k, n)).argsort(axis=1), 1


def within(name: str, table: np.ndarray, effect: PerNetwork, smallest: float = 0.0, reason: str = "") -> Effect:
    """Return an effect inside every network, tested against permutations of the values' labels within networks.

    Networks that lack a value are left out.
    """
    table = table[:, ~np.isnan(table).any(axis=0)]
    k, n = table.shape
    if n == 0 or k < 2:
        return unknown(name, reason or "no network has all values")
    own = effect(table)
    order, extra = _orders(k, n)
    others = effect(np.take_along_axis(table[None], order, axis=1)).mean(-1)
    return Effect(name, float(own.mean()), *bootstrap(own), *_chances(own.mean(), others, extra), n, smallest, reason)


def between(name: str, more: np.ndarray, less: np.ndarray, smallest: float = 0.0, reason: str = "") -> Effect:
    """Return by how much the first group exceeds the second, tested against exchanges of networks between them.

    Groups are (networks), or (blocks, networks): then networks are exchanged within blocks.
    """
    more, less = (np.atleast_2d(one) for one in (more, less))
    more, less = (one[:, ~np.isnan(one).any(axis=0)] for one in (more, less))
    n, m = more.shape[1], less.shape[1]
    if min(n, m) == 0:
        return unknown(name, reason or "no networks to compare")
    pool = np.concatenate([more, less], axis=1)
    ways = math.comb(n + m, n) ** len(pool)
    if ways <= MAX_COUNTED:
        chosen = np.array(list(itertools.combinations(range(n + m), n)))
        sums = pool[:, chosen].sum(-1)  # (blocks, ways)
        sums = np.array(list(itertools.product(*sums))) if len(pool) > 1 else sums.T
        extra = 0
    else:
        order = np.random.default_rng(0).random((N_DRAWN, *pool.shape)).argsort(axis=-1)
        sums, extra = np.take_along_axis(pool[None], order, axis=-1)[..., :n].sum(-1), 1
    others = (sums / n - (pool.sum(-1) - sums) / m).mean(-1)
    size = float(more.mean() - less.mean())
    interval = bootstrap(more.mean(0), less.mean(0))
    return Effect(name, size, *interval, *_chances(size, others, extra), min(n, m), smallest, reason)


def signed(name: str, values: np.ndarray, smallest: float = 0.0, reason: str = "") -> Effect:
    """Return the mean of changes (cells, networks), tested against changes of their signs, cell by cell."""
    values = values[:, ~np.isnan(values).all(axis=0)]
    n = values.shape[1]
    if n == 0:
        return unknown(name, reason or "no networks")
    flat = values[~np.isnan(values)]
    if 2 ** len(flat) <= MAX_COUNTED:
        signs, extra = np.array(list(itertools.product((1, -1), repeat=len(flat)))), 0
    else:
        signs, extra = np.random.default_rng(0).choice((1, -1), (N_DRAWN, len(flat))), 1
    size = float(flat.mean())
    interval = bootstrap(np.nanmean(values, axis=0))
    return Effect(name, size, *interval, *_chances(size, (signs * flat).mean(-1), extra), n, smallest, reason)


def margin(name: str, values: np.ndarray, less: np.ndarray | None = None, smallest: float = 0.0) -> Effect:
    """Return the mean over networks of values, or by how much it exceeds that of others; the interval alone decides."""
    groups = [one[~np.isnan(one)] for one in (values, less) if one is not None]
    n = min(len(one) for one in groups)
    if n == 0:
        return unknown(name, "no networks")
    size = float(groups[0].mean() - (groups[1].mean() if len(groups) > 1 else 0.0))
    return Effect(name, size, *bootstrap(*groups), None, None, n, smallest)


def _chances(size: float, others: np.ndarray, extra: int) -> tuple[float, float]:
    """Return both p-values; rounding errors count as equal."""
    near = 1e-12 * max(1.0, float(np.abs(others).max()))
    counts = (int((others >= size - near).sum()), int((others <= size + near).sum()))
    return tuple((count + extra) / (len(others) + extra) for count in counts)


def trend(order: np.ndarray) -> PerNetwork:
    """Return the effect "rank correlation with an order": of tables that are `ranks`."""
    expected = rankdata(order)
    expected = expected - expected.mean()

    def correlation(table: np.ndarray) -> np.ndarray:
        centred = table - table.mean(axis=-2, keepdims=True)
        length = np.sqrt((centred**2).sum(-2) * (expected**2).sum())
        return np.einsum("...kn,k->...n", centred, expected) / np.where(length > 0, length, 1.0)

    return correlation


def ranks(table: np.ndarray) -> np.ndarray:
    """Return ranks of values within networks; equal ones share theirs, and a network that never learns is last."""
    known = ~np.isnan(table).any(axis=0)
    ranked = np.full(table.shape, np.nan)
    ranked[:, known] = rankdata(table[:, known], axis=0)
    return ranked


def contrast(first: np.ndarray, second: np.ndarray) -> PerNetwork:
    """Return the effect "mean of some values minus mean of others": masks, or indices, of a table's values."""
    return lambda table: table[..., first, :].mean(-2) - table[..., second, :].mean(-2)


def best_contrast(first: np.ndarray, second: np.ndarray) -> PerNetwork:
    """Return the effect "best of some values minus best of others"."""
    return lambda table: table[..., first, :].max(-2) - table[..., second, :].max(-2)
