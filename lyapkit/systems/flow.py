"""`Flow`: a system from an ordinary differential equation, by fixed-step Runge–Kutta, tangent included."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lyapkit.systems.map import Map
from lyapkit.systems.system import System


class Flow(System):
    """The map that the classical fourth-order Runge–Kutta step makes of dh/dt = vector_field(h) or vector_field(h, x).

    The tangent is the exact derivative of the Runge–Kutta step: state and perturbations go through the same four
    stages. Inputs are held constant during a step. Exponents come out per unit of time.

    Parameters
    ----------
    vector_field : callable
        Right-hand side, with the conventions of `Map`: (N,) -> (N,), or (B, N) -> (B, N) with ``batched=True``.
    state_size : int
        N.
    time_step : float
        Length of an integration step, in the equation's unit of time.
    jacobian : callable, optional
        Derivative of `vector_field`, (N, N) or (B, N, N). Default: forward-mode automatic differentiation.
    input_size, batched, initial_state, name
        As in `Map`.

    Raises
    ------
    ValueError
        If `time_step` is not positive, and at use as `Map` does.
    """

    time_unit = "unit of time"

    def __init__(
        self,
        vector_field: Callable,
        state_size: int,
        time_step: float,
        jacobian: Callable | None = None,
        *,
        input_size: int | None = None,
        batched: bool = False,
        initial_state: np.ndarray | Tensor | Callable | None = None,
        name: str | None = None,
    ) -> None:
        if not time_step > 0:
            raise ValueError(f"time_step must be positive, got {time_step}")
        self._field = Map(
            vector_field,
            state_size,
            jacobian,
            input_size=input_size,
            batched=batched,
            initial_state=initial_state,
            name=name,
        )
        self.state_size = state_size
        self.input_size = input_size
        self.time_step = time_step

    def step(self, state: Tensor, input: Tensor | None) -> Tensor:
        """Return the state one time step later."""
        h = self.time_step
        k1 = self._field.step(state, input)
        k2 = self._field.step(state + h / 2 * k1, input)
        k3 = self._field.step(state + h / 2 * k2, input)
        k4 = self._field.step(state + h * k3, input)
        return state + h / 6 * (k1 + 2 * (k2 + k3) + k4)

    def push(self, state: Tensor, input: Tensor | None, tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the state one time step later and the tangent vectors carried through the same four stages."""
        h = self.time_step
        k1, d1 = self._field.push(state, input, tangent)
        k2, d2 = self._field.push(state + h / 2 * k1, input, tangent + h / 2 * d1)
        k3, d3 = self._field.push(state + h / 2 * k2, input, tangent + h / 2 * d2)
        k4, d4 = self._field.push(state + h * k3, input, tangent + h * d3)
        return state + h / 6 * (k1 + 2 * (k2 + k3) + k4), tangent + h / 6 * (d1 + 2 * (d2 + d3) + d4)

    def initial_state(self, n_trajectories: int, generator: torch.Generator) -> Tensor:
        """Return the start states given at construction."""
        return self._field.initial_state(n_trajectories, generator)

    def __str__(self) -> str:
        return f"{self._field}, Runge–Kutta 4 with time step {self.time_step:g}"
