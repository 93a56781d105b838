"""`Flow`: a system from an ordinary differential equation, by Runge–Kutta methods, tangent included."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lyapkit.systems.adaptive_steps import LOOSEST, RTOL, TIGHTEST, AdaptiveSteps
from lyapkit.systems.explicit_time import JacobianWithTime, WithTime
from lyapkit.systems.first_call import check_signature
from lyapkit.systems.map import Map
from lyapkit.systems.pilot import chosen_step
from lyapkit.systems.step_errors import Stages, StepErrors, rounded_down
from lyapkit.systems.system import System
from lyapkit.systems.verification import MOST_TRAJECTORIES, visited_states

KINKS_THAT_MATTER = 1e-3  # share of the field's evaluations
STRETCH = 2  # chosen steps of fixed length that steps of adapted length are taken within


class _Field(Map):
    """The right-hand side of a differential equation, called and differentiated like a map."""

    role = "vector_field"
    _advice = "for a field of time and state give time_dependent=True, for one of state and input input_size="


class Flow(System):
    """The map that integrating dh/dt = vector_field(h), or vector_field(h, x), over a fixed time makes.

    The tangent is the exact derivative of the Runge–Kutta steps: state and perturbations go through the same stages.
    Inputs are held constant during a step of this map. Exponents come out per unit of time.

    By default, a step of the map is integrated by as many steps of Dormand & Prince's method of order 8(5, 3) as keep
    the errors of state and perturbations below a tolerance, for every trajectory by itself.

    With a `time_step` alone, it is one step of the classical method of order 4. Such a step is too long if the
    exponents are off by it. Steps of every run are done again in two halves, most often those that look worst; if the
    exponents turn out to be off by more than about half a percent of the largest, a warning says by how much and names
    a step that would do.

    With ``time_dependent=True`` the field is called as vector_field(time, state), and the time becomes the last state
    variable, so that `state_size` grows by one: states are (N + 1,), and the spectrum has one more exponent, which is
    0, that of the time itself. A start at a time other than 0 is given as its last entry.

    Parameters
    ----------
    vector_field : callable
        Right-hand side, with the conventions of `Map`: (N,) -> (N,), or (B, N) -> (B, N) with ``batched=True``. It must
        be continuous: where it jumps, as sign does, perturbations change in a way that is not computed, nor noticed.
    state_size : int
        N, without the time.
    time_step : float, optional
        The time that one step of the map takes, in the equation's unit of time. Default: chosen before each run, by a
        pilot integration from its start.
    jacobian : callable, optional
        Derivative of `vector_field` by the state, (N, N) or (B, N, N), with the same arguments. Default: automatic
        differentiation.
    input_size, batched, initial_state, name
        As in `Map`.
    time_dependent : bool
        Whether the field, and the Jacobian, take the time as their first argument: a number, or with ``batched=True``
        (B,). Default False.
    rtol : float, optional
        Error of one integration step, relative to every variable, or to how far it moves, and to the perturbations.
        Default 1e-7, and with a `time_step` none: then steps of that length are taken, whatever their error.
    atol : float
        Error of a variable that is tolerated however small it is. Default 0.

    Raises
    ------
    ValueError
        If `time_step` is not positive, or `rtol` not between 1e-13 and 1e-4; and as `Map` does; and before a run, if
        the field is so stiff that no explicit method is reasonable.

    Examples
    --------
    >>> import lyapkit as lk
    >>> decay = lk.Flow(lambda x: -2 * x, 1, initial_state=[1.0], name="decay")
    >>> ds = lk.lyapunov_spectrum(decay, n_steps=100)
    >>> round(float(ds.lyapunov_exponent[0, 0]), 6)
    -2.0
    """

    time_unit = "unit of time"

    def __init__(
        self,
        vector_field: Callable[..., Any],
        state_size: int,
        time_step: float | None = None,
        jacobian: Callable[..., Any] | None = None,
        *,
        input_size: int | None = None,
        batched: bool = False,
        initial_state: np.ndarray | Tensor | Callable[..., Any] | None = None,
        name: str | None = None,
        time_dependent: bool = False,
        rtol: float | None = None,
        atol: float = 0.0,
    ) -> None:
        if time_step is not None and not (isinstance(time_step, (int, float)) and 0 < time_step < float("inf")):
            raise ValueError(f"time_step must be positive, got {time_step}")
        if rtol is not None and not TIGHTEST <= rtol <= LOOSEST:
            raise ValueError(f"rtol must be between {TIGHTEST:g} and {LOOSEST:g}, got {rtol}")
        if not 0 <= atol < float("inf"):
            raise ValueError(f"atol must be 0 or positive, got {atol}")
        if atol and rtol is None and time_step is not None:
            raise ValueError("atol= goes with rtol=: with time_step= alone, steps have that length")
        self.time_dependent = time_dependent
        if time_dependent:
            arguments = ("time", "state") if input_size is None else ("time", "state", "input")
            name = name or getattr(vector_field, "__name__", "flow").strip("<>")
            check_signature(vector_field, "vector_field", arguments, "time_dependent=True puts the time first")
            vector_field = WithTime(vector_field, state_size)
            if jacobian is not None:
                check_signature(jacobian, "jacobian", arguments, "time_dependent=True puts the time first")
                jacobian = JacobianWithTime(jacobian, vector_field, state_size)
        self.state_size = state_size + time_dependent
        self._field: Map = _Field(
            vector_field,
            self.state_size,
            jacobian,
            input_size=input_size,
            batched=batched,
            initial_state=initial_state,
            name=name,
        )
        self.n_clocks = self._field.n_clocks = int(time_dependent)
        self.input_size = input_size
        self.time_step = time_step  # type: ignore[assignment] # None until `prepared` chooses it
        self.rtol = RTOL if rtol is None and time_step is None else rtol
        self.atol = atol
        self._step_is_chosen = False
        self._errors: StepErrors | None = None
        self._adaptive: AdaptiveSteps | None = None
        self._last_time: float | None = None
        self._resolution = 0.0  # of the time, relative

    @property
    def treats_trajectories_alike(self) -> bool:
        """Whether some trajectories may be computed alone, as of the vector field."""
        return self._field.treats_trajectories_alike

    def step(self, state: Tensor, input: Tensor | None) -> Tensor:
        """Return the state one time step later."""
        h = self._known_step()
        if self.adaptive is not None:
            return self.adaptive.advance(state, input, state.new_empty((len(state), 0, state.shape[1])), h)[0]
        field = self._field.step
        k1 = field(state, input)
        k2 = field(state + h / 2 * k1, input)
        k3 = field(state + h / 2 * k2, input)
        k4 = field(state + h * k3, input)
        return state + h / 6 * (k1 + 2 * (k2 + k3) + k4)

    def push(self, state: Tensor, input: Tensor | None, tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state one time step later and the tangent vectors carried through the same four stages."""
        return self.push_along(state, None if input is None else input[:, None], tangent, 1)

    def push_along(self, state: Tensor, inputs: Tensor | None, tangent: Tensor, n_steps: int) -> tuple[Tensor, Tensor]:
        """Return state (B, N) and tangent vectors (B, k, N) after `n_steps` steps along inputs (B, n_steps, I)."""
        h, errors = self._known_step(), self._errors
        for time in range(n_steps):
            input = None if inputs is None else inputs[:, time]
            if self.adaptive is not None:
                state, tangent = self.adaptive.advance(state, input, tangent, h)
                continue
            stages = self._stages(state, input, tangent, h)
            if errors is not None:
                is_first, is_last = time == 0, time == n_steps - 1
                errors.note(
                    state.clone() if is_first else state,  # the caller may write into what is the caller's
                    input,
                    tangent.clone() if is_first else tangent,
                    stages._replace(tangent=stages.tangent.clone()) if is_last else stages,
                )
            state, tangent = stages.state, stages.tangent
        self.note_time(state)
        return state, tangent

    def note_time(self, state: Tensor) -> None:
        """Note the time that states (B, N) have come to, of which `findings` says whether it is resolved."""
        if self.time_dependent and len(state):
            self._last_time = float(state[:, -1].nan_to_num().abs().max())
            self._resolution = torch.finfo(state.dtype).eps

    def _stages(self, state: Tensor, input: Tensor | None, tangent: Tensor, h: float) -> Stages:
        push = self._field.push
        k1, d1 = push(state, input, tangent)
        k2, d2 = push(state + h / 2 * k1, input, tangent + h / 2 * d1)
        k3, d3 = push(state + h / 2 * k2, input, tangent + h / 2 * d2)
        k4, d4 = push(state + h * k3, input, tangent + h * d3)
        new_state = state + h / 6 * (k1 + 2 * (k2 + k3) + k4)
        return Stages(new_state, tangent + h / 6 * (d1 + 2 * (d2 + d3) + d4), k1, d1, d2, d3)

    def _known_step(self) -> float:
        if self.time_step is None:
            raise ValueError(
                f"{self._field} has no time step yet: lyapunov_spectrum chooses one from where a run starts; elsewhere "
                "give time_step=, or use prepared(state, inputs)"
            )
        return self.time_step

    @torch.no_grad()
    def prepared(self, state: Tensor, inputs: Tensor | None) -> Flow:
        """Return this flow for one run: its functions checked, its step chosen if it was not given, its errors watched.

        Raises
        ------
        ValueError
            As the class says.
        """
        run = self._with_field(self._field._fresh())
        first = None if inputs is None else inputs[:, 0]
        run._field.step(state, first)  # finds out how the functions can be called
        if run.time_step is None:
            run._field.check((state[:4], None if first is None else first[:4]))
            if inputs is not None:
                raise ValueError(f"{self._field} needs time_step=, the time for which one input is held")
            pilot = run._with_field(run._field.written_if_same(state, first))
            run.time_step = rounded_down(STRETCH * chosen_step(pilot._stages, state, str(self._field)))
            run._step_is_chosen = True
        if run.adaptive is not None:
            run._check_start_time(state, run.adaptive.rtol)
            some = slice(MOST_TRAJECTORIES)
            run._check_tolerance(run.adaptive, state[some], None if first is None else first[some])
        run._field.check(visited_states(run.step, state, inputs))
        if run.adaptive is None:
            run._errors = StepErrors(run._stages, run._trace(), run.time_step)
        return run

    def _check_tolerance(self, adaptive: AdaptiveSteps, state: Tensor, input: Tensor | None) -> None:
        end = self.step(state, input)
        if adaptive.gave_up and not bool(end.isfinite().all(1).any()):
            raise ValueError(f"{self._field} {adaptive.advice(self.time_step)}")
        size = float(state[:, : self.state_size - self.time_dependent].abs().amax())
        if size and self.atol > LOOSEST * size:
            raise ValueError(f"atol={self.atol:g} is not small in comparison with the states, up to {size:.3g}")

    def _check_start_time(self, state: Tensor, rtol: float) -> None:
        """Refuse a time that is resolved too coarsely for steps to be adapted."""
        if not self.time_dependent or not len(state):
            return
        start = float(state[:, -1].abs().max())
        resolution = torch.finfo(state.dtype).eps * start
        if resolution > 0.1 * rtol * self._known_step():
            raise ValueError(
                f"{self._field}: times from {start:g} on are resolved to {resolution:.1g} only, too coarsely for steps "
                f"that are adapted to rtol={rtol:g}: start close to 0, and let the field add the rest, or give "
                "time_step= alone"
            )

    def _trace(self) -> Callable[[Tensor, Tensor | None], Tensor]:
        """Return the divergence of the field."""

        def trace(state: Tensor, input: Tensor | None) -> Tensor:
            eye = torch.eye(self.state_size, dtype=state.dtype, device=state.device)
            matrices = self._field.pushed(state, input, eye.expand(len(state), -1, -1).contiguous())
            return matrices.diagonal(dim1=-2, dim2=-1).sum(-1)

        return trace

    @torch.no_grad()
    def findings(self) -> list[str]:
        """Return what a run showed: a time step that is too long, and what `Map` finds in the field."""
        found = self._field.findings(KINKS_THAT_MATTER)
        if self._adaptive is not None and self._adaptive.gave_up:
            found.append(f"{self._adaptive.advice(self.time_step)}; trajectories that came there ended")
        if self._last_time is not None and self._resolution * abs(self._last_time) > 1e-3 * self.time_step:
            found.append(
                f"at time {self._last_time:g} the run's arithmetic resolves the time to "
                f"{self._resolution * abs(self._last_time):.1g} only, and steps are {self.time_step:g}: use "
                "dtype='float64', or a start time that is closer to 0"
            )
        if self._errors is None:
            return found
        verdict = self._errors.verdict()
        if verdict.strain > 1:
            found.append(
                f"time_step={self.time_step:g} is too long: by it alone the exponents are off by about "
                f"{verdict.error:.2g} nats per unit of time, or the trajectory is another one; "
                f"time_step={self._errors.sufficient_step():g} would do"
            )
        return found

    @property
    def adaptive(self) -> AdaptiveSteps | None:
        """What integrates with steps of adapted length; None where steps have the length `time_step`."""
        if self.rtol is not None and self._adaptive is None:
            n_moving = self.state_size - self.time_dependent
            self._adaptive = AdaptiveSteps(self._field.push, n_moving, self.rtol, self.atol)
        return self._adaptive

    @property
    def field(self) -> Map:
        """The right-hand side, as a function that is called and differentiated like a map."""
        return self._field

    @torch.no_grad()
    def judge(self, state: Tensor, input: Tensor | None, tangent: Tensor, weights: Tensor, growth: Tensor) -> None:
        """Judge the time step by steps of a run of the field's `Program`, for `findings`.

        Parameters
        ----------
        state, input, tangent : Tensor
            (M, N), (M, I) or None, (M, k, N): where the steps began.
        weights : Tensor
            (M,): how many steps each of them stands for.
        growth : Tensor
            (k,): the mean log-growth of a step.
        """
        if self._errors is not None and len(state):
            written = self._with_field(self._field.written(state, input))
            self._errors.stepper, self._errors.trace = written._stages, written._trace()
            self._errors.take(state, input, tangent, weights, growth)

    @property
    def divergence_hint(self) -> str:
        """What to try where a trajectory of this flow diverges."""
        if self.rtol is not None:
            return ""
        return f"a smaller time_step than {self.time_step:g} may be needed"

    def split_into_real_parts(self) -> Flow:
        """Return this flow of N complex variables as one of 2N real variables, real parts before imaginary ones."""
        if self.time_dependent:
            raise ValueError(
                f"{self} has complex states and a time, which is real: write the field for real and imaginary parts"
            )
        split = self._with_field(self._field.split_into_real_parts())
        split.state_size = split._field.state_size
        return split

    def converted(self, dtype: torch.dtype, device: torch.device) -> Flow:
        """Return this flow, modules among its functions converted; the original is not changed."""
        return self._with_field(self._field.converted(dtype, device))

    def trusted(self) -> Flow:
        """Declare the functions to be pure, as `Map.trusted` does, and return this flow."""
        self._field.trusted()
        return self

    def _with_field(self, field: Map) -> Flow:
        flow = copy.copy(self)
        flow._field = field
        flow._errors, flow._adaptive, flow._last_time = None, None, None
        return flow

    def initial_state(self, n_trajectories: int, generator: torch.Generator) -> Tensor:
        """Return the start states given at construction; those without a time start at time 0."""
        state = self._field.initial_state(n_trajectories, generator)
        if self.time_dependent and state.shape[-1] == self.state_size - 1:
            state = torch.cat([state, torch.zeros_like(state[:, :1])], dim=-1)
        return state

    def __str__(self) -> str:
        if self.time_step is None:
            step = "a time step that is chosen before a run"
        else:
            step = f"time step {self.time_step:g}" + (", chosen by a pilot run" if self._step_is_chosen else "")
        tolerance = (
            "" if self.rtol is None else f", rtol {self.rtol:g}" + (f", atol {self.atol:g}" if self.atol else "")
        )
        method = "Runge–Kutta 4" if self.rtol is None else "Dormand–Prince 8(5,3)"
        time = ", the time as last state variable" if self.time_dependent else ""
        return f"{self._field}, {method} with {step}{tolerance}{time}"

    def __repr__(self) -> str:
        return repr(self._field).replace("_Field(", "Flow(", 1)[:-1] + f", time_step={self.time_step})"
