"""`Map`: a system from a user's function, in torch or NumPy, for one state or for a batch of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from lyapkit.systems.complex_states import JacobianOfParts, OfParts
from lyapkit.systems.function_values import not_a_function, same_numbers
from lyapkit.systems.system import System
from lyapkit.systems.tracing import Program, Untraceable, traced
from lyapkit.systems.user_function import UserFunction
from lyapkit.systems.verification import MOST_TRAJECTORIES, check_jacobian, check_repeatable, visited_states

_ADVICE = "give jacobian=, or write {role} with torch (torch.stack instead of np.array or torch.tensor)"


class Map(System):
    """The system h_t = step(h_{t-1}) or, with `input_size`, h_t = step(h_{t-1}, x_t).

    Without a Jacobian, tangent vectors are pushed by automatic differentiation: torch's, or, of a NumPy `step`, that
    of the arithmetic that it does with its argument. A `step` that does something else with it (a loop until a
    condition holds, SciPy, a table that it is an index of) needs `jacobian`.

    The functions may write into their arguments and reuse their results: they are given copies, and what they return
    is copied. They are called on all trajectories at once where ``torch.vmap`` allows it, one by one where it does not
    (Python's `if` on a state). Constants of another precision are taken as they are, in the run's arithmetic. Before
    a run they are checked on its first states: the same argument must give the same value, and the Jacobian must
    agree with differences of `step`.

    A map of complex numbers is started by a complex ``initial_state=`` of `lyapunov_spectrum`, and measured as one of
    2N real variables, all real parts and then all imaginary ones; its `jacobian`, if given, may be the complex (N, N)
    derivative, if the map is holomorphic, or the real (2N, 2N) one.

    Parameters
    ----------
    step : callable
        From a state (N,) to the next state (N,); with ``batched=True`` from (B, N) to (B, N). NumPy or torch; a
        `torch.nn.Module` is converted to the run's dtype.
    state_size : int
        N.
    jacobian : callable, optional
        With the arguments of `step`: the matrix of partial derivatives, entry [i, j] the derivative of next-state
        variable i by state variable j; shape (N, N), or (B, N, N) with ``batched=True``.
    input_size : int, optional
        Number of input features I. Default: autonomous, and `step` is called with the state alone.
    batched : bool
        Whether the functions take a leading trajectory dimension. Default False.
    initial_state : array or callable, optional
        A start state (N,) or a function (n_trajectories, generator) -> (n_trajectories, N).
    name : str, optional
        How messages and result files call the map. Default: the name of `step`.

    Raises
    ------
    ValueError
        If a function does not take these arguments. At use, if it fails, returns another shape, whole or complex
        numbers, or different values for the same arguments; if the Jacobian is not the derivative of `step`; or if a
        NumPy `step` comes without a Jacobian and cannot be differentiated.

    Examples
    --------
    >>> import lyapkit as lk
    >>> logistic = lk.Map(lambda x: 4 * x * (1 - x), 1, initial_state=[0.3], name="logistic map")
    >>> ds = lk.lyapunov_spectrum(logistic, n_steps=20_000)
    >>> round(float(ds.lyapunov_exponent[0, 0]), 2)  # log 2
    0.69
    """

    role = "step"
    _advice = "for a differential equation use Flow, with time_dependent=True if its field takes the time"

    def __init__(
        self,
        step: Callable[..., Any],
        state_size: int,
        jacobian: Callable[..., Any] | None = None,
        *,
        input_size: int | None = None,
        batched: bool = False,
        initial_state: np.ndarray | Tensor | Callable[..., Any] | None = None,
        name: str | None = None,
    ) -> None:
        if state_size < 1:
            raise ValueError(f"state_size must be at least 1, got {state_size}")
        self.state_size = state_size
        self.input_size = input_size
        self.batched = batched
        self.name = name or _name_of(step)
        arguments = ("state",) if input_size is None else ("state", "input")
        self._step = UserFunction(step, self.role, (state_size,), batched, arguments, self._advice)
        self._jacobian = jacobian and UserFunction(
            jacobian, "jacobian", (state_size, state_size), batched, arguments, self._advice
        )
        self._initial_state = initial_state
        self._source: Map | None = None  # what this was converted from
        self._n_pushes = 0
        self._later: list[tuple[Tensor, Tensor | None]] = []  # where derivatives are checked after the run
        self._probe: tuple[Tensor, Tensor | None, Tensor] | None = None
        self._program: Program | Untraceable | None = None

    @property
    def treats_trajectories_alike(self) -> bool:
        """Whether some trajectories may be computed alone: not sure of functions that see the whole batch."""
        return not self.batched or self._step.is_pure

    def step(self, state: Tensor, input: Tensor | None) -> Tensor:
        """Return step(state, input) for every trajectory."""
        return self._step(state, input)

    def push(self, state: Tensor, input: Tensor | None, tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next state and the tangent vectors times the Jacobian, given or by automatic differentiation."""
        self._n_pushes += 1
        if self._n_pushes & (self._n_pushes - 1) == 0 and self._probe is not None:  # a power of two
            self.note_later(state, input)
        if self._jacobian is not None:
            return self._step(state, input), tangent @ self._jacobian(state, input).mT
        next_state = self._step.watched(state, input)
        return next_state, self._differentiated(state, input, tangent)

    def _differentiated(self, state: Tensor, input: Tensor | None, tangent: Tensor) -> Tensor:
        advice = _ADVICE.format(role=self.role)
        if self._step.differs_in_torch or not self._step.is_torch:
            driving = None if input is None else input.double().cpu().numpy()
            try:
                program = self.program(state, input)
            except Untraceable as reason:
                raise ValueError(f"{self.name}: {self.role} cannot be differentiated: {reason}: {advice}") from reason
            pushed = program.push(state.double().cpu().numpy(), driving, tangent.double().cpu().numpy())[1]
            return torch.as_tensor(pushed).to(tangent)
        try:
            return self._step.pushed(state, input, tangent)
        except Exception as error:
            raise ValueError(
                f"{self.name}: {self.role} cannot be differentiated automatically: {advice}: {error}"
            ) from error

    def pushed(self, state: Tensor, input: Tensor | None, tangent: Tensor) -> Tensor:
        """Return the tangent vectors times the Jacobian."""
        if self._jacobian is not None:
            return tangent @ self._jacobian(state, input).mT
        self._step.call_once(state, input)
        return self._differentiated(state, input, tangent)

    def program(self, state: Tensor, input: Tensor | None) -> Program:
        """Return what step and Jacobian compute, written down as arithmetic.

        Parameters
        ----------
        state, input : Tensor
            (B, N) and (B, I) or None: arguments to find out with how the functions can be called.

        Raises
        ------
        Untraceable
            If they are not arithmetic.
        """
        if self._program is None:
            functions = [function for function in (self._step, self._jacobian) if function is not None]
            for function in functions:
                function.call_once(state, input)
            in_torch = [function.is_torch and not function.differs_in_torch for function in functions]
            jacobian = None if self._jacobian is None else self._jacobian.function
            sizes = self.state_size, self.input_size
            options: dict[str, Any] = {
                "jacobian": jacobian,
                "batched": self.batched,
                "in_torch": (in_torch[0], in_torch[-1]),
            }
            try:
                self._program = traced(self._step.function, *sizes, **options)
            except Untraceable as reason:
                self._program = reason
        if isinstance(self._program, Untraceable):
            raise self._program
        return self._program

    def written(self, state: Tensor, input: Tensor | None) -> Map:
        """Return this map computing by its `program`, all trajectories at once."""
        run = copy.copy(self)
        run.__class__ = _Written
        run._program = self.program(state, input)
        return run

    def written_if_same(self, state: Tensor, input: Tensor | None) -> Map:
        """Return this map computing by its `program`, if that is the same at states (B, N); it is faster."""
        if state.dtype != torch.float64 or state.device.type != "cpu":
            return self
        try:
            written = self.written(state, input)
        except Untraceable:
            return self
        return written if torch.allclose(written.step(state, input), self.step(state, input), equal_nan=True) else self

    def note_later(self, state: Tensor, input: Tensor | None) -> None:
        """Check derivatives at states (B, N) that a run came to, when it asks for `findings`."""
        self._later.append(
            (state[:MOST_TRAJECTORIES].clone(), None if input is None else input[:MOST_TRAJECTORIES].clone())
        )

    @torch.no_grad()
    def prepared(self, state: Tensor, inputs: Tensor | None) -> Self:
        """Return this map for one run, its functions checked on the first states of the run.

        Raises
        ------
        ValueError
            As the class says.
        """
        run = self._fresh()
        run.check(visited_states(run.step, state, inputs))
        return run

    def check(self, points: tuple[Tensor, Tensor | None]) -> None:
        """Check the functions at states (M, N) and inputs (M, I) or None, and keep a value to compare with later.

        Raises
        ------
        ValueError
            As the class says.
        """
        state, input = points
        for function in (self._step, self._jacobian):
            if function is not None and not function.is_pure:
                check_repeatable(function, points)
        self._probe = state[:1], None if input is None else input[:1], self._step(state, input)[:1]
        if not self._step.is_pure:
            self._exact()._check_derivative((state.double(), None if input is None else input.double()))

    def _check_derivative(self, points: tuple[Tensor, Tensor | None], away: float = 1.0) -> None:
        self._step(*points)
        rough = self._step.loses_digits or (self._jacobian is not None and self._jacobian.loses_digits)
        message = self._wrong_differentiation if self._jacobian is None else self._wrong_jacobian
        check_jacobian(self._step, self.pushed, points, message, rough, away, self.n_clocks)

    def _exact(self) -> Map:
        """Return this map in float64, in which differences tell more."""
        return self._fresh() if self._source is None else self._source._fresh()

    @torch.no_grad()
    def findings(self, smallest_share_of_kinks: float = 0.0) -> list[str]:
        """Return what a run showed: lost digits, kinks met exactly, a function that changed meanwhile."""
        found = self._step.findings(smallest_share_of_kinks)
        has_kinks = bool(found) or self._step.stood_at_kinks
        if self._jacobian is not None:
            found += self._jacobian.findings()
        if self._probe is not None:
            state, input, before = self._probe
            after = self._step(state, input)
            if not same_numbers(before, after) and not torch.allclose(
                before, after, rtol=1e5 * torch.finfo(before.dtype).eps, equal_nan=True
            ):
                found.append("after the run: " + not_a_function(self.role, before, after))
        found += self._doubts_about_derivatives(has_kinks)
        return found

    def _doubts_about_derivatives(self, has_kinks: bool) -> list[str]:
        """Return whether the derivative is not that of the step at states that were met later in the run.

        Close to them; and at them, where a loop that ends when nothing changes any more is left at once, with a
        derivative that has not converged, though not if they may lie on kinks, which are named elsewhere.
        """
        later, self._later = self._later, []
        finite = [(state, input) for state, input in later if bool(state.isfinite().all())]
        if not finite or self._step.is_pure:
            return []
        states, inputs = zip(*finite, strict=True)
        points = torch.cat(states).double(), None if inputs[0] is None else torch.cat(inputs).double()
        try:
            self._exact()._check_derivative(points)
            if not has_kinks and self._jacobian is None:
                self._exact()._check_derivative(points, away=0.0)
        except ValueError as error:
            return [f"on the way, {error}"]
        return []

    def split_into_real_parts(self) -> Self:
        """Return this map of N complex variables as one of 2N real variables, real parts before imaginary ones."""
        split = copy.copy(self)
        split.state_size = 2 * self.state_size
        split._program = None
        split.name = f"{self.name} (real and imaginary parts)"
        split._step = self._step.wrapped(OfParts, (split.state_size,))
        if self._jacobian is not None:
            split._jacobian = self._jacobian.wrapped(
                lambda function: JacobianOfParts(function, self.state_size), (split.state_size, split.state_size)
            )
            split._jacobian.is_complex_derivative = True
        return split

    def converted(self, dtype: torch.dtype, device: torch.device) -> Self:
        """Return this map, modules among its functions converted; the original is not changed."""
        run = self._fresh(dtype, device)
        run._program = None
        run._source = self if device.type == "cpu" else None
        return run

    def trusted(self) -> Self:
        """Declare the functions to be pure: torch, batched, never writing into arguments; and return this map.

        They are then called without copies and not checked.
        """
        for function in (self._step, self._jacobian):
            if function is not None:
                function.trust()
        return self

    def initial_state(self, n_trajectories: int, generator: torch.Generator) -> Tensor:
        """Return the start states given at construction."""
        if self._initial_state is None:
            return super().initial_state(n_trajectories, generator)
        if callable(self._initial_state):
            start = self._initial_state(n_trajectories, generator)
        else:
            start = torch.as_tensor(np.asarray(self._initial_state))
        if torch.as_tensor(start).is_complex():
            raise ValueError(f"{self} has a complex initial state: give it to lyapunov_spectrum, as initial_state=")
        if callable(self._initial_state):
            return start
        return start.double().expand(n_trajectories, start.shape[-1] if start.ndim else self.state_size).clone()

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        sizes = f"state_size={self.state_size}" + (f", input_size={self.input_size}" if self.input_size else "")
        jacobian = "given" if self._jacobian is not None else "by automatic differentiation"
        return f"{type(self).__name__}({self.name}, {sizes}, jacobian {jacobian})"

    def _fresh(self, dtype: torch.dtype | None = None, device: torch.device | None = None) -> Self:
        run = copy.copy(self)
        run._probe, run._n_pushes, run._later = None, 0, []
        for name in ("_step", "_jacobian"):
            function = getattr(self, name)
            if function is not None:
                setattr(run, name, function.fresh() if dtype is None else function.converted(dtype, device))
        return run

    def _wrong_jacobian(self, found: str) -> str:
        hint = ""
        if self._jacobian is not None and self._jacobian.is_complex_derivative:
            hint = (
                ". A complex derivative is one only for a holomorphic map: if the map is not (abs, conj, real), give "
                "the real (2N, 2N) Jacobian of all real and then all imaginary parts, or write it with torch and "
                "without jacobian="
            )
        return f"{self.name}: jacobian is not the derivative of {self.role}: {found}{hint}"

    def _wrong_differentiation(self, found: str) -> str:
        left = ", ".join(sorted(self._step.leaves_torch))
        reason = f" (it leaves torch by {left}: math.sin or float() of a tensor has no derivative)" if left else ""
        return (
            f"{self.name}: {self.role} cannot be differentiated automatically: the derivative is not that of its "
            f"values: {found}{reason}. detach(), .data, torch.tensor(…), math.… and rounding do that: use torch's "
            "functions, or give jacobian="
        )


class _Written(Map):
    """A map that computes by its program."""

    _program: Program

    def step(self, state: Tensor, input: Tensor | None) -> Tensor:
        """Return the next states (B, N)."""
        return torch.as_tensor(self._program.step(*_as_arrays(state, input)))

    def push(self, state: Tensor, input: Tensor | None, tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next states (B, N) and tangent vectors (B, k, N)."""
        next_state, pushed = self._program.push(*_as_arrays(state, input), tangent.numpy())
        return torch.as_tensor(next_state), torch.as_tensor(pushed)

    def pushed(self, state: Tensor, input: Tensor | None, tangent: Tensor) -> Tensor:
        """Return the tangent vectors times the Jacobian."""
        return self.push(state, input, tangent)[1]


def _as_arrays(state: Tensor, input: Tensor | None) -> tuple[np.ndarray, np.ndarray | None]:
    return state.numpy(), None if input is None else input.numpy()


def _name_of(function: Callable[..., Any]) -> str:
    if isinstance(function, nn.Module):
        return type(function).__name__
    return getattr(function, "__name__", "map").strip("<>")
