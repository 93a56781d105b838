"""`CompiledPropagation`: the moving part of `propagate` in a compiled loop, trajectory by trajectory.

Steps, and factorisations of what they left well conditioned, are done by `kernels.advance`, on as many threads as
torch has; a trajectory is computed by one of them, so that their number makes no difference. A step that contracts a
direction below rounding, maps it to zero, or gives something that is not finite, is done by the engine of all other
systems, with the care that it takes, and the compiled loop goes on from there.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lyapkit.compiled import kernels
from lyapkit.compiled.compilation import Compilation
from lyapkit.compiled.fixed_steps import RUNGE_KUTTA
from lyapkit.tangent.bundle import Bundle
from lyapkit.tangent.course import Course
from lyapkit.tangent.pacing import FIRST_REACH, AdaptivePace
from lyapkit.tangent.propagation import Propagation
from lyapkit.tangent.self_check import SelfCheck
from lyapkit.tangent.single_steps import careful_step

CHECKED, CHECKED_ADAPTIVE = 16, 4  # steps that are computed a second time
MOST_CARE = 100  # groups of careful steps, beside one in so many steps:
STEPS_PER_CARE = 20
MOST_SAMPLES = 256  # of steps whose length is judged
FIRST_PERIOD = 8  # steps of which one is sampled, at least
WORTH_A_THREAD = 2000  # steps of all trajectories that a thread should have


class GivenUpError(RuntimeError):
    """A run is none for the compiled loop; the message says why."""


class CompiledPropagation(Propagation):
    """What `Propagation` is, for a system that was compiled.

    Parameters
    ----------
    course, everyone, accuracy
        As in `Propagation`.
    compilation : Compilation
        The system's machine code.
    n_steps : int
        All steps of the run.
    """

    def __init__(
        self, course: Course, everyone: Bundle, accuracy: float, compilation: Compilation, n_steps: int
    ) -> None:
        super().__init__(course, everyone, accuracy)
        self.compilation = compilation
        n_trajectories, k, n = everyone.frame.shape
        per_trajectory = -(-MOST_SAMPLES // n_trajectories) if compilation.kind == RUNGE_KUTTA else 0
        watched = n_steps // kernels.WATCHED
        period = max(FIRST_PERIOD // kernels.WATCHED, -(-watched // per_trajectory)) if per_trajectory else 1
        self.n_samples = min(per_trajectory, watched // period)
        self.samples = np.zeros((n_trajectories, self.n_samples, 2 + n + n * k))
        self.watch = np.zeros((n_trajectories, 4))
        self.watch[:, 3] = period
        self.seeds = np.arange(n_trajectories, dtype=np.uint64)
        self.reach = np.full(n_trajectories, FIRST_REACH)
        self.n_care = 0
        self._every = max(1, n_steps // 16)
        self.visited: list[tuple[Tensor, int]] = []

    def pass_interval(self, length: int) -> None:
        """Move all trajectories `length` steps on, to orthonormal frames; growth and condition count from here."""
        everyone = self.everyone
        everyone.log_growth.zero_()
        everyone.condition.fill_(1.0)
        if self.check is not None:
            self._check(self.check, length)
            self.check = None
        start, end = everyone.time, everyone.time + length
        self._travel(everyone, end)
        if not isinstance(everyone.pace, AdaptivePace):
            everyone.pace.add_rounding(everyone.error, everyone.log_growth, everyone.condition)
        if start // self._every != end // self._every:
            self.visited.append((everyone.state.clone(), end))

    def _check(self, check: SelfCheck, length: int) -> None:
        """Compare a trajectory's first steps, compiled, with plain ones."""
        one = self.everyone.select(self.everyone.members == check.trajectory)
        end = one.time + min(CHECKED_ADAPTIVE if self.compilation.is_adaptive else CHECKED, length)
        loop = _Loop(self, one, alone=True)
        loop.run(end)
        loop.put_into(one)
        one.time = int(loop.times[0])
        if one.time > check.time:
            check.after(one, one.time)

    def _travel(self, everyone: Bundle, end: int) -> None:
        loop = _Loop(self, everyone)
        loop.times[~self.casualties.is_moving.numpy()] = end
        while True:
            loop.run(end)
            loop.put_into(everyone)
            stopped = torch.from_numpy(loop.status == kernels.NEEDS_CARE)
            if (loop.status == kernels.OVERLONG).any():
                raise GivenUpError("intervals of a fixed length were too long for one factorisation")
            if not bool(stopped.any()):
                break
            for time in np.unique(loop.times[stopped.numpy()]).tolist():
                self._with_care(everyone, stopped & torch.from_numpy(loop.times == time), time, end)
            loop.take(everyone, stopped.numpy())
            loop.times[stopped.numpy()] += 1
            loop.times[~self.casualties.is_moving.numpy()] = end
        everyone.time = end
        self.n_reorthonormalizations += int(loop.counts.sum())

    def _with_care(self, everyone: Bundle, which: Tensor, time: int, end: int) -> None:
        """Do one step of some trajectories, `which` (B,), at one `time` as it is done without compiled loops."""
        self.n_care += 1
        if self.n_care > MOST_CARE + end / STEPS_PER_CARE:
            raise GivenUpError("many steps contract directions below rounding")
        part = replace(everyone.select(which), time=time)
        input = self.course.input_of(part.members, time)
        step = careful_step(
            self.course.system_of(part.members), None, part, input, self.accuracy, closes=time + 1 == end
        )
        self.casualties.diverge(part, ~step.is_finite, time, step.state)
        self.casualties.note_deaths(part, step.rows)
        part.take(step, 1)
        part.frame = part.frame.where(step.is_finite[:, None, None], 0.0)
        everyone.put_back(part, part.members)


class _Loop:
    """A bundle as the arrays that `kernels.advance` works on."""

    def __init__(self, run: CompiledPropagation, bundle: Bundle, alone: bool = False) -> None:
        n_trajectories, self.k, self.n = bundle.frame.shape
        self.pace, self.compilation, self.course = bundle.pace, run.compilation, run.course
        self.members = bundle.members if alone else None
        everyone = slice(None) if not alone else bundle.members.numpy()
        self.states = np.empty((n_trajectories, self.n))
        self.frames = np.empty((n_trajectories, self.n, self.k))
        self.log_growth = np.empty((n_trajectories, self.k))
        self.condition = np.empty(n_trajectories)
        self.n_alive = np.empty(n_trajectories, dtype=np.int64)
        self.times = np.full(n_trajectories, bundle.time)
        self.status, self.counts = np.zeros((2, n_trajectories), dtype=np.int64)
        self.reach = run.reach[everyone].copy() if alone else run.reach
        self.n_samples = 0 if alone else run.n_samples
        self.sampling = run.watch, run.seeds, run.samples
        self.take(bundle, slice(None))

    def take(self, bundle: Bundle, which: np.ndarray | slice) -> None:
        """Take what some trajectories of a bundle, `which` (B,), are."""
        self.states[which] = bundle.state.numpy()[which]
        self.frames[which] = bundle.frame.mT.numpy()[which]
        self.log_growth[which] = bundle.log_growth.numpy()[which]
        self.condition[which] = bundle.condition.numpy()[which]
        self.n_alive[which] = bundle.is_alive.sum(1).numpy()[which]

    def put_into(self, bundle: Bundle) -> None:
        """Give a bundle what became of its trajectories."""
        bundle.state = torch.from_numpy(self.states.copy())
        bundle.frame = torch.from_numpy(self.frames).mT.contiguous()
        if bundle.frame.data_ptr() == self.frames.ctypes.data:  # of one perturbation, or one variable
            bundle.frame = bundle.frame.clone()
        bundle.log_growth = torch.from_numpy(self.log_growth.copy())
        bundle.condition = torch.from_numpy(self.condition.copy())

    def run(self, end: int) -> None:
        """Move all trajectories on to `end`, or to where they need care."""
        n_trajectories = len(self.states)
        work = int((end - self.times).sum())
        n_threads = max(1, min(torch.get_num_threads(), n_trajectories, work // WORTH_A_THREAD))
        if n_threads == 1:
            self._run(0, n_trajectories, end)
            return
        bounds = [n_trajectories * part // n_threads for part in range(n_threads + 1)]
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(self._run, bounds, bounds[1:], [end] * n_threads))

    def _run(self, first: int, last: int, end: int) -> None:
        compilation, pace = self.compilation, self.pace
        work = kernels.workspace(self.n, self.k, compilation.room)
        inputs = self.course.inputs
        if inputs is None:
            address = of_trajectory = of_step = 0
        else:
            of_trajectory, of_step = inputs.stride()[:2]
            address = inputs.data_ptr() + (0 if self.members is None else 8 * int(self.members[0]) * of_trajectory)
        is_fixed = not isinstance(pace, AdaptivePace)
        arrays = (self.states, self.frames, self.log_growth, self.condition)
        arrays += (self.n_alive, self.times, self.reach, self.status, self.counts, *self.sampling)
        kernels.compiled(kernels.advance, self.n * self.k >= kernels.WIDE, compilation.is_adaptive)(
            compilation.code.address,
            compilation.kind,
            compilation.time_step,
            compilation.code.parameters.ctypes.data,
            address,
            of_trajectory,
            of_step,
            first,
            last,
            end,
            is_fixed,
            pace._worst,
            pace._range if isinstance(pace, AdaptivePace) else math.inf,
            self.n,
            self.k,
            work.ctypes.data,
            *(array.ctypes.data for array in arrays),
            self.n_samples,
            compilation.method.ctypes.data,
        )
