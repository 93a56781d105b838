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
from lyapkit.tangent.plain_growth import SelfCheckError, condition, plain_growth

if TYPE_CHECKING:
    from lyapkit.tangent.propagation import Propagation

SHARE = 200  # of the trajectories' steps, one in so many is computed twice


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
        course = run.course
        inputs = None if course.inputs is None else course.inputs[one, everyone.time :].double()
        return cls(
            system=course.system_of(one) if is_double else course.precise_system_of(one) or course.system_of(one),
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
        allowed = 100 * (self.accuracy + self.epsilon * float(condition(pushed, upper)[-1]))
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
        grown, allowed = plain_growth(
            self.system, self.state, self.frame, self.inputs, bundle.time - self.time, self.accuracy, self.epsilon
        )
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
