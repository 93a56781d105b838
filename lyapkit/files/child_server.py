"""A program of its own: reads files with libraries that damaged files can crash, and says how that went.

    python child_server.py READER.py

Requests come in on standard input and answers go out, lines of JSON both. `answers(**request)` of the reader yields
them, in a fork of this process with limits on time and memory, so that nothing of a damaged file stays behind; where
there are no forks, this process answers one request and ends. An error is an answer, and so is the exit code of a fork
that was killed. Imports nothing of lyapkit, to start fast.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import sys
from collections.abc import Callable, Iterator
from typing import Any


def limit(memory: int, seconds: int, patience: int) -> None:
    """Refuse this process more memory than so many bytes, and let it be killed after so many seconds.

    Those are seconds of work, and of the clock: a busy machine needs more of them. Where there are no such limits,
    nothing happens.
    """
    with contextlib.suppress(ImportError, AttributeError, ValueError, OSError):
        import resource
        import signal

        signal.alarm(patience)
        with open("/proc/self/statm") as file:
            own = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        unlimited = resource.getrlimit(resource.RLIMIT_CPU)[1]  # so that a reader may raise the limit
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, unlimited))
        resource.setrlimit(resource.RLIMIT_AS, (own + memory, own + memory))


def serve(reader: Callable[..., Iterator[dict[str, Any]]], request: dict, answer: Callable[[dict], None]) -> None:
    """Answer a request."""
    try:
        limit(*(request.pop(name) for name in ("memory", "seconds", "patience")))
        for content in reader(**request):
            answer(content)
    except Exception as error:  # a damaged file raises whatever its bytes suggest
        words = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        answer({"error": " ".join(words.split())[:500]})


def main() -> None:
    """Answer requests until there are no more."""
    silence = os.open(os.devnull, os.O_WRONLY)
    while silence <= 2:  # standard error was closed: its number must not become that of the answers
        silence = os.open(os.devnull, os.O_WRONLY)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(silence, 1)
    os.dup2(silence, 2)

    def answer(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=answers, flush=True)

    reader = runpy.run_path(sys.argv[1])["answers"]
    answer({"ready": True})
    for line in sys.stdin:
        if not hasattr(os, "fork"):
            serve(reader, json.loads(line), answer)
            break
        child = os.fork()
        if not child:
            try:
                serve(reader, json.loads(line), answer)
            finally:
                os._exit(0)
        if code := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            answer({"code": code})


if __name__ == "__main__":
    main()
