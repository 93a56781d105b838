"""`propagate_compiled`: a run in compiled loops where that can be, and what is checked after it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lyapkit.systems import Flow, Map, System
from lyapkit.tangent import SelfCheckError, VariationalTerm, propagate

if TYPE_CHECKING:
    from lyapkit.compiled.propagation import CompiledPropagation
    from lyapkit.tangent.bundle import Bundle
    from lyapkit.tangent.course import Course

MOST_VISITED = 64  # trajectories whose states along a run are looked at
SHORT = 1000  # steps up to which loading the compiled loops is not worth while


def propagate_compiled(
    system: System,
    state: Tensor,
    frame: Tensor,
    inputs: Tensor | None,
    *,
    n_steps: int,
    n_transient: int,
    **options: Any,
) -> tuple[VariationalTerm | None, str]:
    """Return the variational term that `propagate` returns, and the program that computed it; or None, and why.

    Parameters
    ----------
    system : System
        Prepared for the run, on the CPU.
    state, frame, inputs, n_steps, n_transient, **options
        As `propagate` takes them.

    Raises
    ------
    DivergenceError
        As `propagate` does.
    SelfCheckError
        If the compiled program and the function disagree at states on the way.
    """
    if n_transient + n_steps <= SHORT:
        return None, "the run is short"
    if state.dtype != torch.float64 or state.device.type != "cpu":
        return None, "compiled loops are for float64 on the CPU"
    try:
        import llvmlite
    except ImportError as error:
        return None, f"there is no {error.name}"
    from lyapkit.compiled.compilation import NotCompiledError, compilation, disagreement
    from lyapkit.compiled.propagation import CompiledPropagation, GivenUpError

    if inputs is not None and inputs.stride(2) != 1 and inputs.shape[2] > 1:
        inputs = inputs.contiguous()
    try:
        compiled = compilation(system, state, None if inputs is None else inputs[:, 0], frame.shape[1])
    except NotCompiledError as reason:
        return None, str(reason)
    runs: list[CompiledPropagation] = []

    def moving(course: Course, everyone: Bundle, accuracy: float) -> CompiledPropagation:
        runs.append(CompiledPropagation(course, everyone, accuracy, compiled, n_transient + n_steps))
        return runs[0]

    try:
        term = propagate(
            system, state, frame, inputs, n_steps=n_steps, n_transient=n_transient, propagation=moving, **options
        )
    except GivenUpError as reason:
        return None, str(reason)
    except SelfCheckError as error:  # at a kink the slopes of either side are right, and may differ
        return None, f"its first steps grow differently, computed plainly: {error}"
    run = runs[0]
    if points := _visited(run, system):
        states, driving, times = zip(*points, strict=True)
        input = None if inputs is None else torch.cat(driving)
        if found := disagreement(compiled.program, compiled.function, torch.cat(states), input):
            raise SelfCheckError(
                f"{system}: compiled, it gives {found}, at a state of steps {times[0]} to {times[-1]}: use "
                "compile=False, and see whether the function depends on something that changes"
            )
        if isinstance(compiled.function, Map):
            for state, driven in zip(states, driving, strict=True):
                compiled.function.note_later(state, driven)
    if isinstance(system, Flow):
        system.note_time(term.state)
    _judge_steps(system, run, term)
    return term, f"machine code (llvmlite {llvmlite.__version__})"


def _visited(run: CompiledPropagation, system: System) -> list[tuple[Tensor, Tensor | None, int]]:
    """Return states (M, N) along the run that are finite, their inputs (M, I) or None, and their times.

    Of functions that see all trajectories at once, only the last ones at which all were finite.
    """
    inputs = run.course.inputs
    points: list[tuple[Tensor, Tensor | None, int]] = []
    for state, time in run.visited:
        moves = state.isfinite().all(1)
        if inputs is not None and time >= inputs.shape[1]:
            continue
        if system.treats_trajectories_alike:
            which = moves.nonzero().flatten()[:MOST_VISITED]
        elif bool(moves.all()):
            which, points = torch.arange(len(state)), []
        else:
            continue
        if len(which):
            points.append((state[which], None if inputs is None else inputs[which, time], time))
    return points


def compiled_orbit(
    system: System, state: Tensor, n_exponents: int | None, n_steps: int, n_left_out: int, n_kept: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return states of an autonomous system's first trajectory, and where all ended; None if it is not compiled.

    Parameters
    ----------
    system, state : System, Tensor
        Prepared for a run in float64, and (B, N), where it starts.
    n_exponents : int, optional
        As of the spectrum, with which it shares its code.
    n_steps, n_left_out, n_kept : int
        All steps; those before the first state that is kept; how many states are kept.

    Returns
    -------
    orbit, end : ndarray
        (n_kept, N) and (B, N).
    """
    try:
        from lyapkit.compiled import kernels
        from lyapkit.compiled.compilation import NotCompiledError, compilation
    except ImportError:
        return None
    n, k = system.state_size, n_exponents or system.state_size
    try:
        compiled = compilation(system, state, None, k)
    except NotCompiledError:
        return None
    work, end, orbit = kernels.workspace(n, k, compiled.room), state.double().numpy().copy(), np.empty((n_kept, n))
    code = compiled.code
    for index, row in enumerate(end):
        kept = n_kept if index == 0 else 0
        kernels.compiled(kernels.follow, is_adaptive=compiled.is_adaptive)(
            *(code.address, compiled.kind, compiled.time_step, code.parameters.ctypes.data, n, k, work.ctypes.data),
            *(row.ctypes.data, n_steps, n_left_out, orbit.ctypes.data, kept, compiled.method.ctypes.data),
        )
    return orbit, end


def _judge_steps(system: System, run: CompiledPropagation, term: VariationalTerm) -> None:
    """Tell a flow of the steps that were sampled, from which it judges its time step."""
    if isinstance(system, Flow) and run.n_samples:
        n, k = run.everyone.state.shape[1], run.everyone.frame.shape[1]
        rows, places = (run.samples[:, :, 0] > 0).nonzero()
        complete = places < run.watch[rows, 2]
        rows, places = rows[complete], places[complete]
        samples = torch.from_numpy(run.samples[rows, places])
        state, tangent = samples[:, 2 : 2 + n], samples[:, 2 + n :].reshape(-1, n, k).mT.contiguous()
        input = None
        if run.course.inputs is not None:
            input = run.course.inputs[torch.from_numpy(rows), samples[:, 1].long()]
        grown = term.log_growth.sum(1)
        grown = grown[grown.isfinite().all(1)]
        if len(grown):
            system.judge(state, input, tangent, samples[:, 0], grown.mean(0) / float(term.steps.sum()))
