"""`SelfCheck`: the beginning of one trajectory is computed a second time, plainly, and compared.

Plainly means: the system's `push`, one step at a time, for this trajectory alone, and one Householder QR per step, of
one matrix. And `push` itself is compared with finite differences of `step`. So it is found if a factorisation of
batches, `push_along` or `push` is wrong, on this machine, with this system, in the very run that is about to be
believed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lyapkit.systems.system import System
from lyapkit.tangent.bundle import Bundle
from lyapkit.tangent.factorizations import Factors
from lyapkit.tangent.pacing import FixedPace
from lyapkit.tangent.whole_batch import for_members

if TYPE_CHECKING:
    from lyapkit.tangent.propagation import Propagation

N_POINTS = 3  # at which `push` is compared with finite differences
DIFFERENCES = (1e-5, 1e-7)  # relative to the state's size
SHARE = 200  # of the trajectories' steps, one in so many is computed twice


class SelfCheckError(ArithmeticError):
    """The engine and a plain computation of the same growth disagree: nothing that the run gives can be believed."""


@dataclass
class SelfCheck:
    """What a trajectory was when its first counted interval began, and what the comparison needs.

    Attributes
    ----------
    system : System
        In float64, if there is one.
    trajectory, time, n_steps : int
        Which one, when it began, and how many steps are to be checked at least.
    state, frame, order : Tensor
        (1, N), (1, r, N) and (1, r), as in `Bundle`.
    inputs : Tensor, optional
        (1, T, I), from `time` on.
    accuracy, epsilon : float
        Of one factorisation in the run, and of its arithmetic.
    is_compared : bool
        Whether growths were compared already.
    seen, longest : int
        When the trajectory was last seen, and the longest stretch it went: one of several steps is to be checked.
    """

    system: System
    trajectory: int
    time: int
    n_steps: int
    state: Tensor
    frame: Tensor
    order: Tensor
    inputs: Tensor | None
    accuracy: float
    epsilon: float
    is_compared: bool = False
    seen: int = 0
    longest: int = 0

    @classmethod
    def of(cls, run: Propagation, n_steps: int) -> SelfCheck | None:
        """Return a check of a trajectory that moves, None if there is none. `n_steps` are those of the run."""
        everyone = run.everyone
        moving = run.casualties.is_moving.nonzero().flatten()
        if not len(moving):
            return None
        one = moving[len(moving) // 2][None]
        is_double = everyone.state.dtype == torch.float64
        inputs = None if run.inputs is None else run.inputs[one, everyone.time :].double()
        return cls(
            system=for_members(run.system if is_double else run.precise or run.system, one, len(everyone)),
            trajectory=int(one),
            time=everyone.time,
            n_steps=max(1, min(n_steps // 64, n_steps * len(everyone) // SHARE)),
            state=everyone.state[one].double(),
            frame=everyone.frame[one].double(),
            order=everyone.order[one].clone(),
            inputs=inputs,
            accuracy=run.accuracy,
            epsilon=torch.finfo(everyone.state.dtype).eps,
            seen=everyone.time,
        )

    def factor_again(self, bundle: Bundle, frame: Tensor, factors: Factors) -> None:
        """Compare the QR that closes the interval with one of the trajectory's frame alone."""
        where = (bundle.members == self.trajectory).nonzero().flatten()
        if not len(where) or not bool(bundle.is_alive[where].all()):
            return
        pushed = frame[where][0].double()
        columns, upper = torch.linalg.qr(pushed.mT)
        allowed = 100 * (self.accuracy + self.epsilon * float(_condition(pushed, upper)[-1]))
        overlap = (factors.new_frame()[where][0].double() @ columns).abs()
        ratio = factors.diagonal[where][0].double() / upper.diagonal().abs()
        worst = float(torch.maximum((overlap - torch.eye(len(ratio)).to(overlap)).abs().max(), (ratio - 1).abs().max()))
        if not worst <= allowed:
            raise SelfCheckError(
                f"{self.system}: {type(factors).__name__} of the frame of trajectory {self.trajectory} gives growths "
                f"or directions that are off by {worst:.3g} from a QR of that frame alone, {allowed:.1g} is allowed: "
                "it is wrong on this machine"
            )

    def after(self, bundle: Bundle, end: int) -> SelfCheck | None:
        """Compare growths, once the trajectory in this bundle has come far enough; None if the interval has ended."""
        where = (bundle.members == self.trajectory).nonzero().flatten()
        if not len(where):
            return self
        self.longest = max(self.longest, bundle.time - self.seen)
        self.seen = bundle.time
        is_due = bundle.time >= self.time + self.n_steps and self.longest > 1
        if not self.is_compared and (is_due or bundle.time == end):
            self.is_compared = True
            if torch.equal(bundle.order[where], self.order):
                self._compare(bundle, where)
        return self if bundle.time < end else None

    def _compare(self, bundle: Bundle, where: Tensor) -> None:
        grown, allowed = self._plainly(bundle.time - self.time)
        allowed = allowed + bundle.error[where][0] + 10 * len(grown) ** 0.5 * self.epsilon * bundle.condition[where]
        rest = torch.linalg.qr(bundle.frame[where].double().mT, mode="r")[1].diagonal(dim1=-2, dim2=-1).abs().log()
        measured = (bundle.log_growth[where] + rest)[0]
        known = (bundle.is_alive[where] & (bundle.n_bounded[where] == 0))[0] & allowed.isfinite() & grown.isfinite()
        if isinstance(bundle.pace, FixedPace):  # what one factorisation at the end cannot resolve is not compared
            known &= (grown > grown.max() + math.log(1e6 * self.epsilon)).cummin(0).values
        excess = ((measured - grown).abs() - allowed).where(known, -torch.inf).nan_to_num(torch.inf)
        if bool((excess > 0).any()):
            worst = int(excess.argmax())
            raise SelfCheckError(
                f"{self.system}: the log-growth of direction {worst} of trajectory {self.trajectory} in steps "
                f"{self.time} to {bundle.time - 1} is {float(measured[worst]):.9g}, but one QR per step gives "
                f"{float(grown[worst]):.9g} (they may differ by {float(allowed[worst]):.1g}): push_along and push "
                "disagree, or a factorisation is wrong on this machine; lyapkit.testing.check_system tells which"
            )

    def _plainly(self, n_steps: int) -> tuple[Tensor, Tensor]:
        """Return the log-growths (r,) of a plain computation, and how far others may be from them."""
        state, frame = self.state, self.frame
        grown = torch.zeros_like(frame[0, :, 0])
        allowed = torch.full_like(grown, 100 * self.accuracy * (n_steps + 1))
        doubts = []
        for time in range(n_steps):
            input = None if self.inputs is None else self.inputs[:, time]
            if time < N_POINTS:
                doubts.append(self._doubt(state, input, frame))
            state, pushed = self.system.push(state, input, frame)
            columns, upper = torch.linalg.qr(pushed[0].mT)
            diagonal = upper.diagonal().abs()
            grown = grown + diagonal.log()
            error = 100 * len(grown) * torch.finfo(torch.float64).eps * _condition(pushed[0], upper)
            allowed = allowed + error.where(error < 1, torch.inf)  # directions that a plain QR does not resolve
            frame = columns.mT[None].contiguous()
        said = [doubt for doubt in doubts if doubt is not None]
        if said and all(said):
            raise SelfCheckError(f"{self.system}: {said[0]}; lyapkit.testing.check_system tells more")
        chaos = 1e4 * self.epsilon * (grown.clamp(min=0).max().exp())  # what rounding of the state may have become
        return grown, allowed + chaos * (1 + grown.abs())

    def _doubt(self, state: Tensor, input: Tensor | None, frame: Tensor) -> str | None:
        """Return how `push` differs from finite differences of `step`: "" if it does not, None if they do not tell."""
        weights = torch.linspace(1.0, 2.0, frame.shape[1], dtype=frame.dtype, device=frame.device)
        direction = torch.nn.functional.normalize(weights @ frame[0], dim=0)
        pushed = self.system.push(state, input, direction[None, None])[1][0, 0]
        here = self.system.step(state, input)[0]
        size = max(float(state.abs().amax()), float(here.abs().amax()))
        doubt = None
        for difference in DIFFERENCES:
            h = difference * (size or 1.0) / max(1.0, float(pushed.abs().amax()))  # a small step, and a small change
            ahead, behind = (self.system.step(state + sign * h * direction, input)[0] for sign in (1, -1))
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


def _condition(pushed: Tensor, upper: Tensor) -> Tensor:
    """Return by how much rounding is magnified in the growth of each row of V (k, N) and those before it, (k,)."""
    inverse = torch.linalg.solve_triangular(upper.mT, torch.eye(len(upper)).to(upper), upper=False)
    size = torch.linalg.vector_norm(inverse, dim=1).nan_to_num(torch.inf)
    return torch.linalg.matrix_norm(pushed) * size.cummax(0).values
