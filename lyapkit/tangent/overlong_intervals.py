"""`end_of_overlong_interval`: fixed intervals that were too long, of which only the fastest growths can be known."""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from lyapkit.tangent.bundle import Bundle
from lyapkit.tangent.casualties import Casualties
from lyapkit.tangent.course import Course
from lyapkit.tangent.renewal import Renewal
from lyapkit.tangent.single_steps import Step

UNRESOLVED = 1e3  # machine epsilons of the longest row, below which a growth is not resolved


def end_of_overlong_interval(course: Course, casualties: Casualties, bundle: Bundle, length: int) -> Step:
    """Return what became of a bundle after `length` steps that one factorisation does not resolve.

    Directions that are hidden by rounding are not known; trajectories that diverge are noted with their step.
    """
    state, frame = bundle.state, bundle.frame
    is_finite = torch.ones(len(bundle), dtype=torch.bool, device=state.device)
    for time in range(bundle.time, bundle.time + length):
        state, frame = course.advance(replace(bundle, state=state, frame=frame, time=time), 1)
        stays = is_finite & state.isfinite().all(1) & frame.isfinite().flatten(1).all(1)
        casualties.diverge(bundle, is_finite & ~stays, time, state)
        is_finite = stays
    rows = Renewal(bundle.frame, bundle.is_alive)
    pushed = torch.where(is_finite[:, None, None], frame, bundle.frame)
    frame = rows.end(pushed, closes=True)
    was_alive = bundle.is_alive.gather(1, rows.order)
    longest = torch.linalg.vector_norm(pushed, dim=-1).amax(1).log().double()
    rounding = math.log(UNRESOLVED * torch.finfo(frame.dtype).eps)  # of all pushes, not of the last one alone
    is_hidden = rows.log_growth < longest[:, None] + rounding
    rows.error = rows.error.masked_fill(was_alive & (rows.is_lost | is_hidden | ~rows.is_alive), torch.inf)
    rows.is_lost = torch.zeros_like(rows.is_lost)
    return Step(state, frame, is_finite, rows)
