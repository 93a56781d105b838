"""The engine: propagates states and, with them, frames of perturbations; re-orthonormalises when it has to.

The frame's rows Q span the k fastest-growing directions. Pushed through the tangent map they lose orthogonality;
factoring them, V = R^T Q, gives a new frame and, on the diagonal of R, the growth of each direction
(Benettin et al. 1980; Eckmann & Ruelle 1985). What is stored is log|diag R| per interval between factorisations.

Two facts keep this cheap:

- A factorisation costs ten times a push, and is needed only before rounding hides the slow directions behind the
  fast ones. What is lost is measured, as `condition`; the adaptive mode chooses the longest intervals that keep it
  in bounds.
- Any triangular R will do in between, as long as the new frame is well conditioned: the diagonals multiply, and an
  error in one interval's R is made good by the next. So Q is obtained as R^-T V by one triangular solve, twice as
  fast as forming it from its Householder vectors.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from tqdm import tqdm

from lyapkit.systems.system import System

DEFAULT_ACCURACY = {torch.float64: 1e-9, torch.float32: 1e-4}
MIN_INTERVALS = 20  # that the adaptive mode leaves in a run, for error bars and convergence plots


class DivergenceWarning(RuntimeWarning):
    """A trajectory left the finite numbers, or a direction could not be resolved; the result has NaN there."""


class DivergenceError(ArithmeticError):
    """What `DivergenceWarning` says, for callers who asked for an error."""


@dataclass(frozen=True)
class VariationalTerm:
    """How perturbations grew along B trajectories, in M intervals between re-orthonormalisations.

    Attributes
    ----------
    log_growth : Tensor
        (B, M, k), float64: log|diag R| of each interval, in nats. NaN from the interval in which a trajectory
        diverged; −inf where a direction was mapped to zero.
    steps : Tensor
        (M,), int64: the number of steps in each interval.
    condition : Tensor
        (B, M), float64: the worst ratio of a pushed perturbation's length to the part of it that is orthogonal to
        the perturbations before it. Rounding errors in `log_growth` are of the order of machine epsilon times this.
    state, frame : Tensor
        (B, N) and (B, k, N): where the trajectories and their orthonormal frames ended.
    diverged : dict
        Trajectory to the step, counted from the start of the run, that first produced a non-finite value.
    n_reorthonormalizations : int
        Factorisations done, those of the transient and of discarded attempts included.
    """

    log_growth: Tensor
    steps: Tensor
    condition: Tensor
    state: Tensor
    frame: Tensor
    diverged: dict[int, int]
    n_reorthonormalizations: int


@torch.no_grad()
def propagate(
    system: System,
    state: Tensor,
    frame: Tensor,
    inputs: Tensor | None = None,
    *,
    n_steps: int,
    n_transient: int = 0,
    reorthonormalize: int | Literal["adaptive"] = "adaptive",
    accuracy: float | None = None,
    on_divergence: Literal["warn", "raise"] = "warn",
    progress: bool = False,
) -> VariationalTerm:
    """Propagate states and frames for `n_transient` uncounted and `n_steps` counted steps.

    Parameters
    ----------
    system : System
        Computing in the dtype and on the device of `state`.
    state, frame : Tensor
        (B, N) and (B, k, N): where to start. The rows of a frame are orthonormal.
    inputs : Tensor, optional
        (B, T, I) with T at least n_transient + n_steps; None for an autonomous system.
    n_steps, n_transient : int
        Steps that are counted, after those that only move state and frame.
    reorthonormalize : int or "adaptive"
        A fixed number of steps between factorisations, or as many as `accuracy` allows.
    accuracy : float, optional
        Rounding error that the adaptive mode tolerates in one interval's log-growth: intervals end before machine
        epsilon times their condition exceeds it. The exponents, which average over intervals, come out more
        accurate than that. Default 1e-9 in float64, 1e-4 in float32.
    on_divergence : "warn" or "raise"
        What to do about non-finite trajectories and unresolved directions: a `DivergenceWarning` and NaN in the
        result, the other trajectories going on, or a `DivergenceError`.
    progress : bool
        Show a progress bar.

    Returns
    -------
    VariationalTerm

    Raises
    ------
    DivergenceError
        If `on_divergence` is "raise" and a trajectory diverges or a direction cannot be resolved.
    """
    run = _Run(system, state, frame, inputs, n_transient + n_steps)
    adaptive = reorthonormalize == "adaptive"
    bound = (accuracy or DEFAULT_ACCURACY[state.dtype]) / torch.finfo(state.dtype).eps
    longest = max(1, n_steps // MIN_INTERVALS) if adaptive else reorthonormalize
    interval = 1 if adaptive else reorthonormalize
    log_growth, steps, condition = [], [], []

    with tqdm(total=run.n_steps, unit="step", disable=not progress, leave=False) as bar:
        while run.time < run.n_steps:
            phase_end = n_transient if run.time < n_transient else run.n_steps
            length = min(interval, longest, phase_end - run.time)
            attempt = run.attempt(length)
            strain = attempt.strain(bound)
            if adaptive and length > 1 and not strain <= 1:  # NaN is overshoot too
                interval = length // 2
                continue
            run.accept(attempt)
            bar.update(length)
            if adaptive:
                interval = 1 if math.isnan(strain) else min(2 * length, max(1, int(0.95 * length / max(strain, 1e-9))))
            if run.time > n_transient:
                log_growth.append(run.counted(attempt))
                steps.append(length)
                condition.append(attempt.condition.double().cpu())

    _report(run, on_divergence)
    return VariationalTerm(
        log_growth=torch.stack(log_growth, dim=1),
        steps=torch.tensor(steps),
        condition=torch.stack(condition, dim=1),
        state=run.state,
        frame=run.frame,
        diverged=run.diverged,
        n_reorthonormalizations=run.n_factorizations,
    )


class _Run:
    """The moving part of `propagate`: where trajectories and frames are, and what happened to them so far."""

    def __init__(self, system: System, state: Tensor, frame: Tensor, inputs: Tensor | None, n_steps: int) -> None:
        self.system = system
        self.inputs = inputs
        self.n_steps = n_steps
        self.time = 0
        self.start = (state, frame)
        self.state, self.frame = state, frame
        self.alive = torch.ones(len(state), dtype=torch.bool, device=state.device)
        self.dead = torch.zeros(frame.shape[:2], dtype=torch.bool, device=state.device)
        self.unresolved = torch.zeros_like(self.dead)
        self.intact = True  # no trajectory and no direction lost so far
        self.diverged: dict[int, int] = {}
        self.n_factorizations = 0

    def advance(self, time: int, state: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Return state and frame one step after `time`."""
        return self.system.push(state, None if self.inputs is None else self.inputs[:, time], frame)

    def attempt(self, length: int) -> _Interval:
        """Return what `length` more steps would give, without moving on."""
        state, frame = self.state, self.frame
        for time in range(self.time, self.time + length):
            state, frame = self.advance(time, state, frame)
        self.n_factorizations += 1
        return _Interval(self, length, state, frame)

    def accept(self, attempt: _Interval) -> None:
        """Move on to the end of an interval, naming the trajectories and directions that were lost in it."""
        if not attempt.is_regular:
            if lost := (self.alive & ~attempt.finite).nonzero().flatten().tolist():
                self._name_diverged(lost, attempt.length)
                self.alive &= attempt.finite
            vanished = attempt.vanished & self.alive[:, None] & ~self.dead
            if attempt.length == 1:
                self.dead |= vanished
            else:
                self.unresolved |= vanished
            self.intact = not bool((~self.alive).any() | self.dead.any() | self.unresolved.any())
        self.time += attempt.length
        self.state, self.frame = attempt.state, attempt.new_frame()
        if not self.intact:  # lost trajectories are kept finite, so that they do not slow down or disturb the others
            start_state, start_frame = self.start
            self.state = torch.where(self.alive[:, None], self.state, start_state)
            self.frame = torch.where(self.alive[:, None, None], self.frame, start_frame)

    def counted(self, attempt: _Interval) -> Tensor:
        """Return the interval's log-growth (B, k) with what was lost marked: −inf, or NaN where that is not known."""
        growth = attempt.log_diagonal.double()
        if not self.intact:
            growth = growth.masked_fill(self.dead, -math.inf)
            growth = growth.masked_fill(self.unresolved & ~self.dead, math.nan)
            growth = growth.masked_fill(~self.alive[:, None], math.nan)
        return growth.cpu()

    def _name_diverged(self, lost: list[int], length: int) -> None:
        """Repeat an interval step by step to find when each trajectory stopped being finite."""
        state, frame = self.state, self.frame
        pending = set(lost)
        for time in range(self.time, self.time + length):
            state, frame = self.advance(time, state, frame)
            finite = state.isfinite().all(-1) & frame.isfinite().flatten(1).all(-1)
            found = {trajectory for trajectory in pending if not finite[trajectory]}
            self.diverged.update(dict.fromkeys(found, time))
            pending -= found
        # a frame whose entries are finite but whose factorisation overflows, at the end of the interval
        self.diverged.update(dict.fromkeys(pending, self.time + length - 1))


class _Interval:
    """The outcome of one attempted interval: the end state, the factored frame and how far it can be trusted."""

    def __init__(self, run: _Run, length: int, state: Tensor, frame: Tensor) -> None:
        self.length = length
        self.state = state
        self._frame = frame
        self._factors, self._tau = torch.geqrf(frame.mT)
        self._diagonal = self._factors.diagonal(dim1=-2, dim2=-1).abs()
        self._norm = torch.linalg.vector_norm(frame, dim=-1)
        # the rank tolerance of numpy.linalg.matrix_rank, per direction
        self._tolerance = frame.shape[-1] * torch.finfo(frame.dtype).eps
        ratio = self._norm / self._diagonal
        # one comparison shows the usual case: all finite, all directions well above rounding
        self.is_regular = bool((ratio < 0.1 / self._tolerance).all() & state.isfinite().all())
        self.log_diagonal = self._diagonal.log()
        self._counts = None if run.intact else run.alive[:, None] & ~run.dead
        self.condition = self._where_it_counts(ratio, 1.0).amax(-1)

    def _where_it_counts(self, values: Tensor, neutral: float) -> Tensor:
        """Return values (B, k) with those of lost trajectories and dead directions replaced."""
        return values if self._counts is None else values.masked_fill(~self._counts, neutral)

    @property
    def finite(self) -> Tensor:
        """Which trajectories (B,) are finite."""
        return self.state.isfinite().all(-1) & (self._norm.isfinite() & self._diagonal.isfinite()).all(-1)

    @property
    def vanished(self) -> Tensor:
        """Which directions (B, k) are lost in rounding."""
        return ~(self._diagonal > self._tolerance * self._norm)

    def strain(self, bound: float) -> float:
        """Return the used fraction of what an interval may use up: of the condition's and of the exponent's range.

        Above 1 the interval was too long. NaN where something is not finite.
        """
        if not self.is_regular:
            finite = self.finite if self._counts is None else self.finite | ~self._counts.any(-1)
            if not bool(finite.all()):
                return math.nan
        size = self._where_it_counts(self.log_diagonal, 0.0).abs().amax() / _range(self.log_diagonal.dtype)
        return max(math.log(self.condition.max()) / math.log(bound), float(size))

    def new_frame(self) -> Tensor:
        """Return the orthonormal frame (B, k, N)."""
        if self.is_regular:
            lower = self._factors[:, : self._tau.shape[1]].mT
            return torch.linalg.solve_triangular(lower, self._frame, upper=False).contiguous()
        return torch.linalg.householder_product(self._factors, self._tau).mT


def _range(dtype: torch.dtype) -> float:
    """Return the largest |log| of a length that is safe from overflow and underflow, squares included."""
    return 0.4 * math.log(torch.finfo(dtype).max)


def _report(run: _Run, on_divergence: str) -> None:
    """Warn or raise about trajectories that diverged and directions that were lost."""
    messages = []
    if run.diverged:
        named = [f"trajectory {b} at step {t}" for b, t in sorted(run.diverged.items())]
        listed = ", ".join(named[:10]) + (f" and {len(named) - 10} more" if len(named) > 10 else "")
        messages.append(f"{run.system} gave non-finite values: {listed}; their exponents are NaN")
    if bool(run.unresolved.any()):
        trajectory, direction = run.unresolved.nonzero()[0].tolist()
        messages.append(
            f"{int(run.unresolved.sum())} direction(s), the first number {direction} of trajectory {trajectory}, "
            "fell below rounding between re-orthonormalisations; their exponents are NaN: use a shorter interval "
            "or 'adaptive'"
        )
    if not messages:
        return
    if on_divergence == "raise":
        raise DivergenceError("; ".join(messages))
    warnings.warn("; ".join(messages), DivergenceWarning, stacklevel=4)
