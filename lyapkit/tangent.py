"""The engine: propagates states and, with them, frames of perturbations; re-orthonormalises when it has to.

The frame's rows Q span the k fastest-growing directions. Pushed through the tangent map they lose orthogonality;
factoring them, V = Rᵀ Q, gives a new frame and, on the diagonal of R, the growth of each direction
(Benettin et al. 1980; Eckmann & Ruelle 1985). What is stored is log|diag R| per interval between factorisations.

Two facts keep this cheap:

- A factorisation costs several pushes, and is needed only before rounding hides the slow directions behind the fast
  ones. What is lost is measured, as `condition`, and the adaptive mode goes on for as long as it stays in bounds.
- Inside an interval the frame need not be orthonormal, only well conditioned. V = L W with any lower triangular L
  keeps the volumes that define the exponents: the diagonals multiply, and the QR at the interval's end makes good
  what W lacks. So inside intervals an LU factorisation with column pivoting serves, at a third of the cost.

And where frames stay close to orthogonal, as in weakly coupled networks, the QR itself is had from a Cholesky factor.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from lyapkit.systems.system import System

DEFAULT_ACCURACY = {torch.float64: 1e-9, torch.float32: 1e-4}
N_INTERVALS = 32  # that the adaptive mode divides a run into, for error bars and convergence plots
GENTLE_CONDITION = 10.0
MOST_STEPS_AT_ONCE = 256  # that a system is asked for, which bounds its memory


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
        QR factorisations done, those of the transient and of discarded attempts included.
    n_reconditionings : int
        LU factorisations done inside intervals, likewise.
    """

    log_growth: Tensor
    steps: Tensor
    condition: Tensor
    state: Tensor
    frame: Tensor
    diverged: dict[int, int]
    n_reorthonormalizations: int
    n_reconditionings: int


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
        A fixed number of steps between QR factorisations; or about 32 intervals for the run, each factored inside as
        rarely as `accuracy` allows.
    accuracy : float, optional
        Rounding error that the adaptive mode tolerates in one factorisation's log-growth: a factorisation is due
        before machine epsilon times the condition exceeds it. The exponents, which average over many, come out
        more accurate than that. Default 1e-9 in float64, 1e-4 in float32.
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
    adaptive = reorthonormalize == "adaptive"
    bound = (accuracy or DEFAULT_ACCURACY[state.dtype]) / torch.finfo(state.dtype).eps if adaptive else None
    run = _Run(system, state, frame, inputs, bound)
    interval = max(1, n_steps // N_INTERVALS) if adaptive else reorthonormalize
    intervals = []

    with tqdm(total=n_transient + n_steps, unit="step", disable=not progress, leave=False) as bar:
        for phase_end in (n_transient, n_transient + n_steps):
            intervals.clear()
            while run.time < phase_end:
                intervals.append(run.pass_interval(interval, phase_end))
                bar.update(intervals[-1].steps)

    _report(run, on_divergence)
    return VariationalTerm(
        log_growth=torch.stack([passed.log_growth for passed in intervals], dim=1),
        steps=torch.tensor([passed.steps for passed in intervals]),
        condition=torch.stack([passed.condition for passed in intervals], dim=1),
        state=run.state,
        frame=run.frame,
        diverged=run.diverged,
        n_reorthonormalizations=run.n_orthonormalizations,
        n_reconditionings=run.n_reconditionings,
    )


class _Interval(NamedTuple):
    """What happened between two orthonormal frames: log-growth (B, k), steps and condition (B,), on the CPU."""

    log_growth: Tensor
    steps: int
    condition: Tensor


class _Run:
    """The moving part of `propagate`: where trajectories and frames are, and what happened to them so far."""

    def __init__(
        self, system: System, state: Tensor, frame: Tensor, inputs: Tensor | None, bound: float | None
    ) -> None:
        self.system = system
        self.inputs = inputs
        self.bound = bound  # on the condition; None for fixed intervals
        self.time = 0
        self.start = (state, frame)
        self.state, self.frame = state, frame
        self.pace = {"QR": 8, "LU": 8}  # steps that the adaptive mode may do before a factorisation of either kind
        self.alive = torch.ones(len(state), dtype=torch.bool, device=state.device)
        self.dead = torch.zeros(frame.shape[:2], dtype=torch.bool, device=state.device)
        self.unresolved = torch.zeros_like(self.dead)
        self.is_gentle = False  # the last attempt at a QR was, so that the next one may be by Cholesky's factor
        self.intact = True  # no trajectory and no direction lost so far
        self.diverged: dict[int, int] = {}
        self.n_orthonormalizations = 0
        self.n_reconditionings = 0

    def pass_interval(self, interval: int, phase_end: int) -> _Interval:
        """Move on to the next orthonormal frame, `interval` steps away, but not past `phase_end`.

        With a bound on the condition the frame is factored inside as often as the bound demands.
        """
        bound = self.bound
        started, end = self.time, min(self.time + interval, phase_end)
        log_growth, condition = 0.0, 1.0
        while self.time < end:
            length = end - self.time
            kind = "QR"
            if bound is not None and length > self.pace["QR"]:
                kind = "LU" if self.intact else "QR"
                length = min(length - self.pace["QR"], self.pace[kind])  # leaving what the interval's QR can take
            attempt = self.attempt(length, kind)
            strain = 0.0 if bound is None else attempt.strain(bound)
            if length > 1 and not strain <= 1:  # NaN is overshoot too
                self.pace[kind] = length // 2
                continue
            self.accept(attempt)
            if bound is not None:
                reach = 1 if math.isnan(strain) else int(0.95 * length / max(strain, 1e-9))
                self.pace[kind] = min(2 * length, max(1, reach))
                if kind == "QR":
                    self.is_gentle = attempt.is_gentle
            log_growth = log_growth + attempt.log_diagonal.double()
            condition = torch.clamp(attempt.condition.double(), min=condition)
        return _Interval(self.marked(log_growth).cpu(), self.time - started, condition.cpu())

    def advance(self, time: int, n_steps: int, state: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Return state and frame `n_steps` after `time`."""
        for start in range(time, time + n_steps, MOST_STEPS_AT_ONCE):
            end = min(start + MOST_STEPS_AT_ONCE, time + n_steps)
            inputs = None if self.inputs is None else self.inputs[:, start:end]
            state, frame = self.system.push_along(state, inputs, frame, end - start)
        return state, frame

    def attempt(self, length: int, kind: str) -> _Attempt:
        """Return what `length` more steps and a factorisation would give, without moving on."""
        state, frame = self.advance(self.time, length, self.state, self.frame)
        counts = None if self.intact else self.alive[:, None] & ~self.dead
        if kind == "LU":
            self.n_reconditionings += 1
            attempt = _Attempt(length, state, frame, counts, _PivotedLU(frame))
            if attempt.is_regular:
                return attempt
        self.n_orthonormalizations += 1
        if self.is_gentle:
            attempt = _Attempt(length, state, frame, counts, _CholeskyQR(frame))
            if attempt.is_regular and attempt.is_gentle:
                return attempt
        return _Attempt(length, state, frame, counts, _HouseholderQR(frame))

    def accept(self, attempt: _Attempt) -> None:
        """Move on to the end of an attempt, naming the trajectories and directions that were lost in it."""
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
        self.state, self.frame = attempt.state, attempt.factors.new_frame(attempt.is_regular)
        if not self.intact:  # lost trajectories are kept finite, so that they do not slow down or disturb the others
            start_state, start_frame = self.start
            self.state = torch.where(self.alive[:, None], self.state, start_state)
            self.frame = torch.where(self.alive[:, None, None], self.frame, start_frame)

    def marked(self, log_growth: Tensor) -> Tensor:
        """Return log-growth (B, k) with what was lost marked: −inf, or NaN where that is not known."""
        if self.intact:
            return log_growth
        log_growth = log_growth.masked_fill(self.dead, -math.inf)
        log_growth = log_growth.masked_fill(self.unresolved & ~self.dead, math.nan)
        return log_growth.masked_fill(~self.alive[:, None], math.nan)

    def _name_diverged(self, lost: list[int], length: int) -> None:
        """Repeat an interval step by step to find when each trajectory stopped being finite."""
        state, frame = self.state, self.frame
        pending = set(lost)
        for time in range(self.time, self.time + length):
            state, frame = self.advance(time, 1, state, frame)
            finite = state.isfinite().all(-1) & frame.isfinite().flatten(1).all(-1)
            found = {trajectory for trajectory in pending if not finite[trajectory]}
            self.diverged.update(dict.fromkeys(found, time))
            pending -= found
        # a frame whose entries are finite but whose factorisation overflows, at the end of the interval
        self.diverged.update(dict.fromkeys(pending, self.time + length - 1))


class _HouseholderQR:
    """V = Rᵀ Q of frames (B, k, N): an orthonormal new frame Q."""

    def __init__(self, frame: Tensor) -> None:
        self._frame = frame
        self._factors, self._tau = torch.geqrf(frame.mT)
        self.diagonal = self._factors.diagonal(dim1=-2, dim2=-1).abs()

    def new_frame(self, is_regular: bool) -> Tensor:
        """Return Q, by a triangular solve, or, where R is all but singular, from its Householder vectors."""
        if not is_regular:
            return torch.linalg.householder_product(self._factors, self._tau).mT
        lower = self._factors[:, : self._frame.shape[1]].mT
        return torch.linalg.solve_triangular(lower, self._frame, upper=False).contiguous()


class _CholeskyQR:
    """V = Rᵀ Q of frames that are well conditioned, by the Cholesky factor of V Vᵀ, which squares the condition."""

    def __init__(self, frame: Tensor) -> None:
        self._frame = frame
        self._lower = torch.linalg.cholesky_ex(frame @ frame.mT)[0]
        self.diagonal = self._lower.diagonal(dim1=-2, dim2=-1)

    def new_frame(self, is_regular: bool) -> Tensor:
        """Return Q."""
        return torch.linalg.solve_triangular(self._lower, self._frame, upper=False).contiguous()


class _PivotedLU:
    """V = L W of frames (B, k, N), with columns pivoted: a well-conditioned new frame W, entries at most 1."""

    def __init__(self, frame: Tensor) -> None:
        self._factors, self._pivots, _ = torch.linalg.lu_factor_ex(frame.mT)
        self.diagonal = self._factors.diagonal(dim1=-2, dim2=-1).abs()

    def new_frame(self, is_regular: bool) -> Tensor:
        """Return W, in the original order of columns."""
        pivoting = torch.lu_unpack(self._factors, self._pivots, unpack_data=False)[0]
        permutation = (pivoting @ torch.arange(pivoting.shape[-1]).to(pivoting)).long()
        rows = self._factors.mT.triu(1)
        rows.diagonal(dim1=-2, dim2=-1).fill_(1.0)
        return rows.gather(-1, permutation[:, None].expand_as(rows))


class _Attempt:
    """The outcome of some steps: the end state, the factored frame and how far it can be trusted."""

    def __init__(
        self, length: int, state: Tensor, frame: Tensor, counts: Tensor | None, factors: _HouseholderQR | _PivotedLU
    ) -> None:
        self.length = length
        self.state = state
        self.factors = factors
        self._counts = counts
        self._norm = torch.linalg.vector_norm(frame, dim=-1)
        # the rank tolerance of numpy.linalg.matrix_rank, per direction
        self._tolerance = frame.shape[-1] * torch.finfo(frame.dtype).eps
        ratio = self._norm / factors.diagonal
        # one comparison shows the usual case: all finite, all directions well above rounding
        self.is_regular = bool((ratio < 0.1 / self._tolerance).all() & state.isfinite().all())
        self.log_diagonal = factors.diagonal.log()
        self.condition = self._where_it_counts(ratio, 1.0).amax(-1)

    def _where_it_counts(self, values: Tensor, neutral: float) -> Tensor:
        """Return values (B, k) with those of lost trajectories and dead directions replaced."""
        return values if self._counts is None else values.masked_fill(~self._counts, neutral)

    @property
    def is_gentle(self) -> bool:
        """Whether the frame was so close to orthogonal that its condition may be squared without loss."""
        return bool((self.condition < GENTLE_CONDITION).all())

    @property
    def finite(self) -> Tensor:
        """Which trajectories (B,) are finite."""
        return self.state.isfinite().all(-1) & (self._norm.isfinite() & self.factors.diagonal.isfinite()).all(-1)

    @property
    def vanished(self) -> Tensor:
        """Which directions (B, k) are lost in rounding."""
        return ~(self.factors.diagonal > self._tolerance * self._norm)

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
