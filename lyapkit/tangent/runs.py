"""`propagate`: the variational term of a system along trajectories, from given states and frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from lyapkit.progress import progress_bar
from lyapkit.systems.system import System
from lyapkit.tangent.bundle import Bundle
from lyapkit.tangent.course import Course
from lyapkit.tangent.interruption import noting_interruption
from lyapkit.tangent.pacing import AdaptivePace, FixedPace
from lyapkit.tangent.propagation import Propagation
from lyapkit.tangent.self_check import SelfCheck
from lyapkit.tangent.variational_term import VariationalTerm

DEFAULT_ACCURACY = {torch.float64: 1e-9, torch.float32: 1e-4}
UNCERTAIN = {torch.float64: 1e-6, torch.float32: 1e-3}  # rounding error per step that makes an exponent a bound


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
    precise: System | None = None,
    on_divergence: Literal["warn", "raise"] = "warn",
    check: bool = True,
    interruptible: bool = False,
    progress: bool | None = None,
    propagation: Callable[[Course, Bundle, float], Propagation] = Propagation,
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
        Steps that are counted, after those that only move state and frame. What was lost in those is forgotten.
    reorthonormalize : int or "adaptive"
        A fixed number of steps between QR factorisations; or about 32 intervals for the run, each factored inside as
        rarely as `accuracy` allows.
    accuracy : float, optional
        Rounding error that the adaptive mode tolerates in one factorisation's log-growth: a factorisation is due
        before machine epsilon times the condition exceeds it. The exponents, which average over many, come out
        more accurate than that. Default 1e-9 in float64, 1e-4 in float32.
    precise : System, optional
        The system in float64, for steps that float32 does not resolve.
    on_divergence : "warn" or "raise"
        What to do about non-finite trajectories and unresolved directions: a `DivergenceWarning` and NaN in the
        result, the other trajectories going on, or a `DivergenceError`.
    check : bool
        Compute the beginning of one trajectory a second time, plainly, and compare.
    interruptible : bool
        At Ctrl-C end where the interval does, and return what was done, unless that is still the transient.
    progress : bool, optional
        Show a progress bar. Default: after two seconds, in terminals and notebooks.
    propagation : callable
        From the course, the bundle of all trajectories and the accuracy to what moves them. Default: `Propagation`.

    Returns
    -------
    VariationalTerm

    Raises
    ------
    DivergenceError
        If `on_divergence` is "raise" and a trajectory diverges or a direction cannot be resolved.
    SelfCheckError
        If the plain computation gives something else.
    """
    accuracy = accuracy or DEFAULT_ACCURACY[state.dtype]
    pace: AdaptivePace | FixedPace
    if reorthonormalize == "adaptive":
        pace = AdaptivePace(n_steps, accuracy, state.dtype)
    else:
        pace = FixedPace(reorthonormalize, accuracy, state.dtype)
    everyone = Bundle.start(state, frame, pace)
    run = propagation(Course(system, precise, inputs, len(state)), everyone, accuracy)
    intervals: list[tuple[int, Tensor, Tensor]] = []
    bar = progress_bar(progress, total=n_transient + n_steps, unit="step", leave=False)
    with bar, noting_interruption(interruptible) as is_interrupted:
        for phase_end in (n_transient, n_transient + n_steps):
            run.forget_losses()
            intervals.clear()
            while everyone.time < phase_end:
                length = min(pace.interval, phase_end - everyone.time)
                if check and everyone.time == n_transient:
                    run.check = SelfCheck.of(run, n_steps)
                run.pass_interval(length)
                growth, condition = everyone.by_direction(everyone.log_growth), everyone.condition.clone()
                intervals.append((length, growth.cpu(), condition.cpu()))
                bar.update(length)
                if is_interrupted():
                    if everyone.time <= n_transient:
                        raise KeyboardInterrupt
                    break
    n_done = everyone.time - n_transient
    losses = run.casualties.conclude(everyone, UNCERTAIN[state.dtype] * n_done)
    losses.report(system, pace.remedy(state.dtype), on_divergence)
    steps, growths, conditions = zip(*intervals, strict=True)
    return VariationalTerm(
        log_growth=losses.mark(torch.stack(growths, dim=1)),
        is_bound=losses.is_bound,
        steps=torch.tensor(steps),
        condition=torch.stack(conditions, dim=1),
        state=everyone.state,
        frame=everyone.by_direction(everyone.frame),
        diverged=run.casualties.diverged,
        n_reorthonormalizations=run.n_reorthonormalizations,
        n_reconditionings=run.n_reconditionings,
    )
