"""The engine: propagates states and, with them, frames of perturbations; re-orthonormalises when it has to.

The frame's rows Q span the k fastest-growing directions. Pushed through the tangent map they lose orthogonality;
factoring them, V = L Q, gives a new frame and, on the diagonal of L, the growth of each direction (Benettin et al.
1980; Eckmann & Ruelle 1985). What is stored is log|diag L| per interval between factorisations.

Three facts keep this cheap and right:

- A factorisation costs several pushes, and is needed only before rounding hides the slow directions behind the fast
  ones. What is lost is measured, as the condition, and a `Pace` goes on for as long as it stays in bounds.
- Inside an interval the frame need not be orthonormal, only well conditioned. V = L W with any lower triangular L
  keeps the volumes that define the exponents: the diagonals multiply, and the QR at the interval's end makes good
  what W lacks. So inside intervals an LU factorisation with column pivoting serves, at a third of the cost. And where
  frames stay close to orthogonal, as in weakly coupled networks, the QR itself is had from a Cholesky factor.
- Where a single step contracts a direction below rounding, no shorter stretch helps. Such steps are done with care, by
  `careful_step`: for saturated units that keeps every digit, elsewhere it gives an upper bound and says so.

Trajectories move together. Those for which a stretch was too long are left behind and follow at a pace of their own;
those that diverge leave for good. So a trajectory never disturbs, nor slows down, the others.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lyapkit.tangent.bundle import Bundle
from lyapkit.tangent.casualties import Casualties
from lyapkit.tangent.course import Course
from lyapkit.tangent.factorizations import CholeskyQR, Factors, HouseholderQR, cheapest
from lyapkit.tangent.overlong_intervals import end_of_overlong_interval
from lyapkit.tangent.pacing import GENTLE_CONDITION
from lyapkit.tangent.self_check import SelfCheck
from lyapkit.tangent.single_steps import careful_step

OUTLYING = 2.0  # strain of trajectories that are no measure for the others


class Propagation:
    """The moving part of `propagate`: where trajectories and frames are, and what happened to them so far."""

    def __init__(self, course: Course, everyone: Bundle, accuracy: float) -> None:
        self.course = course
        self.accuracy = accuracy
        self.everyone = everyone
        self.casualties = Casualties(everyone)
        self.check: SelfCheck | None = None
        self.n_reorthonormalizations = 0
        self.n_reconditionings = 0

    def pass_interval(self, length: int) -> None:
        """Move all trajectories `length` steps on, to orthonormal frames; growth and condition count from here."""
        everyone = self.everyone
        everyone.log_growth.zero_()
        everyone.condition.fill_(1.0)
        is_moving = self.casualties.is_moving
        is_whole = bool(is_moving.all()) and not everyone.has_dead_rows
        end = everyone.time + length
        bundle = self.travel(everyone if is_whole else everyone.select(is_moving), end)
        if bundle is not everyone:
            everyone.put_back(bundle, bundle.members)
            everyone.time = end

    def travel(self, bundle: Bundle, end: int, closes: bool = True) -> Bundle:
        """Move a bundle on to `end`, which `closes` an interval or not; return those that did not diverge."""
        while bundle.time < end and len(bundle):
            bundle = self.move(bundle, end, closes)
            self.check = self.check and self.check.after(bundle, end)
        return bundle

    def move(self, bundle: Bundle, end: int, closes: bool) -> Bundle:
        """Move a bundle on as far as its pace allows, or find that too far; return those that did not diverge."""
        pace = bundle.pace
        length, is_last = pace.stretch(end - bundle.time)
        closes = closes and is_last
        state, frame = self.course.advance(bundle, length)
        factors = self.factor(frame, closes, bundle)
        condition = factors.condition(frame)
        grown = factors.diagonal.log()
        is_sound = factors.is_trusted & state.isfinite().all(1)
        strain = pace.strain(grown, condition).where(is_sound, torch.inf)
        worst = float(strain.max())
        if worst <= 1:
            if self.check and closes:
                self.check.factor_again(bundle, frame, factors)
            self._accept(bundle, length, state, factors.new_frame(), grown, condition)
            pace.went(length, is_last, worst, condition)
            return bundle
        is_over = ~(strain <= 1)
        if length > 1 and 2 * int(is_over.sum()) > len(bundle) and pace.shorten(length, is_last, worst):
            return bundle
        behind = bundle.select(is_over)
        self._accept(bundle, length, state, factors.new_frame(), grown, condition)
        if bool((typical := strain <= OUTLYING).any()):
            pace.went(length, is_last, float(strain[typical].max()), condition[typical])
        return self._joined(bundle, behind, length, is_last, closes, worst)

    def _joined(
        self, bundle: Bundle, behind: Bundle, length: int, is_last: bool, closes: bool, strain: float
    ) -> Bundle:
        """Return a bundle that moved on, with those for which it was too far brought after it, as far as they come."""
        behind.pace = bundle.pace.for_stragglers()
        if length > 1 and behind.pace.shorten(length, is_last, strain):
            behind = self.travel(behind, bundle.time, closes)
        else:
            self._take_care(behind, length, closes)
        where = torch.isin(bundle.members, behind.members)
        behind.state = bundle.state[where]  # the same up to rounding; and so the same in company and alone
        bundle.put_back(behind, where)
        is_moving = self.casualties.is_moving[bundle.members]
        return bundle if bool(is_moving.all()) else bundle.select(is_moving)

    def forget_losses(self) -> None:
        """Begin anew, with full frames: what was lost so far does not count."""
        self.everyone.forget_losses()
        self.casualties.first_death.clear()

    def factor(self, frame: Tensor, closes: bool, bundle: Bundle) -> Factors:
        """Return a QR of a frame that closes an interval, else whatever is cheapest."""
        if not closes:
            self.n_reconditionings += 1
            return cheapest(frame, bundle.mask)
        self.n_reorthonormalizations += 1
        if bundle.pace.is_gentle:
            factors = CholeskyQR(frame, bundle.mask)
            if bool((factors.is_trusted & (factors.condition(frame) < GENTLE_CONDITION)).all()):
                return factors
        return HouseholderQR(frame, bundle.mask)

    def _accept(
        self, bundle: Bundle, length: int, state: Tensor, frame: Tensor, grown: Tensor, condition: Tensor
    ) -> None:
        bundle.state, bundle.frame = state, frame
        bundle.log_growth += grown
        bundle.pace.add_rounding(bundle.error, grown, condition)
        bundle.condition = torch.maximum(bundle.condition, condition)
        bundle.time += length

    def _take_care(self, bundle: Bundle, length: int, closes: bool) -> None:
        """Do a step that contracts directions below rounding; or end an interval that was too long."""
        self.n_reorthonormalizations += 1
        if length == 1:
            course, members = self.course, bundle.members
            systems = course.system_of(members), course.precise_system_of(members)
            step = careful_step(*systems, bundle, course.input_of(members, bundle.time), self.accuracy, closes)
            self.casualties.diverge(bundle, ~step.is_finite, bundle.time, step.state)
        else:
            step = end_of_overlong_interval(self.course, self.casualties, bundle, length)
        self.casualties.note_deaths(bundle, step.rows)
        bundle.take(step, length)
