"""The interface that everything measurable implements: a state size, a step, and the step with its tangent map."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from lyapkit.notebook import as_html

Stage = Callable[[Tensor | None, Tensor], Tensor]
Input: TypeAlias = Any  # a tensor (B, I), or None for a system that nothing drives: each system takes one of them


def push_forward(function: Callable[[Tensor], Tensor], point: Tensor, tangent: Tensor) -> Tensor:
    """Return tangent vectors (B, k, N) pushed through a function (B, N) -> (B, M), by forward-mode differentiation."""

    def derivative(direction: Tensor) -> Tensor:
        return torch.func.jvp(function, (point,), (direction,))[1]

    if tangent.shape[1] > tangent.shape[2]:  # fewer columns of the Jacobian than directions
        size = tangent.shape[2]
        basis = torch.eye(size, dtype=point.dtype, device=point.device).expand(len(point), size, size)
        return tangent @ torch.vmap(derivative, in_dims=1)(basis).transpose(0, 1)
    return torch.vmap(derivative, in_dims=1)(tangent).transpose(0, 1)


def push_through_stages(
    stages: tuple[Tensor, list[Stage]], tangent: Tensor, renew: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the next state and tangent vectors pushed through a step's factors, renewed between them."""
    next_state, factors = stages
    for index, factor in enumerate(factors):
        tangent = factor(None, tangent if index == 0 else renew(tangent))
    return next_state, tangent


class System(ABC):
    """A discrete-time dynamical system h_t = F(h_{t-1}, x_t), together with its tangent map.

    A subclass sets `state_size` and implements `step`; `push` defaults to forward-mode automatic differentiation of
    `step`, and a subclass that knows its own structure does better. The rest has defaults. Shapes: state (B, N),
    input (B, I), tangent (B, k, N), for B trajectories, N state variables, I input features and k perturbations.
    A perturbation is a row, like the state: pushing it forward with the Jacobian J is ``tangent @ J.mT``.

    Attributes
    ----------
    state_size : int
        N, the number of state variables.
    input_size : int or None
        I, the number of input features; None for an autonomous system, whose `input` is always None.
    n_tokens : int or None
        V, if the one input feature is a token, a whole number from 0 to V − 1; None for inputs that are numbers.
    time_step : float
        Time that one step takes. Exponents are divided by it: 1 for maps (nats per step), the integration step
        for flows (nats per unit of time).
    time_unit : str
        What `time_step` is counted in: "step" for maps.
    treats_trajectories_alike : bool
        Whether a trajectory's place in the batch makes no difference, so that some of them may be computed alone. False
        until a subclass says so: then all of them are always computed, which is safe and can be slower.
    n_clocks : int
        How many of the last state variables are times, which no other variable changes.
    maps_to_zero : bool
        Whether the tangent map may be singular. If it never is, a perturbation that becomes zero did so by underflow.

    Examples
    --------
    >>> import lyapkit as lk
    >>> henon = lk.classical.henon()
    >>> isinstance(henon, lk.System), henon.state_size, henon.input_size
    (True, 2, None)
    """

    state_size: int
    input_size: int | None = None
    n_tokens: int | None = None
    time_step: float = 1.0
    time_unit: str = "step"
    n_clocks: int = 0
    if TYPE_CHECKING:  # an attribute or a property

        @property
        def treats_trajectories_alike(self) -> bool:
            """Whether some trajectories may be computed alone."""

        @property
        def maps_to_zero(self) -> bool:
            """Whether the tangent map may be singular."""

    else:
        treats_trajectories_alike = False
        maps_to_zero = True

    @abstractmethod
    def step(self, state: Tensor, input: Input) -> Tensor:
        """Return the next state, shape (B, N)."""

    def push(self, state: Tensor, input: Input, tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next state (B, N) and the tangent vectors carried along with it (B, k, N).

        No argument may be changed in place. The default is `step` and `forward_mode`.
        """
        return self.step(state, input), self.forward_mode(state, input, tangent)

    def push_along(self, state: Tensor, inputs: Input, tangent: Tensor, n_steps: int) -> tuple[Tensor, Tensor]:
        """Return state (B, N) and tangent vectors (B, k, N) after `n_steps` steps along inputs (B, n_steps, I).

        The default is `push`, step by step; a system that can prepare several steps at once does better.
        """
        for time in range(n_steps):
            state, tangent = self.push(state, None if inputs is None else inputs[:, time], tangent)
        return state, tangent

    def push_in_stages(
        self, state: Tensor, input: Input, tangent: Tensor, renew: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return what `push` returns, for a step that contracts some directions far below rounding.

        Where the Jacobian is a product of factors, of which some are well conditioned and others scale single
        variables by tens of orders of magnitude, tiny growths survive if the tangent vectors are made well conditioned
        again between the factors: a subclass calls ``tangent = renew(tangent)`` there. `renew` may be called any number
        of times, and takes and gives tangent vectors (B, k, N). The default has one factor.
        """
        return self.push(state, input, tangent)

    def output(self, state: Tensor) -> Tensor:
        """Return what a state (B, N) gives to a system that it drives, or a perturbation (B, k, N) of it, perturbed.

        A linear function: a choice of state variables. The default is all of them.
        """
        return state

    def push_driven(
        self, state: Tensor, input: Tensor, tangent: Tensor, input_tangent: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return what `push` returns where the input (B, I) is perturbed, too, by `input_tangent` (B, k, I), or None.

        The default adds the derivative by the input, had by forward-mode automatic differentiation of `step`.
        """
        next_state, pushed = self.push(state, input, tangent)
        if input_tangent is None:
            return next_state, pushed
        return next_state, pushed + push_forward(lambda x: self.step(state, x), input, input_tangent)

    def stages(self, state: Tensor, input: Input) -> tuple[Tensor, list[Stage]]:
        """Return the next state and the factors of the tangent map between which `push_in_stages` may renew.

        A factor takes the input's tangent (None if the input is data) and the tangent vectors, and returns the latter;
        only the first one looks at the input's. The default is one factor.
        """

        def stage(input_tangent: Tensor | None, tangent: Tensor) -> Tensor:
            return self.push_driven(state, input, tangent, input_tangent)[1]

        return self.step(state, input), [stage]

    def prepared(self, state: Tensor, inputs: Input) -> System:
        """Return the system that a run from `state` (B, N), driven by `inputs` (B, T, I), should use.

        Called once before every run, with what the run will use. What can only be known there (a step that has to be
        chosen, a user's function that has to be checked) belongs here. The default is the system itself.
        """
        return self

    def findings(self) -> list[str]:
        """Return what a run showed that its user must know, one sentence each; they become warnings. Default: none."""
        return []

    def split_into_real_parts(self) -> System:
        """Return this system for complex states, as one of 2N real variables: all real parts, then all imaginary.

        Raises
        ------
        ValueError
            If the system cannot have complex states.
        """
        raise ValueError(f"{self} has real states, got a complex initial state")

    def forward_mode(self, state: Tensor, input: Input, tangent: Tensor) -> Tensor:
        """Return the tangent vectors (B, k, N) pushed by forward-mode automatic differentiation of `step`."""
        return push_forward(lambda point: self.step(point, input), state, tangent)

    def initial_state(self, n_trajectories: int, generator: torch.Generator) -> Tensor:
        """Return start states (n_trajectories, N), float64 on the CPU, drawn with `generator` where they are random.

        Raises
        ------
        ValueError
            If the system knows no start of its own.
        """
        raise ValueError(
            f"{self} knows no initial state of its own: give initial_state=, one state or one per trajectory"
        )

    def converted(self, dtype: torch.dtype, device: torch.device) -> System:
        """Return this system computing in `dtype` on `device`; the original is not changed."""
        return self

    @property
    def device(self) -> torch.device:
        """Where the system's own tensors are."""
        return torch.device("cpu")

    @property
    def description(self) -> dict[str, str]:
        """What a result file should say about this system: attribute name to text."""
        return {"system": str(self)}

    def __str__(self) -> str:
        return f"{type(self).__name__}(state_size={self.state_size})"

    def __repr__(self) -> str:
        return str(self)

    @property
    def facts(self) -> dict[str, object]:
        """What a notebook shows of this system: name of a fact to fact."""
        features = "1 feature" if self.input_size == 1 else f"{self.input_size} features"
        inputs = features if self.n_tokens is None else f"a token of {self.n_tokens}"
        step = "chosen before a run" if self.time_step is None else f"{self.time_step:g}"
        told = {name: text for name, text in self.description.items() if name != "system"}
        return {
            "state variables": self.state_size,
            "input": "none" if self.input_size is None else inputs,
            "time step": "1" if self.time_unit == "step" else step,
            **told,
        }

    def _repr_html_(self) -> str:
        return as_html(str(self), self.facts)
