"""How far the exponents of a flow are off because its time step is finite, measured while a run is under way.

The error of one Runge–Kutta step, of the state and of the growth of the perturbations, is measured by doing it again
in two halves. That costs two steps, so it is done for one step in many; which one is drawn with a probability in
proportion to what the error should be, which every step tells at no cost: h |d₃ − d₂| / |v|, from the derivatives of
the perturbation v at the two middle stages, is (h|J|)³/4 for a linear field, and the error (h|J|)⁵/120. Weighting the
drawn ones by the inverse of that probability gives the mean over all steps without bias, also if a few steps, such as
those of a spike, are much worse than all others.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

TOLERANCE = 5e-3  # of the exponents' error, relative to the largest of them
STATE_TOLERANCE = 3e-3  # of the state's error in the time in which perturbations change e-fold, to the attractor's size
RATE_FLOOR = 0.05  # exponents smaller than this share of the field's own rate are judged by that
_HALVING = 16 / 15  # a fourth-order step's error, over its difference from two halves
_FIRST_PERIOD, _PERIOD = 8, 128  # steps of which one is measured
_PERIODS_BEFORE_GROWTH = 16
_FLUSHES_BETWEEN_GROWTHS = 4  # one in so many stretches tells how large the exponents are
_MOST_WATCHED = 64  # trajectories at a time, other ones every time
_TRAJECTORIES = 16  # that are measured at a time
_MOST_ENTRIES = 1_000_000  # of tangent vectors that wait to be looked at
_FIRST_AT_ONCE, _MOST_AT_ONCE = 8, 32
_SAMPLES = 32  # measured steps that are kept, to try smaller ones on
_ROUND = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
_MOST_VARIABLES_FOR_TRACE = 64


class Stages(NamedTuple):
    """One Runge–Kutta step: the new state and tangent, the velocity, the tangent's derivatives at three stages."""

    state: Tensor
    tangent: Tensor
    velocity: Tensor
    d1: Tensor
    d2: Tensor
    d3: Tensor


Stepper = Callable[[Tensor, Tensor | None, Tensor, float], Stages]
Trace = Callable[[Tensor, Tensor | None], Tensor]


@dataclass
class Measurement:
    """What one step, done again in two halves, showed; (B, k) and (B,).

    Attributes
    ----------
    growth : Tensor
        The logs of the growth of the k perturbations, each orthogonal to those before it.
    error : Tensor
        By how much the step's growth is too large.
    rate : Tensor
        |J v|/|v|, the largest of the perturbations.
    state_error : Tensor
        The step's error of the state.
    excess : Tensor
        The step's log-determinant, less the divergence of the field integrated along it; zero where unknown.
    end : Stages
        The second of the halves, which ends where the step ends, closer to the truth.
    """

    growth: Tensor
    error: Tensor
    rate: Tensor
    state_error: Tensor
    excess: Tensor
    end: Stages


def measured_step(
    stepper: Stepper, trace: Trace | None, state: Tensor, input: Tensor | None, tangent: Tensor, h: float
) -> Measurement:
    """Return the error of one step of length `h`."""
    whole = stepper(state, input, tangent, h)
    half = stepper(state, input, tangent, h / 2)
    twice = stepper(half.state, input, half.tangent, h / 2)
    logs = _log_diagonal(torch.stack([tangent, whole.tangent, twice.tangent]))
    error = _HALVING * (logs[1] - logs[2])
    lengths = torch.linalg.vector_norm(tangent, dim=-1)
    rate = (torch.linalg.vector_norm(whole.d1, dim=-1) / lengths).amax(-1)
    excess = torch.zeros_like(rate)
    if trace is not None and tangent.shape[1] == tangent.shape[2] <= _MOST_VARIABLES_FOR_TRACE:
        along = trace(state, input) + 4 * trace(half.state, input) + trace(twice.state, input)
        excess = (logs[1] - logs[0]).sum(-1) - h / 6 * along
    return Measurement(
        growth=logs[2] - logs[0],
        error=error,
        rate=rate,
        state_error=_HALVING * torch.linalg.vector_norm(whole.state - twice.state, dim=-1),
        excess=excess,
        end=twice,
    )


def _log_diagonal(frames: Tensor) -> Tensor:
    """Return log|diag R| of frames (…, k, N), of as many as can be independent, and NaN where they are not finite."""
    frames = frames.double()
    if not bool(frames.isfinite().all()):
        return torch.full((*frames.shape[:-2], min(frames.shape[-2:])), math.nan, dtype=frames.dtype)
    shape = frames.shape
    matrices = frames.reshape(-1, *shape[-2:]).mT
    upper = (
        torch.stack([torch.linalg.qr(matrix, mode="r")[1] for matrix in matrices])
        if len(matrices) < 4
        else (torch.linalg.qr(matrices, mode="r")[1])
    )
    return upper.diagonal(dim1=-2, dim2=-1).abs().log().reshape(*shape[:-2], -1)


class Verdict(NamedTuple):
    """What all measurements together say about the time step.

    Attributes
    ----------
    error : float
        Of the exponents, in nats per unit of time, the largest.
    scale : float
        The largest exponent in absolute value, or what counts as one.
    strain : float
        The error relative to what is tolerated: above 1 it is too large.
    """

    error: float
    scale: float
    strain: float


class Tally:
    """Weighted sums of measurements of frames of one size."""

    def __init__(self) -> None:
        self.weight = 0.0
        self.sums: list[Tensor] | None = None

    def add(self, measurement: Measurement, weights: Tensor) -> None:
        """Add a measurement whose trajectories stand for `weights` steps (B,), those that are finite."""
        values = [
            measurement.growth,
            measurement.error,
            measurement.rate[:, None],
            measurement.state_error[:, None],
            measurement.excess[:, None],
        ]
        finite = torch.stack([value.isfinite().all(-1) for value in values]).all(0)
        weights = torch.where(finite, weights, 0.0)
        self.weight += float(weights.sum())
        weighted = [
            (weights[:, None] * torch.where(finite[:, None], value, 0.0)).double().sum(0).cpu() for value in values
        ]
        self.sums = weighted if self.sums is None else [a + b for a, b in zip(self.sums, weighted, strict=True)]

    def verdict(self, h: float, size: float, exponents: Tensor | None) -> Verdict:
        """Return the mean error of steps `h`, given the attractor's size and the exponents, if they are known."""
        if not self.weight or self.sums is None:
            return Verdict(0.0, 0.0, 0.0)
        growth, error, rate, state_error, excess = (total / self.weight for total in self.sums)
        growth, error, state_error, excess = growth / h, error / h, state_error / h, excess / h
        scale = max(float((growth if exponents is None else exponents).abs().amax()), RATE_FLOOR * float(rate))
        worst = max(float(error.abs().amax()), abs(float(excess)) / len(growth))
        if scale == 0:
            return Verdict(worst, scale, 0.0)
        strain = worst / scale / TOLERANCE
        if size > 0:
            strain = max(strain, float(state_error) / size / scale / STATE_TOLERANCE)
        return Verdict(worst, scale, strain)


class StepErrors:
    """Watches the steps of a run.

    Parameters
    ----------
    stepper : callable
        (state, input, tangent, h) -> `Stages`.
    trace : callable or None
        The divergence of the field, (state, input) -> (B,), if it can be had.
    time_step : float
        h.
    """

    def __init__(self, stepper: Stepper, trace: Trace | None, time_step: float) -> None:
        self.stepper = stepper
        self.trace = trace
        self.time_step = time_step
        self._pending: list[tuple[Tensor, Tensor | None, Tensor, Stages]] = []
        self._n_flushes = 0
        self._growths: dict[int, tuple[Tensor, int]] = {}
        self._candidate: tuple[Any, ...] | None = None
        self._inverse_weights = torch.empty(0)  # of the candidate's trajectories
        self._total = 0.0
        self._n_steps = 0
        self._n_measured = 0
        self._random = random.Random(0)
        self._generator = torch.Generator().manual_seed(0)
        self._tallies: dict[int, Tally] = {}
        self._samples: list[tuple[Tensor, tuple[Tensor, Tensor | None, Tensor]]] = []
        self._low: Tensor | None = None
        self._high: Tensor | None = None

    def note(self, state: Tensor, input: Tensor | None, tangent: Tensor, stages: Stages) -> None:
        """Take notice of a step. The tensors are looked at later: they must not be written into by then."""
        if self._pending and self._pending[0][2].shape != tangent.shape:
            self.flush()
        self._pending.append((state, input, tangent, stages))
        at_once = _FIRST_AT_ONCE if self._n_measured < _PERIODS_BEFORE_GROWTH else _MOST_AT_ONCE
        if len(self._pending) >= at_once or len(self._pending) * tangent.numel() > _MOST_ENTRIES:
            self.flush()

    def flush(self) -> None:
        """Judge the steps that were noted, so that none of their tensors is needed any more."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        rows = self._some_rows(len(pending[0][0]))
        tangent, d2, d3 = (
            torch.stack([part[rows] for part in parts])
            for parts in zip(*((step[2], step[3].d2, step[3].d3) for step in pending), strict=True)
        )
        if self._n_flushes % _FLUSHES_BETWEEN_GROWTHS == 0:
            after = torch.stack([step[3].tangent[rows][:_TRAJECTORIES] for step in pending])
            self._note_growth(tangent[:, :_TRAJECTORIES], after)
        self._n_flushes += 1
        relative = torch.linalg.vector_norm(d3 - d2, dim=-1) / torch.linalg.vector_norm(tangent, dim=-1)
        weights = (self.time_step * relative.amax(-1)).pow(5 / 3).nan_to_num(nan=0.0, posinf=0.0)
        weights = weights + 0.1 * weights.mean() + 1e-30  # (steps, B); none is without a chance
        chosen = None
        for index, weight in enumerate(weights.sum(-1).tolist()):
            self._total += weight
            if self._random.random() * self._total < weight:
                chosen = index
        if chosen is not None:
            step = [None if part is None else part[rows] for part in pending[chosen][:3]]
            self._choose(step, weights[chosen].cpu().double())
        self._n_steps += len(pending)
        if self._n_steps >= (_FIRST_PERIOD if self._n_measured < _PERIODS_BEFORE_GROWTH else _PERIOD):
            self._measure()

    def _some_rows(self, batch: int) -> slice:
        """Return which trajectories are looked at this time: all, or a random block of them."""
        if batch <= _MOST_WATCHED:
            return slice(None)
        start = min(self._random.randrange(-(-batch // _MOST_WATCHED)) * _MOST_WATCHED, batch - _MOST_WATCHED)
        return slice(start, start + _MOST_WATCHED)

    def _note_growth(self, tangent: Tensor, new: Tensor) -> None:
        before, after = _log_diagonal(torch.stack([tangent, new]))
        growth = (after - before).flatten(0, 1)
        growth = growth[growth.isfinite().all(-1)]
        total, count = self._growths.get(growth.shape[-1], (0.0, 0))
        self._growths[growth.shape[-1]] = total + growth.sum(0), count + len(growth)

    def _exponents(self, k: int) -> Tensor | None:
        """Return the first k exponents as far as they are known."""
        total, count = self._growths.get(k, (0.0, 0))
        return torch.as_tensor(total) / (count * self.time_step) if count else None

    def _choose(self, step: list[Tensor | None], weights: Tensor) -> None:
        """Keep a step, of all trajectories, or of some that are drawn in proportion to their weights (B,)."""
        batch = len(weights)
        if batch <= _TRAJECTORIES:
            self._candidate = tuple(None if part is None else part.clone() for part in step)
            self._inverse_weights = (1 / weights.sum()).expand(batch)
            return
        rows = torch.multinomial(weights, _TRAJECTORIES, replacement=True, generator=self._generator)
        self._candidate = tuple(None if part is None else part[rows.to(part.device)] for part in step)
        self._inverse_weights = 1 / (_TRAJECTORIES * weights[rows])

    def take(self, state: Tensor, input: Tensor | None, tangent: Tensor, weights: Tensor, growth: Tensor) -> None:
        """Measure steps (M,) that were drawn elsewhere, each for as many as `weights` say; `growth` (k,) is theirs."""
        self._growths[len(growth)] = growth.double(), 1
        for part in torch.arange(len(state)).split(_TRAJECTORIES * 4):
            driving = None if input is None else input[part]
            self._measure_these(state[part], driving, tangent[part], weights[part])

    def _measure(self) -> None:
        assert self._candidate is not None
        state, input, tangent = self._candidate
        weights = (self._total * self._inverse_weights).to(state.device)
        self._total, self._n_steps, self._candidate = 0.0, 0, None
        self._measure_these(state, input, tangent, weights)

    def _measure_these(self, state: Tensor, input: Tensor | None, tangent: Tensor, weights: Tensor) -> None:
        self._n_measured += 1
        low, high = state.amin(0), state.amax(0)
        self._low = low if self._low is None else torch.minimum(self._low, low)
        self._high = high if self._high is None else torch.maximum(self._high, high)
        measurement = measured_step(self.stepper, self.trace, state, input, tangent, self.time_step)
        self._tallies.setdefault(min(tangent.shape[1:]), Tally()).add(measurement, weights)
        sample = weights, (state, input, tangent)
        if len(self._samples) < _SAMPLES:
            self._samples.append(sample)
        elif (place := self._random.randrange(self._n_measured)) < _SAMPLES:
            self._samples[place] = sample

    @property
    def size(self) -> float:
        """Half the extent of what the measured states span."""
        if self._low is None or self._high is None:
            return 0.0
        extent = float(torch.linalg.vector_norm((self._high - self._low).double())) / 2
        return extent if math.isfinite(extent) else 0.0

    def verdict(self) -> Verdict:
        """Return the worst of what the batches show."""
        self.flush()
        if self._candidate is not None and self._n_measured < _PERIODS_BEFORE_GROWTH:
            self._measure()
        verdicts = [tally.verdict(self.time_step, self.size, self._exponents(k)) for k, tally in self._tallies.items()]
        return max(verdicts, key=lambda verdict: verdict.strain, default=Verdict(0.0, 0.0, 0.0))

    def sufficient_step(self) -> float:
        """Return a time step, a round number, whose error would be tolerated at the steps that were measured."""
        h, strain = self.time_step, self.verdict().strain
        for _ in range(12):
            h = rounded_down(h * min(0.9, max(0.1, (0.15 / strain) ** 0.25)))
            tallies: dict[int, Tally] = {}
            for weights, (state, input, tangent) in self._samples:
                measurement = measured_step(self.stepper, self.trace, state, input, tangent, h)
                tallies.setdefault(min(tangent.shape[1:]), Tally()).add(measurement, weights)
            strain = max(tally.verdict(h, self.size, self._exponents(k)).strain for k, tally in tallies.items())
            if strain < 0.2:  # far below, as these are the steps of a run that was wrong
                break
        return h


def rounded_down(value: float) -> float:
    """Return the next round number below."""
    power = 10.0 ** math.floor(math.log10(value))
    digit = max((digit for digit in _ROUND if digit * power <= value * (1 + 1e-9)), default=1.0)
    return float(f"{digit * power:.2g}")
