r"""The standard error of a growth rate that was averaged along one trajectory.

An exponent is S(T)/T, S(t) the log-growth up to time t. How far it is from its limit λ follows from the variogram
V(τ) = Var[S(t + τ) − S(t)]: the variance of the exponent is V(T)/T². There are two worlds, and mixtures of them:

- Growth with a memory shorter than T: S − λt is a random walk, V(τ) = aτ + const., and the error falls like 1/√T.
- Growth that is a difference, S(t) − λt = f(x(t)) − f(x(0)): V stays bounded, and the error falls like 1/T. So it is
  with log|f'| of the logistic map at r = 4, where each expansion is paid back, and with the exponent 0 of a flow.

S is seen at the ends of at most 32 batches of intervals. Too few for a variogram to be read off at lag T, where there
is one value, 0 after its mean is taken away: so a family of variograms is compared with the scatter of the batches,

    V(τ) = a τ + b [1 − ρ(τ)],   ρ(τ) = 0 for τ > 0, or (1 + τ/ℓ) exp(−τ/ℓ) cos(2πτ/p),
    V(τ) = a [τ − ℓ (1 − exp(−τ/ℓ))],   growth that is positively correlated over a time ℓ,

with b/a, ℓ and p on a grid in units of a batch. For each member the growth of the batches is taken for normal with the
covariance that V implies; the likelihood, in which the mean and the scale are integrated out, and a fixed weight say
how plausible the member is (Bayesian model averaging). Half of the weight is on white batches, which keep their due
when nothing speaks against them. The error is that of the mixture: ± 2 of it hold 95 % of the probability.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import solve_triangular
from scipy.special import stdtrit

from lyapkit.statistics.mixtures import NORMAL, TWO_SIDED, half_width, posterior

N_BATCHES = 32
MIN_BATCHES = 8
ROUNDING = 1e-9  # so that batches do not depend on the unit of time
COLUMNS_AT_ONCE = 4096  # which bounds the memory
CONSTANT = 1e-14  # relative deviations that are rounding errors of growth at a constant rate
JITTER = 1e-9  # of the mean variance, added to covariances that smooth variograms make almost singular

WHITE, PERSISTENT, BOUNDED, MIXED = 0.5, 0.1, 0.3, 0.1  # weights of: b = 0, positively correlated, a = 0, both
PERSISTENCE = (0.5, 1.0, 2.0, 4.0)  # ℓ of positively correlated growth; times are in mean durations of a batch
RATIOS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)  # b/a where both are there
MEMORIES = {0.0: 0.4, 1 / 3: 0.2, 2 / 3: 0.15, 4 / 3: 0.1}  # ℓ of the bounded part, with weights
OSCILLATIONS = ((1, 2), (1.5, 2), (1, 3), (2, 3), (1, 4), (2, 4), (2, 5), (2, 6), (2, 8), (4, 6))  # (ℓ, p)
OSCILLATING = 0.15  # weight of the oscillations together


class Variogram(NamedTuple):
    """One member of the family, and how plausible it is before the data are seen; times in mean batch durations."""

    weight: float
    walk: float = 0.0
    bounded: float = 0.0
    memory: float = 0.0
    period: float = math.inf
    persistence: float = 0.0

    def __call__(self, lag: np.ndarray) -> np.ndarray:
        """Return V at the lags, in the unit of the scale that is integrated out."""
        walk = lag
        if self.persistence:
            walk = lag - self.persistence * (1 - np.exp(-lag / self.persistence))
        if self.memory:
            lags = lag / self.memory
            correlation = (1 + lags) * np.exp(-lags) * np.cos(2 * np.pi * lag / self.period)
        else:
            correlation = np.where(lag > 0, 0.0, 1.0)
        return self.walk * walk + self.bounded * (1 - correlation)


def _family() -> list[Variogram]:
    family = [Variogram(WHITE, walk=1.0)]
    family += [Variogram(PERSISTENT / len(PERSISTENCE), walk=1.0, persistence=time) for time in PERSISTENCE]
    parts = [(0.0, 1.0, BOUNDED)] + [(1.0, ratio, MIXED / len(RATIOS)) for ratio in RATIOS]
    for walk, bounded, weight in parts:
        for memory, share in MEMORIES.items():
            family.append(Variogram(weight * share, walk, bounded, memory))
        share = OSCILLATING / len(OSCILLATIONS)
        family += [Variogram(weight * share, walk, bounded, memory, period) for memory, period in OSCILLATIONS]
    return family


FAMILY = _family()


class Likelihoods(NamedTuple):
    """What the family says about batches of given durations.

    Attributes
    ----------
    forms : ndarray
        (model, pair): the quadratic form, on the products of the growths of all pairs of batches, that is the residual
        sum of squares after the mean rate is fitted, in units of the model's scale.
    log_weight : ndarray
        (model, 1): the log of the model's weight times the part of its likelihood that does not depend on the data.
    total : ndarray
        (model, 1): the variance of the growth over the whole run, in the same units.
    """

    forms: np.ndarray
    log_weight: np.ndarray
    total: np.ndarray


@functools.lru_cache(maxsize=8)
def _likelihoods(durations: tuple[float, ...]) -> Likelihoods:
    """Return the likelihoods for batches of the given durations, in units of their mean."""
    time = np.array(durations)
    ends = np.r_[0.0, time.cumsum()]
    lag = np.abs(ends[:, None] - ends)
    variograms = np.stack([variogram(lag) for variogram in FAMILY])
    covariance = (variograms[:, 1:, :-1] + variograms[:, :-1, 1:] - variograms[:, 1:, 1:] - variograms[:, :-1, :-1]) / 2
    variance = np.trace(covariance, axis1=1, axis2=2) / len(time)
    factor = np.linalg.cholesky(covariance + JITTER * variance[:, None, None] * np.eye(len(time)))
    inverse = np.stack([solve_triangular(one, np.eye(len(time)), lower=True) for one in factor])
    precision = inverse.swapaxes(-1, -2) @ inverse
    weighted = precision @ time
    information = weighted @ time
    residual = precision - weighted[:, :, None] * weighted[:, None, :] / information[:, None, None]
    first, second = np.triu_indices(len(time))
    log_determinant = 2 * np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1)
    log_weight = np.log([variogram.weight for variogram in FAMILY]) - (log_determinant + np.log(information)) / 2
    return Likelihoods(
        residual[:, first, second] * np.where(first == second, 1.0, 2.0),
        log_weight[:, None],
        variograms[:, 0, -1][:, None],
    )


def time_average_standard_error(log_growth: np.ndarray, duration: np.ndarray) -> np.ndarray:
    """Return the standard error of time-averaged growth rates along each trajectory.

    Consecutive intervals are joined into at most 32 batches; the error follows from how these scatter and how they are
    correlated, positively or negatively, as the module's docstring derives.

    ± 2 standard errors are meant as a 95 % interval: where the scatter leaves the standard deviation itself uncertain,
    the standard error is larger than the best estimate of it. With few batches, some ten, correlation between them
    can hardly be told from chance: bounded growth is then given an error that is two or three times too large. What
    varies more slowly than a quarter of the run is not seen.

    Parameters
    ----------
    log_growth : ndarray
        (trajectory, interval, exponent), in nats.
    duration : ndarray
        (interval,), in steps or units of time.

    Returns
    -------
    ndarray
        (trajectory, exponent), in nats per step or unit of time. NaN with fewer than 8 intervals, and where the
        growth is not finite.
    """
    n_trajectories, n_intervals, k = log_growth.shape
    if n_intervals < MIN_BATCHES:
        return np.full((n_trajectories, k), np.nan)
    growth, time = _batches(log_growth, duration)
    columns = np.moveaxis(growth, 1, 0).reshape(len(time), -1)
    error = np.full(columns.shape[1], np.nan)
    known = np.flatnonzero(np.isfinite(columns).all(axis=0))
    mean = time.mean()
    likelihoods = _likelihoods(tuple((time / mean).round(12)))
    for start in range(0, len(known), COLUMNS_AT_ONCE):
        chosen = known[start : start + COLUMNS_AT_ONCE]
        part = columns[:, chosen]
        fitted = time[:, None] * (part.sum(axis=0) / time.sum())
        deviation = np.where(np.abs(part - fitted) > CONSTANT * np.abs(fitted), part - fitted, 0.0)
        error[chosen] = _standard_error(deviation, likelihoods)
    return error.reshape(n_trajectories, k) / time.sum()


def _batches(log_growth: np.ndarray, duration: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the growth (trajectory, batch, exponent) and duration (batch,) of batches of consecutive intervals."""
    middle = duration.cumsum() - duration / 2
    batch = np.minimum((middle / duration.sum() * N_BATCHES + ROUNDING).astype(int), N_BATCHES - 1)
    starts = np.flatnonzero(np.diff(batch, prepend=-1))
    return np.add.reduceat(log_growth, starts, axis=1), np.add.reduceat(duration, starts)


def _within(z: np.ndarray) -> np.ndarray:
    """Return the probability that a normal variable lies in (−z, z)."""
    return torch.erf(torch.from_numpy(z / np.float32(math.sqrt(2)))).numpy()  # eight times faster than SciPy's


def _standard_error(deviation: np.ndarray, likelihoods: Likelihoods) -> np.ndarray:
    """Return the standard errors (column,) of total growth, from the batches' deviations (batch, column)."""
    unit = np.abs(deviation).max(axis=0)
    varies = unit > 0
    deviation = deviation / np.where(varies, unit, 1.0)
    first, second = np.triu_indices(len(deviation))
    squares = np.where(varies, likelihoods.forms @ (deviation[first] * deviation[second]), 1.0)
    freedom = len(deviation) - 1
    weight = posterior(likelihoods.log_weight - freedom / 2 * np.log(squares))
    # Student's distribution, as a normal one that is as wide where it matters
    scale = np.sqrt(squares / freedom * likelihoods.total) * stdtrit(freedom, (1 + TWO_SIDED) / 2) / NORMAL
    return np.where(varies, unit * half_width(weight, scale, _within) / NORMAL, 0.0)
