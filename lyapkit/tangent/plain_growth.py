"""`plain_growth`: what one trajectory's perturbations grew, by one Householder QR per step and nothing clever.

And whether `push` is the derivative of `step`, by finite differences at the first few points.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.systems.system import System

N_POINTS = 3  # at which `push` is compared with finite differences
NEGLIGIBLE = 1e-12  # in comparison with the largest variable
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
    """Return how `push` differs from finite differences of `step`: "" if it does not, None if they do not tell.

    Differences are small in comparison with the largest variable, then with the smallest: in every variable one of them
    must agree, of those that rounding lets tell. Times are left alone, on whose derivative no growth depends.
    """
    n = state.shape[1] - system.n_clocks
    direction = torch.linspace(1.0, 2.0, frame.shape[1], dtype=frame.dtype, device=frame.device) @ frame[0]
    direction[n:] = 0.0
    direction = torch.nn.functional.normalize(direction, dim=0)
    pushed = system.push(state, input, direction[None, None])[1][0, 0, :n]
    here = system.step(state, input)[0, :n]
    sizes = torch.maximum(state[0, :n].abs(), here.abs())
    largest = float(sizes.amax()) or 1.0
    smallest = float(sizes.masked_fill(sizes <= NEGLIGIBLE * largest, largest).amin())
    agrees = torch.zeros_like(pushed, dtype=torch.bool)
    doubts: dict[int, str] = {}
    for difference in dict.fromkeys(size * relative for size in (largest, smallest) for relative in DIFFERENCES):
        h = difference / max(1.0, float(pushed.abs().amax()))  # a small step, and a small change
        ahead, behind = (system.step(state + sign * h * direction, input)[0, :n] for sign in (1, -1))
        if torch.equal(ahead, behind) or torch.allclose(ahead - behind, 2 * h * direction[:n], rtol=1e-6, atol=0):
            return None  # a step that is a mere clock says nothing about the growth of perturbations
        noise = 100 * torch.finfo(here.dtype).eps * sizes / h
        tells = torch.ones_like(agrees)
        for slope in ((ahead - behind) / (2 * h), (ahead - here) / h, (here - behind) / h):
            tolerance = 1e-4 * torch.maximum(pushed.abs(), slope.abs()).amax()
            tells &= noise < tolerance
            agrees |= ((slope - pushed).abs() <= tolerance + noise) & tells
        if bool(agrees.all()):
            return ""
        for variable in (tells & ~agrees).nonzero().flatten().tolist():
            doubts[variable] = (
                f"push carries a perturbation to {float(pushed[variable]):.6g} in variable {variable}, but finite "
                f"differences of step give {float(slope[variable]):.6g}"
            )
    return next((doubt for variable, doubt in doubts.items() if not agrees[variable]), None)


def condition(pushed: Tensor, upper: Tensor) -> Tensor:
    """Return by how much rounding is magnified in the growth of each row of V (k, N) and those before it, (k,)."""
    inverse = torch.linalg.solve_triangular(upper.mT, torch.eye(len(upper)).to(upper), upper=False)
    size = torch.linalg.vector_norm(inverse, dim=1).nan_to_num(torch.inf)
    return torch.linalg.matrix_norm(pushed) * size.cummax(0).values
