"""Ctrl-C that does not break a step in two: it is noted, and a run ends where its interval does."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType

WAITING = (
    "lyapkit: interrupted: what was done is kept where the interval ends, at most a 32nd of the run from here; Ctrl-C "
    "again ends at once, and keeps nothing"
)


@contextlib.contextmanager
def noting_interruption(wanted: bool) -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether Ctrl-C came. A second one interrupts at once, as the first does elsewhere.

    Not in other threads than the main one, which alone gets signals.
    """
    noted = False

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal noted
        if noted:
            raise KeyboardInterrupt
        noted = True
        print(WAITING, file=sys.stderr, flush=True)

    if not wanted or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: noted
    finally:
        signal.signal(signal.SIGINT, before)
