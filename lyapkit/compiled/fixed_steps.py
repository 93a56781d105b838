"""Steps of a map, and the classical Runge–Kutta method's, in a compiled loop.

Written for `translation`.
"""

from __future__ import annotations

from lyapkit.compiled.translation import Doubles, Push

MAP, RUNGE_KUTTA, ADAPTIVE = 0, 1, 2


def move(target: Doubles, origin: Doubles, time: float, slope: Doubles, count: int) -> None:
    """Go from an origin along a slope."""
    for i in range(count):
        target[i] = origin[i] + time * slope[i]


def average(target: Doubles, origin: Doubles, h: float, slopes: Doubles, count: int) -> None:
    """Go a Runge–Kutta step along its four slopes."""
    for i in range(count):
        inner = slopes[count + i] + slopes[2 * count + i]
        target[i] = origin[i] + h / 6 * (slopes[i] + 2 * inner + slopes[3 * count + i])


def runge_kutta(
    push: Push,
    h: float,
    n: int,
    size: int,
    state: Doubles,
    frame: Doubles,
    input: Doubles,
    parameters: Doubles,
    new_state: Doubles,
    new_frame: Doubles,
    stages: Doubles,
    slopes: Doubles,
) -> None:
    """Do a step of the classical fourth-order method; `slopes` keeps the frame's derivatives at the four stages."""
    push(state, input, parameters, frame, stages, slopes)
    for stage in range(1, 4):
        part = h if stage == 3 else h / 2
        move(new_state, state, part, stages[(stage - 1) * n :], n)
        move(new_frame, frame, part, slopes[(stage - 1) * size :], size)
        push(new_state, input, parameters, new_frame, stages[stage * n :], slopes[stage * size :])
    average(new_state, state, h, stages, n)
    average(new_frame, frame, h, slopes, size)


def step(
    push: Push,
    kind: int,
    h: float,
    n: int,
    k: int,
    state: Doubles,
    frame: Doubles,
    input: Doubles,
    parameters: Doubles,
    new_state: Doubles,
    new_frame: Doubles,
    room: Doubles,
    method: Doubles,
) -> None:
    """Do a step of a map, or one of fixed length of a flow; `adaptive_kernel` has another one."""
    if kind == MAP:
        push(state, input, parameters, frame, new_state, new_frame)
    else:
        runge_kutta(push, h, n, n * k, state, frame, input, parameters, new_state, new_frame, room, room[4 * n :])


STEPS = (move, average, runge_kutta, step)
