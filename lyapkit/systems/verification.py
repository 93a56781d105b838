"""What a user's functions are checked for on the states that a run starts from, before it starts.

That they are functions: the same values whenever, and in whatever order, they are called. And that the Jacobian is
that of the step, by differences in a few directions. Both are cheap, and at what they cannot see, a kink or a state
outside the function's domain, they hold back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lyapkit.systems.function_values import not_a_function, same_numbers
from lyapkit.systems.user_function import UserFunction

MOST_TRAJECTORIES = 4  # that are looked at
VISITED = (0, 1, 2, 5)  # steps after which a state is looked at
N_DIRECTIONS = 2
APART = 1e-6  # of a value, is what loops that end when all trajectories have converged may leave of the others
_LENGTHS = {torch.float64: (1e-6, 1e-4, 1e-8), torch.float32: (1e-2, 3e-2, 2e-3)}  # of differences, to the state's size
_TOLERANCE = {torch.float64: 1e-4, torch.float32: 2e-2}
_AWAY = {
    torch.float64: 1e-3,
    torch.float32: 0.1,
}  # from the states themselves, which may lie on kinks

Points = tuple[Tensor, Tensor | None]


def visited_states(step: Callable[..., Any], state: Tensor, inputs: Tensor | None) -> Points:
    """Return states (M, N), and their inputs, of the first few trajectories at the start and a few steps later."""
    state = state[:MOST_TRAJECTORIES]
    inputs = None if inputs is None else inputs[:MOST_TRAJECTORIES]
    last = VISITED[-1] if inputs is None else min(VISITED[-1], inputs.shape[1] - 1)
    states: list[Tensor] = []
    driving: list[Tensor] = []
    for time in range(last + 1):
        input = None if inputs is None else inputs[:, time]
        if time in VISITED:
            finite = state.isfinite().all(-1)
            states.append(state[finite])
            if input is not None:
                driving.append(input[finite])
        if time < last:
            state = step(state, input)
    return torch.cat(states), None if inputs is None else torch.cat(driving)


def check_repeatable(function: UserFunction, points: Points) -> None:
    """Check that a function returns the same at every state in whatever order and company it is called.

    Raises
    ------
    ValueError
        If it does not.
    """
    state, input = points
    if len(state) == 1:  # a hidden counter may have any period: company is needed to shift its phase
        state = state.expand(3, -1) * torch.tensor([[1.0], [1.0], [0.5]]).to(state)
        input = None if input is None else input.expand(3, -1)
    value = function(state, input)
    again = function(state, input)
    if not same_numbers(value, again):
        raise ValueError(not_a_function(function.role, value, again))
    if function.batched:  # whose rows may be told apart by their place
        _check_apart(function, points, value)
        return
    reversed_order = function(state.flip(0), None if input is None else input.flip(0)).flip(0)
    alone = torch.cat(
        [function(state[row : row + 1], None if input is None else input[row : row + 1]) for row in range(len(state))]
    )
    tolerance = 1e5 * torch.finfo(value.dtype).eps if function.is_torch else 0.0
    for other in (reversed_order, alone):
        if not _agree(other, value, tolerance):
            raise ValueError(
                not_a_function(function.role, value, other).replace(
                    "called twice with the same,",
                    "called with the same state in another order or company of trajectories,",
                )
            )


def _check_apart(function: UserFunction, points: Points, value: Tensor) -> None:
    """Check that the value of a row does not depend on what the other rows are."""
    state, input = points
    for row in (0, len(state) - 1):
        try:
            alike = function(state[row].expand_as(state).clone(), input)
        except ValueError:
            continue  # a function may know its rows
        if not _agree(alike[row], value[row], max(APART, 1e5 * torch.finfo(value.dtype).eps)):
            raise ValueError(
                f"{function.role} mixes trajectories: what it returns for the state of one, "
                f"{_numbers(value[row])}, becomes {_numbers(alike[row])} where the states of the others are another. "
                "With batched=True every row is a trajectory of its own: make what is coupled one state (N,), and use "
                "eval() on modules with batch normalisation"
            )


def _agree(one: Tensor, other: Tensor, tolerance: float) -> bool:
    """Return whether values are the same, but for `tolerance` times the largest of them."""
    if same_numbers(one, other):
        return True
    size = float(other.abs().nan_to_num(nan=0.0, posinf=0.0).amax())
    return torch.allclose(one, other, rtol=tolerance, atol=tolerance * size, equal_nan=True)


def _numbers(value: Tensor) -> str:
    entries = value.flatten().tolist()
    return "(" + ", ".join(f"{entry:.6g}" for entry in entries[:4]) + (", …)" if len(entries) > 4 else ")")


def check_jacobian(
    step: Callable[[Tensor, Tensor | None], Tensor],
    push: Callable[[Tensor, Tensor | None, Tensor], Tensor],
    points: Points,
    message: Callable[[str], str],
    rough: bool = False,
    away: float = 1.0,
    n_clocks: int = 0,
) -> None:
    """Check the derivative of a step against differences of the step, in random directions near given states.

    Parameters
    ----------
    step, push : callable
        (B, N) -> (B, M), and its tangent map, (B, k, N) -> (B, k, M).
    points : tuple
        States (B, N) and inputs (B, I) or None.
    message : callable
        From what was found to the whole message.
    rough : bool
        Whether the step's values have the digits of float32 only.
    away : float
        How far from the states themselves, which may lie on kinks: by 1 of a thousandth of their size, or 0.
    n_clocks : int
        How many of the last variables are left alone: a time, on whose derivative no exponent depends, and whose
        size says nothing about the differences to be made of it.

    Raises
    ------
    ValueError
        Where they clearly differ: at every length of the differences, from either side. Names the worst entry.
    """
    state, input = points
    batch, size = state.shape
    digits = torch.float32 if rough else state.dtype
    generator = torch.Generator().manual_seed(0)
    scale = state.abs().amax(0, keepdim=True)  # of every variable
    largest = scale.amax() if bool(scale.amax() > 0) else 1.0
    scale = torch.where(scale > 0, scale.clamp(min=1e-9 * float(largest)), largest)
    n_moved = size - n_clocks
    moved = (torch.arange(size) < n_moved).to(state)
    state = state + away * _AWAY[digits] * scale * moved * torch.randn(
        batch, size, generator=generator, dtype=torch.float64
    ).to(state)
    directions = torch.randn(N_DIRECTIONS, size, generator=generator, dtype=torch.float64) * moved.double().cpu()
    directions = scale * (directions / directions.norm(dim=-1, keepdim=True)).to(state)
    try:
        given = push(state, input, directions.expand(batch, -1, -1).contiguous())
        is_wrong = _disagreement(step, state, input, directions, given, digits, scale)
    except ValueError:
        return  # the states beside the visited ones are outside the function's domain
    if rough and float(is_wrong.any(-1).double().mean()) < 0.5:
        return  # coarse differences may reach across kinks
    rows = is_wrong.nonzero()
    if not len(rows):
        return
    row = int(rows[0, 0])
    one = state[row : row + 1]
    driven = None if input is None else input[row : row + 1]
    eye = torch.eye(size).to(state)
    lengths = _LENGTHS[digits][0] * scale
    columns = [
        (step(one + lengths * axis, driven) - step(one - lengths * axis, driven)) / (2 * lengths[0, column])
        for column, axis in enumerate(eye[:n_moved])
    ]
    expected = torch.cat(columns).mT
    if not bool(expected.any()) or torch.allclose(expected, torch.eye(*expected.shape).to(expected), atol=1e-6):
        return  # a mere clock beside Jacobians that are given: products of matrices
    jacobian = push(one, driven, eye[:n_moved].expand(1, -1, -1).contiguous())[0].mT
    error = (jacobian - expected).abs().nan_to_num(nan=0.0)
    worst = int((error * scale[:, :n_moved] / scale.mT).argmax())  # in units of the variables' sizes
    i, j = divmod(worst, n_moved)
    hint = ""
    if jacobian.shape[0] == n_moved and bool((jacobian.mT - expected).abs().amax() < 1e-2 * error.amax()):
        hint = "; its transpose would agree: row i, column j is the derivative of variable i by variable j"
    elif bool((jacobian + expected).abs().amax() < 1e-2 * error.amax()):
        hint = "; the opposite sign would agree"
    where = ", ".join(f"{value:.6g}" for value in one[0].tolist()[:6]) + (", …" if size > 6 else "")
    raise ValueError(
        message(
            f"at state [{where}] entry [{i}, {j}] is {float(jacobian[i, j]):.6g}, differences give "
            f"{float(expected[i, j]):.6g}{hint}"
        )
    )


def _disagreement(
    step: Callable[..., Any],
    state: Tensor,
    input: Tensor | None,
    directions: Tensor,
    given: Tensor,
    digits: torch.dtype,
    scale: Tensor,
) -> Tensor:
    """Return at which states, in which directions (B, k) no difference agrees with the derivative.

    `scale` (1, N) is the size of every variable, against which rounding and small entries are judged.
    """
    batch, n_directions = len(state), len(directions)
    centre = step(state, input)
    agrees = torch.zeros(batch, n_directions, dtype=torch.bool, device=state.device)
    tolerance, eps = _TOLERANCE[digits], torch.finfo(digits).eps
    for length in _LENGTHS[digits]:
        for index, direction in enumerate(directions):
            if bool(agrees[:, index].all()):
                continue
            ahead, behind = step(state + length * direction, input), step(state - length * direction, input)
            slope = given[:, index]
            noise = 100 * eps * (centre.abs() + scale) / length
            for difference in (
                (ahead - behind) / (2 * length),
                (ahead - centre) / length,
                (centre - behind) / length,
            ):
                size = slope.abs() + difference.abs()
                bound = tolerance * size + noise + 1e-7 * scale * (size / scale).amax(-1, keepdim=True)
                fits = (slope - difference).abs() <= bound
                agrees[:, index] |= (fits | ~difference.isfinite()).all(-1)
    return ~agrees
