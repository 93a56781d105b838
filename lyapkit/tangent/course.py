"""`Course`: what moves a run's trajectories, for all of them or some."""

from __future__ import annotations

from torch import Tensor

from lyapkit.systems.system import System
from lyapkit.tangent.bundle import Bundle
from lyapkit.tangent.whole_batch import for_members

MOST_STEPS_AT_ONCE = 256  # that a system is asked for, which bounds its memory


class Course:
    """A system and the inputs that drive it.

    Parameters
    ----------
    system : System
        Computing in the dtype of the run.
    precise : System, optional
        The same in float64, for steps that float32 does not resolve.
    inputs : Tensor, optional
        (B, T, I).
    n_trajectories : int
        B.
    """

    def __init__(self, system: System, precise: System | None, inputs: Tensor | None, n_trajectories: int) -> None:
        self.system, self.precise = system, precise
        self.inputs = inputs
        self.n_trajectories = n_trajectories

    def system_of(self, members: Tensor) -> System:
        """Return the system for some of the trajectories."""
        return for_members(self.system, members, self.n_trajectories)

    def precise_system_of(self, members: Tensor) -> System | None:
        """Return the system in float64 for some of the trajectories, if there is one."""
        return self.precise and for_members(self.precise, members, self.n_trajectories)

    def inputs_of(self, members: Tensor, start: int, end: int) -> Tensor | None:
        """Return the inputs (b, end − start, I) of some of the trajectories."""
        if self.inputs is None:
            return None
        inputs = self.inputs[:, start:end]
        return inputs if len(members) == len(inputs) else inputs[members]

    def input_of(self, members: Tensor, time: int) -> Tensor | None:
        """Return the input (b, I) of some of the trajectories at one step."""
        inputs = self.inputs_of(members, time, time + 1)
        return None if inputs is None else inputs[:, 0]

    def advance(self, bundle: Bundle, n_steps: int) -> tuple[Tensor, Tensor]:
        """Return a bundle's state and frame after `n_steps`."""
        state, frame = bundle.state, bundle.frame
        system = self.system_of(bundle.members)
        for start in range(bundle.time, bundle.time + n_steps, MOST_STEPS_AT_ONCE):
            end = min(start + MOST_STEPS_AT_ONCE, bundle.time + n_steps)
            inputs = self.inputs_of(bundle.members, start, end)
            state, frame = system.push_along(state, inputs, frame, end - start)
        return state, frame
