"""Standard output and error whose reader may leave, as `lyapkit … | head -1` does."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TextIO


class Unread:
    """A stream whose reader may leave: what is written then is dropped, so that the work ends as if it were read."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write, if somebody reads."""
        with self._dropping():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Pass on what is in the buffer, if somebody reads."""
        with self._dropping():
            self.stream.flush()

    @contextlib.contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())  # for what is still in the buffer, too
            if not isinstance(error, BrokenPipeError):
                raise OSError(f"cannot write to {self.stream.name}: {error.strerror}") from error
