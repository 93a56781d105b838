"""`compilation`: a system's machine code, where it is small and made of arithmetic; else why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import llvmlite
import numpy as np
import torch
from torch import Tensor

from lyapkit.compiled import adaptive_kernel
from lyapkit.compiled.fixed_steps import ADAPTIVE, MAP, RUNGE_KUTTA
from lyapkit.compiled.machine_code import MachineCode
from lyapkit.systems import Flow, Map, System
from lyapkit.systems.tracing import Program, Untraceable

OLDEST = (0, 46)  # llvmlite: older ones write pointers as LLVM does not read them
MOST_VARIABLES = 48
MOST_OPERATIONS = 4000
AGREEMENT = 1e-9  # of a program's values with the function's, relative to the largest
REST = 1e-3  # of a state, which a field may be a difference of: at an equilibrium it is rounding


class NotCompiledError(Exception):
    """There is no machine code of a system; the message says why."""


@runtime_checkable
class Traceable(Protocol):
    """What can be written down as arithmetic, if it is no more than that."""

    def step(self, state: Tensor, input: Tensor | None) -> Tensor:
        """Return the next states, or the field, (B, N)."""

    def program(self, state: Tensor, input: Tensor | None) -> Program:
        """Return it, written down; raise `Untraceable` if it is more."""


@dataclass
class Compilation:
    """A system's machine code.

    Attributes
    ----------
    program : Program
        Of the map's step, or the flow's field.
    code : MachineCode
        The program with its tangent map.
    function : Traceable
        The map, the cell, or the field, itself.
    kind : int
        `MAP`, `RUNGE_KUTTA` or `ADAPTIVE`.
    time_step : float
        Of the flow.
    method : ndarray
        As `adaptive_kernel.method_of` says; empty for steps of fixed length.
    room : int
        Numbers that a step of adapted length has to keep.
    """

    program: Program
    code: MachineCode
    function: Traceable
    kind: int
    time_step: float
    method: np.ndarray
    room: int

    @property
    def is_adaptive(self) -> bool:
        """Whether steps are of adapted length."""
        return self.kind == ADAPTIVE


@torch.no_grad()
def compilation(system: System, state: Tensor, input: Tensor | None, n_tangents: int) -> Compilation:
    """Return the machine code of a system that was prepared for a run.

    Parameters
    ----------
    system : System
        In float64.
    state, input : Tensor
        (B, N) and (B, I) or None: where the run starts.
    n_tangents : int
        k.

    Raises
    ------
    NotCompiledError
        Why there is none.
    """
    if tuple(int(part) for part in llvmlite.__version__.split(".")[:2]) < OLDEST:
        raise NotCompiledError(f"llvmlite {llvmlite.__version__} is older than {OLDEST[0]}.{OLDEST[1]}")
    function = system.field if isinstance(system, Flow) else system
    if not isinstance(function, Traceable):
        raise NotCompiledError("it is no Map, no Flow and no cell of one's own")
    if system.state_size > MOST_VARIABLES:
        raise NotCompiledError(f"it has more than {MOST_VARIABLES} state variables")
    try:
        program = function.program(state, input)
    except Untraceable as reason:
        raise NotCompiledError(f"{_role(function)} is more than arithmetic: {reason}") from reason
    if len(program.needed) > MOST_OPERATIONS:
        raise NotCompiledError(f"a step takes more than {MOST_OPERATIONS} operations")
    difference = disagreement(program, function, state, input)
    if difference is not None:
        raise NotCompiledError(f"{_role(function)}, written down as arithmetic, gives other numbers: {difference}")
    kind = RUNGE_KUTTA if isinstance(system, Flow) else MAP
    method, room = np.empty(0), 0
    if isinstance(system, Flow) and system.adaptive is not None:
        kind, method = ADAPTIVE, adaptive_kernel.method_of(system.adaptive, system.state_size)
        n_probes = int(method[0])
        room = adaptive_kernel.room(system.state_size, n_tangents, n_probes)
        n_tangents += n_probes
    code = MachineCode(program, n_tangents)
    return Compilation(program, code, function, kind, float(system.time_step), method, room)


def _role(function: Traceable) -> str:
    return function.role if isinstance(function, Map) else "step"


def disagreement(program: Program, function: Traceable, state: Tensor, input: Tensor | None) -> str | None:
    """Return in what a program differs from its function at states (B, N), None if in nothing."""
    expected = function.step(state, input)
    got = torch.as_tensor(program.step(state.numpy(), None if input is None else input.numpy()))
    is_finite = expected.isfinite().all(1, keepdim=True)
    size = expected.where(is_finite, 0.0).abs().amax(0) + REST * state.abs().amax(0) + 1e-300
    error = ((got - expected).abs() / size).nan_to_num(nan=torch.inf).where(is_finite, 0.0)
    if float(error.max()) <= AGREEMENT:
        return None
    row, column = divmod(int(error.argmax()), error.shape[1])
    return f"{float(got[row, column]):.10g} for {float(expected[row, column]):.10g} in variable {column}"
