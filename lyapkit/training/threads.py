"""On how many of torch's threads a run computes: on one, or on all, whichever is faster."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import torch

REPETITIONS = 2  # of each number of threads, alternating, after one step that does not count
WORTH_IT = 50  # iterations from which on a run is measured
GAIN = 0.95  # of the time on one thread that several may take at most


@contextlib.contextmanager
def on_threads(n_threads: int) -> Iterator[None]:
    """Compute on so many threads within the block: sums over samples may be rounded in another order on more."""
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def faster_number(step: Callable[[], object], most: int) -> int:
    """Return on which number of threads a step is faster: 1, or `most`.

    Small matrices are multiplied before threads have shared them out: which is faster depends on the network, on the
    batch, on the machine and on what else it is doing, so that it is measured. Of repetitions the fastest counts.
    Several must gain a twentieth, or one is chosen.

    Parameters
    ----------
    step : callable
        What is repeated.
    most : int
        The other number.
    """
    if most == 1:
        return 1
    times = {1: float("inf"), most: float("inf")}
    step()
    for _ in range(REPETITIONS):
        for number in times:
            with on_threads(number):
                started = time.perf_counter()
                step()
                times[number] = min(times[number], time.perf_counter() - started)
    return most if times[most] < GAIN * times[1] else 1
