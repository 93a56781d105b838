"""What the command line says on stderr: one line each, in which options are called as in the shell."""

from __future__ import annotations

import re
import sys

_OPTIONS = {
    "n_transient": "--transient",
    "n_exponents": "--n-exponents",
    "n_steps": "--steps",
    "keep_state": "--keep-state",
    "n_backward_transient": "--backward-transient",
    "initial_frame": "--initial-frame",
    "batch_size": "--batch-size",
    "learning_rate": "--learning-rate",
    "clip_norm": "--clip",
    "prefix": "--prefix",
    "nonlinearity": "--nonlinearity",
    "ignore": "--ignore",
    "key": "--key",
    "module": "--module",
    "embedding": "--embedding",
    "readout": "--readout",
    "lengths": "--lengths",
    "folder": "--folder",
    "dtype": "--dtype",
    "device": "--device",
}
_NAMED = re.compile(
    r"\b(?P<before>" + "|".join(_OPTIONS) + r")=(?P<value>'[^']*'|\[[^\]]*\]|[\w.]+)?|"
    r"\b(?P<bare>" + "|".join(name for name in _OPTIONS if "_" in name) + r")\b"
)


def in_words_of_the_shell(text: str) -> str:
    """Return a message with options called as the command line calls them: ``dtype='float64'`` is --dtype float64."""

    def called(match: re.Match[str]) -> str:
        if match["bare"]:
            return _OPTIONS[match["bare"]]
        value = (match["value"] or "").strip("'[]").removesuffix("True")
        return f"{_OPTIONS[match['before']]} {value}".rstrip()

    return _NAMED.sub(called, text)


def printable(text: str) -> str:
    """Return text without what would act on a terminal: names in files may hold any character."""
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)


def complain(what: object) -> None:
    """Say something on stderr, in one line."""
    print(f"lyapkit: {printable(in_words_of_the_shell(' '.join(str(what).split())))}", file=sys.stderr)
