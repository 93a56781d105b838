"""`check_system`: what every system must satisfy, to be run on your own `System` in your own tests."""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.systems import System
from lyapkit.systems.system import Input

_CPU = torch.device("cpu")


@torch.no_grad()
def check_system(system: System, *, n_trajectories: int = 3, n_tangents: int = 4, seed: int = 0) -> None:
    """Check that a system keeps its promises at a few random states near its own trajectories.

    `push` must agree with `step`, and its tangent with a finite difference of `step`; `push_along` must agree with
    repeated `push`, for one perturbation and for as many as there are state variables; a batch must give what its
    trajectories give one by one; float32 must be close to float64; non-contiguous arguments must be accepted and no
    argument changed; and `converted` must leave the original alone.

    Parameters
    ----------
    system : System
        With an initial state of its own.
    n_trajectories, n_tangents : int
        Size of the batch and number of perturbations.
    seed : int
        Seeds states, inputs and perturbations.

    Raises
    ------
    AssertionError
        Naming the promise that is broken.
    """
    generator = torch.Generator().manual_seed(seed)
    exact = system.converted(torch.float64, _CPU)
    state = exact.initial_state(n_trajectories, generator)
    if exact.time_step is None:
        exact = system = exact.prepared(state, None)
    _expect(state.shape == (n_trajectories, system.state_size), f"initial_state has shape {tuple(state.shape)}")
    for _ in range(3):  # away from special points such as 0
        state = exact.step(state, _random_input(system, n_trajectories, generator))
    input = _random_input(system, n_trajectories, generator)
    tangent = torch.randn(n_trajectories, n_tangents, system.state_size, generator=generator, dtype=torch.float64)
    before = [argument.clone() for argument in (state, tangent)]

    next_state, pushed = exact.push(state, input, tangent)
    for argument, copy in zip((state, tangent), before, strict=True):
        _expect(torch.equal(argument, copy), "push changes its arguments")
    _expect(next_state.shape == state.shape, f"push returns a state of shape {tuple(next_state.shape)}")
    _expect(pushed.shape == tangent.shape, f"push returns tangents of shape {tuple(pushed.shape)}")
    _expect(next_state.dtype == pushed.dtype == torch.float64, "float64 arguments give another dtype")
    _expect_close(next_state, exact.step(state, input), 1e-13, "push and step give different states")

    h = 1e-6
    for index in range(n_tangents):
        ahead = exact.step(state + h * tangent[:, index], input)
        behind = exact.step(state - h * tangent[:, index], input)
        message = "push is not the derivative of step (finite difference)"
        _expect_close(pushed[:, index], (ahead - behind) / (2 * h), 1e-7, message)

    _check_push_along(exact, state, generator)
    _check_prepared(exact, state, input, tangent, (next_state, pushed))

    for row in range(n_trajectories):
        one = slice(row, row + 1)
        alone = exact.push(state[one], None if input is None else input[one], tangent[one])
        _expect_close(alone[0], next_state[one], 1e-12, "a batch gives other states than its trajectories one by one")
        _expect_close(alone[1], pushed[one], 1e-12, "a batch gives other tangents than its trajectories one by one")

    strided = exact.push(_non_contiguous(state), _non_contiguous(input), _non_contiguous(tangent))
    _expect_close(strided[0], next_state, 1e-12, "non-contiguous arguments give other states")
    _expect_close(strided[1], pushed, 1e-12, "non-contiguous arguments give other tangents")

    rough = system.converted(torch.float32, _CPU)
    single = rough.push(state.float(), None if input is None else input.float(), tangent.float())
    _expect(single[0].dtype == single[1].dtype == torch.float32, "float32 arguments give another dtype")
    _expect_close(single[0].double(), next_state, 1e-4, "float32 states are far from float64")
    _expect_close(single[1].double(), pushed, 1e-3, "float32 tangents are far from float64")
    again = exact.push(state, input, tangent)
    _expect(torch.equal(again[1], pushed), "converted changes the original")


def _check_push_along(system: System, state: Tensor, generator: torch.Generator) -> None:
    n_steps = 3
    inputs = [_random_input(system, len(state), generator) for _ in range(n_steps)]
    for n_tangents in (1, system.state_size):
        tangent = torch.randn(len(state), n_tangents, system.state_size, generator=generator, dtype=torch.float64)
        expected = state, tangent
        for input in inputs:
            expected = system.push(expected[0], input, expected[1])
        joined = None if system.input_size is None else torch.stack(inputs, dim=1)
        got = system.push_along(state, joined, tangent, n_steps)
        _expect_close(got[0], expected[0], 1e-12, "push_along and repeated push give different states")
        _expect_close(got[1], expected[1], 1e-12, "push_along and repeated push give different tangents")


def _check_prepared(
    system: System, state: Tensor, input: Tensor | None, tangent: Tensor, expected: tuple[Tensor, Tensor]
) -> None:
    run = system.prepared(state, None if input is None else input[:, None])
    _expect(run.state_size == system.state_size, "prepared returns a system of another size")
    got = run.push(state, input, tangent)
    _expect_close(got[0], expected[0], 1e-12, "what prepared returns gives other states")
    _expect_close(got[1], expected[1], 1e-12, "what prepared returns gives other tangents")
    findings = run.findings()
    _expect(isinstance(findings, list), f"findings returns a {type(findings).__name__}, not a list of sentences")
    _expect(not findings, f"there are findings after one step: {findings}")


def _random_input(system: System, n_trajectories: int, generator: torch.Generator) -> Input:
    if system.input_size is None:
        return None
    if system.n_tokens is not None:
        return torch.randint(system.n_tokens, (n_trajectories, 1), generator=generator).double()
    return torch.randn(n_trajectories, system.input_size, generator=generator, dtype=torch.float64)


def _non_contiguous(values: Input) -> Input:
    """Return the same values with gaps between them in memory."""
    return None if values is None else torch.stack([values, values], dim=-1)[..., 0]


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _expect_close(actual: Tensor, expected: Tensor, tolerance: float, message: str) -> None:
    """Compare relative to the largest entry of what is expected, or to 1 if that is larger."""
    difference = float((actual - expected).abs().max() / expected.abs().max().clamp(min=1.0))
    _expect(difference <= tolerance, f"{message}: relative difference {difference:.2e}")
