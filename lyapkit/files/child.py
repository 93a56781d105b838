"""`Child`: another process that reads files which could crash this one; it stays, to be asked again.

What it runs is `child_server`, with a reader.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TO_START = 120.0  # seconds; the time that a busy machine takes to import a library
PATIENCE = 20  # seconds of the clock for one of work: the processor may be busy with other things
GRACE = 2.0  # seconds, in which a child that has to end a reading will say so
_PROGRAM = Path(__file__).with_name("child_server.py")
_running: dict[Path, Child] = {}


class ChildLostError(ValueError):
    """The reading of a file crashed, or did not end; the message says which, and lacks who did so."""


class Child:
    """A running `child_server`.

    Parameters
    ----------
    reader : Path
        A Python file with a function `answers`. It should import little, to start fast.
    """

    def __init__(self, reader: Path) -> None:
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM), str(reader)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that its forks end with it
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        self.answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.answer(TO_START)

    @classmethod
    def running(cls, reader: Path) -> Child:
        """Return this process' running child with a reader, or a new one."""
        child = _running.get(reader)
        if child is None or child.owner != os.getpid() or child.process.poll() is not None:
            _running[reader] = child = cls(reader)
            atexit.register(child.stop)
        return child

    def send(self, request: Mapping[str, object], *, memory: int, seconds: int, patience: int) -> None:
        """Ask for something, with so many bytes of memory, seconds of work, and seconds of the clock."""
        assert self.process.stdin is not None
        limits = {"memory": memory, "seconds": seconds, "patience": patience}
        self.process.stdin.write(json.dumps({**request, **limits}) + "\n")
        self.process.stdin.flush()

    def answer(self, seconds: float) -> dict[str, Any]:
        """Return what the child says within some seconds.

        Raises
        ------
        ChildLostError
            If it crashes, or says nothing.
        ValueError
            If it answers with an error.
        """
        try:
            line = self.answers.get(timeout=seconds + GRACE)
        except queue.Empty:
            self.stop()
            raise ChildLostError(f"does not come back from it within {seconds:.0f} s") from None
        content = json.loads(line) if line else {"code": self.process.wait()}
        if "code" in content:
            is_late = -content["code"] in (getattr(signal, name, None) for name in ("SIGALRM", "SIGXCPU"))
            how = "does not come back from it" if is_late else f"crashes on it (exit code {content['code']})"
            raise ChildLostError(how)
        if "error" in content:
            raise ValueError(content["error"])
        return content

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError):  # closed meanwhile
            for line in self.process.stdout:
                self.answers.put(line)
        self.answers.put("")

    def stop(self) -> None:
        """End the process and its forks."""
        if self.owner != os.getpid():
            return
        if hasattr(os, "killpg") and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def running_processes() -> list[int]:
    """Return the process ids of this process' children."""
    return [child.process.pid for child in _running.values() if child.process.poll() is None]
