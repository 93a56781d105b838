"""`plain_growth`: what one trajectory's perturbations grew, by one Householder QR per step and nothing clever.

And whether `push` is the derivative of `step`, by finite differences at the first few points.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.systems.system import System

N_POINTS = 3  # at which `push` is compared with finite differences
DIFFERENCES = (1e-5, 1e-7)  # relative to the state's size


class SelfCheckError(ArithmeticError):
    """The engine and a plain computation of the same growth disagree: nothing that the run gives can be believed."""


def plain_growth(
    system: System, state: Tensor, frame: Tensor, inputs: Tensor | None, n_steps: int, accuracy: float, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Return the log-growths (r,) of one trajectory's frame in `n_steps`, and how far others may be from them.

    Parameters
    ----------
    system : System
        Computing in float64.
    state, frame, inputs : Tensor
        (1, N), (1, r, N) and (1, T, I), T at least `n_steps`.
    accuracy, epsilon : float
        Of one factorisation in the run that is checked, and of its arithmetic.

    Raises
    ------
    SelfCheckError
        If `push` and finite differences of `step` disagree wherever they can be compared.
    """
    grown = torch.zeros_like(frame[0, :, 0])
    allowed = torch.full_like(grown, 100 * accuracy * (n_steps + 1))
    doubts = []
    for time in range(n_steps):
        input = None if inputs is None else inputs[:, time]
        if time < N_POINTS:
            doubts.append(_doubt(system, state, input, frame))
        state, pushed = system.push(state, input, frame)
        columns, upper = torch.linalg.qr(pushed[0].mT)
        diagonal = upper.diagonal().abs()
        grown = grown + diagonal.log()
        error = 100 * len(grown) * torch.finfo(torch.float64).eps * condition(pushed[0], upper)
        allowed = allowed + error.where(error < 1, torch.inf)  # directions that a plain QR does not resolve
        frame = columns.mT[None].contiguous()
    said = [doubt for doubt in doubts if doubt is not None]
    if said and all(said):
        raise SelfCheckError(f"{system}: {said[0]}; lyapkit.testing.check_system tells more")
    chaos = 1e4 * epsilon * (grown.clamp(min=0).max().exp())  # what rounding of the state may have become
    return grown, allowed + chaos * (1 + grown.abs())


def _doubt(system: System, state: Tensor, input: Tensor | None, frame: Tensor) -> str | None:
    """Return how `push` differs from finite differences of `step`: "" if it does not, None if they do not tell."""
    weights = torch.linspace(1.0, 2.0, frame.shape[1], dtype=frame.dtype, device=frame.device)
    direction = torch.nn.functional.normalize(weights @ frame[0], dim=0)
    pushed = system.push(state, input, direction[None, None])[1][0, 0]
    here = system.step(state, input)[0]
    size = max(float(state.abs().amax()), float(here.abs().amax()))
    doubt = None
    for difference in DIFFERENCES:
        h = difference * (size or 1.0) / max(1.0, float(pushed.abs().amax()))  # a small step, and a small change
        ahead, behind = (system.step(state + sign * h * direction, input)[0] for sign in (1, -1))
        noise = 100 * torch.finfo(here.dtype).eps * size / h
        if torch.equal(ahead, behind) or torch.allclose(ahead - behind, 2 * h * direction, rtol=1e-6, atol=0):
            return None  # a step that is a mere clock says nothing about the growth of perturbations
        for slope in ((ahead - behind) / (2 * h), (ahead - here) / h, (here - behind) / h):
            worst = int((slope - pushed).abs().argmax())
            tolerance = 1e-4 * float(torch.maximum(pushed.abs(), slope.abs()).amax()) + noise
            if abs(float(slope[worst] - pushed[worst])) <= tolerance:
                return "" if noise < tolerance / 2 else None
        doubt = doubt or (
            f"push carries a perturbation to {float(pushed[worst]):.6g} in variable {worst}, but finite "
            f"differences of step give {float(slope[worst]):.6g}"
        )
    return doubt


def condition(pushed: Tensor, upper: Tensor) -> Tensor:
    """Return by how much rounding is magnified in the growth of each row of V (k, N) and those before it, (k,)."""
    inverse = torch.linalg.solve_triangular(upper.mT, torch.eye(len(upper)).to(upper), upper=False)
    size = torch.linalg.vector_norm(inverse, dim=1).nan_to_num(torch.inf)
    return torch.linalg.matrix_norm(pushed) * size.cummax(0).values
