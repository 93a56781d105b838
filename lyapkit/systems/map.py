"""`Map`: a system from a user's function, in torch or NumPy, for one state or for a batch of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lyapkit.systems.system import System


class Map(System):
    """The system h_t = step(h_{t-1}) or, with `input_size`, h_t = step(h_{t-1}, x_t).

    Without a Jacobian, tangent vectors are pushed by forward-mode automatic differentiation, which needs a `step`
    made of torch operations. A NumPy `step` needs `jacobian`.

    Parameters
    ----------
    step : callable
        From a state (N,) to the next state (N,); with ``batched=True`` from (B, N) to (B, N). NumPy or torch.
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
        At use, if a function fails or returns the wrong shape, or if a NumPy `step` comes without a Jacobian.
    """

    def __init__(
        self,
        step: Callable,
        state_size: int,
        jacobian: Callable | None = None,
        *,
        input_size: int | None = None,
        batched: bool = False,
        initial_state: np.ndarray | Tensor | Callable | None = None,
        name: str | None = None,
    ) -> None:
        if state_size < 1:
            raise ValueError(f"state_size must be at least 1, got {state_size}")
        self.state_size = state_size
        self.input_size = input_size
        self.name = name or getattr(step, "__name__", "map").strip("<>")
        self._step = _UserFunction(step, "step", (state_size,), batched)
        self._jacobian = jacobian and _UserFunction(jacobian, "jacobian", (state_size, state_size), batched)
        self._initial_state = initial_state

    def step(self, state: Tensor, input: Tensor | None) -> Tensor:
        """Return step(state, input) for every trajectory."""
        return self._step(state, input)

    def push(self, state: Tensor, input: Tensor | None, tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next state and the tangent vectors times the Jacobian, given or by automatic differentiation."""
        if self._jacobian is not None:
            return self._step(state, input), tangent @ self._jacobian(state, input).mT
        next_state = self._step(state, input)
        advice = "give jacobian=, or write step with torch (torch.stack instead of np.array or torch.tensor)"
        if not self._step.is_torch:
            raise ValueError(
                f"{self.name}: step is not made of torch operations and cannot be differentiated: {advice}"
            )
        try:
            return next_state, self.forward_mode(state, input, tangent)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{self.name}: step cannot be differentiated automatically: {advice}: {error}") from error

    def initial_state(self, n_trajectories: int, generator: torch.Generator) -> Tensor:
        """Return the start states given at construction."""
        if self._initial_state is None:
            return super().initial_state(n_trajectories, generator)
        if callable(self._initial_state):
            return self._initial_state(n_trajectories, generator)
        start = torch.as_tensor(self._initial_state, dtype=torch.float64)
        return start.expand(n_trajectories, self.state_size).clone()

    def __str__(self) -> str:
        return self.name


class _UserFunction:
    """A user's function of (state, input), callable on a batch of torch tensors whatever it is written in.

    Whether it is made of torch operations is found out at the first call: a torch function can be differentiated
    and vectorised; anything else is called with NumPy arrays, one trajectory at a time unless it takes batches.
    """

    def __init__(self, function: Callable, role: str, shape: tuple[int, ...], batched: bool) -> None:
        self.function = function
        self.role = role
        self.shape = shape
        self.batched = batched
        self.is_torch: bool | None = None

    def __call__(self, state: Tensor, input: Tensor | None) -> Tensor:
        arguments = (state,) if input is None else (state, input)
        if self.is_torch is None:
            self.is_torch = self._works_in_torch(arguments)
        try:
            value = self._call_torch(*arguments) if self.is_torch else self._call_numpy(*arguments)
        except (TypeError, ValueError, RuntimeError, IndexError, AttributeError, ArithmeticError) as error:
            shapes = " and ".join(str(tuple(a.shape if self.batched else a.shape[1:])) for a in arguments)
            raise ValueError(f"{self.role} failed on arguments of shape {shapes}: {error}") from error
        expected = (len(state), *self.shape)
        if tuple(value.shape) != expected:
            got, expected = (s if self.batched else s[1:] for s in (tuple(value.shape), expected))
            raise ValueError(
                f"{self.role} returned shape {got}, expected {expected} "
                f"(state_size={self.shape[0]}, batched={self.batched})"
            )
        return value

    def _call_torch(self, *arguments: Tensor) -> Tensor:
        value = self.function(*arguments) if self.batched else torch.vmap(self.function)(*arguments)
        return value.to(arguments[0].dtype)

    def _call_numpy(self, *arguments: Tensor) -> Tensor:
        arrays = [argument.detach().cpu().numpy() for argument in arguments]
        with np.errstate(all="ignore"):  # a state that diverges is found, and named, by its values
            value = (
                self.function(*arrays) if self.batched else [self.function(*rows) for rows in zip(*arrays, strict=True)]
            )
        return torch.as_tensor(np.asarray(value, dtype=arrays[0].dtype), device=arguments[0].device)

    def _works_in_torch(self, arguments: tuple[Tensor, ...]) -> bool:
        """Whether the function returns a tensor for tensors.

        Tried first inside vmap, where NumPy cannot look into them; for functions of a batch, that may do things to
        it that vmap does not allow, outside as well.
        """
        function = self.function if self.batched else torch.vmap(self.function)
        for attempt in (
            lambda: torch.vmap(function)(*(argument[None] for argument in arguments)),
            lambda: self.function(*arguments) if self.batched else None,
        ):
            try:
                if isinstance(attempt(), Tensor):
                    return True
            except Exception:  # whatever the user's function raised: the call proper repeats it
                continue
        return False
