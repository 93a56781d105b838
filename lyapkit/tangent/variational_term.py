"""`VariationalTerm`: how perturbations grew along trajectories, the one quantity that is stored."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class VariationalTerm(NamedTuple):
    """How perturbations grew along B trajectories, in M intervals between re-orthonormalisations.

    Attributes
    ----------
    log_growth : Tensor
        (B, M, k), float64: log|diag L| of each interval, in nats. NaN for trajectories that diverged; −inf for
        directions that were mapped to zero.
    is_bound : Tensor
        (B, k): directions whose total log-growth is only known not to be larger.
    steps : Tensor
        (M,), int64: the number of steps in each interval.
    condition : Tensor
        (B, M), float64: the worst ratio of the largest growth to the smallest in a factorisation. Rounding errors in
        `log_growth` are of the order of machine epsilon times this.
    state, frame : Tensor
        (B, N) and (B, k, N): where the trajectories and their orthonormal frames ended; rows of zeros for directions
        that were mapped to zero.
    diverged : dict
        Trajectory to the step, counted from the start of the run, that first produced a non-finite value.
    n_reorthonormalizations : int
        QR factorisations done, those of the transient and of discarded attempts included.
    n_reconditionings : int
        LU factorisations done inside intervals, likewise.
    """

    log_growth: Tensor
    is_bound: Tensor
    steps: Tensor
    condition: Tensor
    state: Tensor
    frame: Tensor
    diverged: dict[int, int]
    n_reorthonormalizations: int
    n_reconditionings: int
