"""`WholeBatch`: some trajectories of a system whose functions may depend on a trajectory's place in the batch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lyapkit.systems.system import Input, System


class WholeBatch(System):
    """A system for some of its trajectories, which always computes all of them: only then is it sure to be the same.

    Parameters
    ----------
    system : System
        One that does not say that it `treats_trajectories_alike`.
    members : Tensor
        (b,): the trajectories' places in the batch.
    n_trajectories : int
        B.
    """

    def __init__(self, system: System, members: Tensor, n_trajectories: int) -> None:
        self.system = system
        self.members = members
        self.n_trajectories = n_trajectories
        self.state_size, self.input_size = system.state_size, system.input_size

    @property
    def maps_to_zero(self) -> bool:
        """As of the system."""
        return self.system.maps_to_zero

    def step(self, state: Tensor, input: Input) -> Tensor:
        """Return the next states (b, N)."""
        return self.system.step(self._all(state), self._all(input))[self.members]

    def push(self, state: Tensor, input: Input, tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next states (b, N) and tangent vectors (b, k, N)."""
        return self._some(self.system.push(self._all(state), self._all(input), self._all(tangent)))

    def push_along(self, state: Tensor, inputs: Input, tangent: Tensor, n_steps: int) -> tuple[Tensor, Tensor]:
        """Return states (b, N) and tangent vectors (b, k, N) after `n_steps` steps."""
        return self._some(self.system.push_along(self._all(state), self._all(inputs), self._all(tangent), n_steps))

    def push_in_stages(
        self, state: Tensor, input: Input, tangent: Tensor, renew: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return what `push` does, with `renew` applied to the tangent vectors (b, k, N) of these trajectories."""

        def renew_all(whole: Tensor) -> Tensor:
            return self._all(renew(whole[self.members]))

        return self._some(self.system.push_in_stages(self._all(state), self._all(input), self._all(tangent), renew_all))

    def _all(self, values: Input) -> Input:
        """Return values of these trajectories in their places, and some of them in the others' places."""
        if values is None:
            return None
        whole = values[:1].repeat(self.n_trajectories, *[1] * (values.ndim - 1))
        whole[self.members] = values
        return whole

    def _some(self, pushed: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return pushed[0][self.members], pushed[1][self.members]

    def __str__(self) -> str:
        return str(self.system)


def for_members(system: System, members: Tensor, n_trajectories: int) -> System:
    """Return a system for some of its trajectories: itself, if it treats all alike or they are all."""
    if isinstance(system, WholeBatch):
        return WholeBatch(system.system, system.members[members], system.n_trajectories)
    if system.treats_trajectories_alike or len(members) == n_trajectories:
        return system
    return WholeBatch(system, members, n_trajectories)
