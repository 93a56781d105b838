"""Maps and flows from functions of single variables, with starts near their attractors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lyapkit.systems.flow import Flow
from lyapkit.systems.map import Map

Draw = Callable[[int, torch.Generator], Tensor]
Row = Sequence[Tensor | float]


def built_map(
    step: Callable[..., Row], jacobian: Callable[..., Sequence[Row]], draw: Draw, name: str, n_settling: int = 0
) -> Map:
    """Return a map of functions of the state variables, whose start states have moved on from drawn ones."""

    def initial_state(n_trajectories: int, generator: torch.Generator) -> Tensor:
        return settled(of_states, draw(n_trajectories, generator), n_settling)

    of_states = of_variables(step)
    size = draw(1, torch.Generator().manual_seed(0)).shape[1]
    return Map(of_states, size, matrix_of(jacobian), batched=True, initial_state=initial_state, name=name).trusted()


def built_flow(
    field: Callable[..., Row],
    jacobian: Callable[..., Sequence[Row]],
    draw: Draw,
    name: str,
    time_step: float | None,
    settling: tuple[int, float] = (0, 1.0),
) -> Flow:
    """Return a flow of functions of the state variables, whose start states have moved on from drawn ones.

    `settling` says by how many steps, and of what length.
    """
    size = draw(1, torch.Generator().manual_seed(0)).shape[1]
    return settled_flow(of_variables(field), size, matrix_of(jacobian), draw, name, time_step, settling)


def settled_flow(
    field: Callable[[Tensor], Tensor],
    size: int,
    jacobian: Callable[[Tensor], Tensor],
    draw: Draw,
    name: str,
    time_step: float | None,
    settling: tuple[int, float],
) -> Flow:
    """Return a flow of functions of states (B, N), whose start states have moved on from drawn ones."""
    n_steps, length = settling
    settling_flow = Flow(field, size, length, batched=True).trusted()

    def initial_state(n_trajectories: int, generator: torch.Generator) -> Tensor:
        return settled(lambda state: settling_flow.step(state, None), draw(n_trajectories, generator), n_steps)

    flow = Flow(field, size, time_step, jacobian, batched=True, initial_state=initial_state, name=name)
    return flow.trusted()


def of_variables(function: Callable[..., Row]) -> Callable[[Tensor], Tensor]:
    """Return a function of states (B, N) from one of N variables (B,) that returns N of them, or numbers."""

    def of_states(state: Tensor) -> Tensor:
        return _stacked(function(*state.unbind(-1)), state[..., 0])

    return of_states


def matrix_of(entries: Callable[..., Sequence[Row]]) -> Callable[[Tensor], Tensor]:
    """Return a function of states (B, N) to matrices (B, N, N) from one of N variables to rows of entries."""

    def of_states(state: Tensor) -> Tensor:
        rows = entries(*state.unbind(-1))
        return torch.stack([_stacked(row, state[..., 0]) for row in rows], dim=-2)

    return of_states


def _stacked(values: Row, like: Tensor) -> Tensor:
    return torch.stack(
        [value if isinstance(value, Tensor) else torch.full_like(like, value) for value in values], dim=-1
    )


def uniform(low: Sequence[float], high: Sequence[float]) -> Draw:
    """Return a function that draws start states uniformly from a box."""
    low, high = (torch.tensor(bound, dtype=torch.float64) for bound in (low, high))

    def draw(n_trajectories: int, generator: torch.Generator) -> Tensor:
        return low + (high - low) * torch.rand(n_trajectories, len(low), generator=generator, dtype=torch.float64)

    return draw


def settled(step: Callable[[Tensor], Tensor], state: Tensor, n_steps: int) -> Tensor:
    """Return where `state` is after `n_steps` steps: on the attractor, if there is one."""
    for _ in range(n_steps):
        state = step(state)
    return state
