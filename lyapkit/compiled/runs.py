"""`propagate_compiled`: a run in compiled loops where that can be, and what is checked after it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lyapkit.systems import Flow, System
from lyapkit.tangent import SelfCheckError, VariationalTerm, propagate

if TYPE_CHECKING:
    from lyapkit.compiled.propagation import CompiledPropagation

SHORT = 1000  # steps up to which loading the compiled loops is not worth while


def propagate_compiled(
    system: System, state: Tensor, frame: Tensor, inputs: Tensor | None, *, n_steps: int, n_transient: int, **options
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
    DivergenceError, SelfCheckError
        As `propagate` does; also if the compiled program and the function disagree at states on the way.
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

    def moving(course, everyone, accuracy):
        runs.append(CompiledPropagation(course, everyone, accuracy, compiled, n_transient + n_steps))
        return runs[0]

    try:
        term = propagate(
            system, state, frame, inputs, n_steps=n_steps, n_transient=n_transient, propagation=moving, **options
        )
    except GivenUpError as reason:
        return None, str(reason)
    run = runs[0]
    for visited, time in run.visited:
        input = None if inputs is None or time >= inputs.shape[1] else inputs[:, time]
        if inputs is not None and input is None:
            continue
        moves = visited.isfinite().all(1)
        visited, input = visited[moves][:64], input if input is None else input[moves][:64]
        if not len(visited) or (not system.treats_trajectories_alike and not bool(moves.all())):
            continue
        if found := disagreement(compiled.program, compiled.function, visited, input):
            raise SelfCheckError(
                f"{system}: compiled, it gives {found}, at step {time}: use compile=False, and see whether the "
                "function depends on something that changes"
            )
        compiled.function.note_later(visited, input)
    _judge_steps(system, run, term)
    return term, f"machine code (llvmlite {llvmlite.__version__})"


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
