"""`covariant_directions`: the directions that a system's tangent map takes into each other, with their growth.

Rows are perturbations. A step takes an orthonormal frame Q_t to Q_t J_tᵀ = L_t Q_{t+1}, with L_t lower triangular; a
perturbation with coordinates c_t in the frame becomes one with coordinates c_t L_t. So lower triangular C_t with

    C_t L_t = Γ_t C_{t+1},   Γ_t diagonal,

are the coordinates of covariant vectors, C_t Q_t, that grow by Γ_t. Forwards in time every direction turns into the
first of them; backwards, C_t ∝ C_{t+1} L_t⁻¹, a triangular solve each step, every row turns into its own (Ginelli et
al. 2007; Kuptsov & Parlitz 2012). A triangular solve is exact for an L_t that differs by rounding entry by entry,
however graded L_t is. So what is computed is covariant to rounding times ‖J_t‖.

Whatever one begins with, the result is covariant; it is only not yet the right one. So both ways begin twice, with
random frames and random coordinates, and what the two still differ by tells how far they converged.

Only the frames of one segment of the run are held at once; those before it are computed again on the way back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lyapkit.systems.system import System
from lyapkit.tangent.covariant_backward import Backward
from lyapkit.tangent.covariant_forward import Forward, random_frame


@dataclass
class CovariantDirections:
    """The covariant vectors of B trajectories at n times, those of k exponents.

    Attributes
    ----------
    vector : Tensor
        (B, n, k, N), of length 1.
    log_growth : Tensor
        (B, n, k): in the step that begins there, in nats; −inf for directions that it maps to zero.
    is_bound : Tensor
        (B, n, k) bool: steps that contract a direction below rounding; its growth is not larger than `log_growth`.
    covariance_residual : Tensor
        (B, k): the largest ‖J v_t − (J v_t · v_{t+1}) v_{t+1}‖ of all times, relative to the largest ‖J v_t‖ of
        all directions at that time.
    forward_residual, backward_residual : Tensor
        (B, k): sines of angles, at the first time between the spaces that the vectors up to this one span in frames of
        two random starts, and at the last between vectors of two random starts.
    diverged : dict
        Trajectory to the step, counted from the start, that first gave a non-finite value.
    overflowed : set
        Those of them whose state stayed finite.
    """

    vector: Tensor
    log_growth: Tensor
    is_bound: Tensor
    covariance_residual: Tensor
    forward_residual: Tensor
    backward_residual: Tensor
    diverged: dict[int, int]
    overflowed: set[int]


@torch.no_grad()
def covariant_directions(
    system: System,
    state: Tensor,
    inputs: Tensor | None,
    *,
    n_steps: int,
    n_transient: int,
    n_backward_transient: int,
    n_exponents: int,
    segment: int,
    generator: torch.Generator,
    advance: Callable[[], object] = lambda: None,
) -> CovariantDirections:
    """Return the covariant vectors of the `n_steps` steps after a transient and before a backward transient.

    Parameters
    ----------
    system : System
        Computing in the dtype and on the device of `state`.
    state : Tensor
        (B, N): where to start.
    inputs : Tensor, optional
        (B, T, I), T at least the sum of the three numbers of steps.
    n_steps, n_transient, n_backward_transient : int
        Steps whose vectors are returned, those before them, and those after them.
    n_exponents : int
        k.
    segment : int
        How many steps' frames are held at once.
    generator : torch.Generator
        Of frames and coordinates to start with.
    advance : callable
        Called after every step forwards.
    """
    forward = Forward(system, inputs, advance)
    frame, other = (random_frame(state, n_exponents, generator) for _ in range(2))
    state, frame, other = forward.transient(state, frame, other, n_transient)
    forward_residual = residual_of_flags(frame, other)
    first, end = n_transient, n_transient + n_steps
    last = end + n_backward_transient
    starts = {}
    for start in range(first, last, segment):
        starts[start] = state, frame
        steps = forward.steps(state, frame, start, min(start + segment, last))
        state, frame = forward.state, forward.frame
    backward = Backward(state, frame, n_exponents, n_steps, generator)
    for start in sorted(starts, reverse=True):
        stop = min(start + segment, last)
        steps = steps if stop == last else forward.steps(*starts[start], start, stop)
        for time in range(stop - 1, start - 1, -1):
            step = steps.pop()
            if time == end - 1:
                backward.arrive(step.next_frame)
            backward.go(step)
            if time < end:
                vector = backward.vectors(step.frame)
                backward.store(time - first, step, vector, system.push(step.state, forward.input(time), vector)[1])
    return CovariantDirections(
        backward.vector,
        backward.log_growth,
        backward.is_bound,
        backward.covariance_residual,
        forward_residual,
        backward.difference,
        forward.diverged,
        forward.overflowed,
    )


def residual_of_flags(frame: Tensor, other: Tensor) -> Tensor:
    """Return sines (B, k) of the angles between what the first i rows of two frames (B, k, N) span, i = 1 … k.

    They are not less than the largest principal angle's, and at most √i times that.
    """
    product = frame @ other.mT
    outside = torch.linalg.vector_norm(frame - product @ other, dim=2).square()
    beyond = product.square().flip(2).cumsum(2).flip(2)  # of row m, in the other's rows from j on
    beyond = torch.cat([beyond[:, :, 1:], torch.zeros_like(beyond[:, :, :1])], dim=2)
    both = (beyond + outside[:, :, None]).cumsum(1).diagonal(dim1=1, dim2=2)
    return both.sqrt()
