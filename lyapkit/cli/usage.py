"""What is wrong with how a command was called, in one line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import Any

import typer


def in_one_line(error: typer.TyperException) -> str:
    """Return what a user did wrong: Typer's own words are a box of many lines."""
    text = error.format_message()
    command = getattr(getattr(error, "ctx", None), "command_path", "lyapkit")
    for pattern, say in _SAID.items():
        if found := re.fullmatch(pattern, text, flags=re.DOTALL):
            return say(error, command, *found.groups())
    return text


def _no_option(error: Any, command: str, name: str, possible: str | None) -> str:
    close = difflib.get_close_matches(name, (possible or "").split(", "), 1)
    return f"there is no option {name}: {_or_help(close, command)}"


def _no_command(error: Any, command: str, name: str) -> str:
    close = difflib.get_close_matches(name, error.ctx.command.list_commands(error.ctx), 1)
    return f"there is no command {name}: {_or_help(close, command)}"


def _or_help(close: list[str], command: str) -> str:
    return f"did you mean {close[0]}?" if close else f"`{command} --help` lists what there is"


def _missing(error: Any, command: str, name: str) -> str:
    meant = error.param.help.rstrip(".")
    return f"give {name}, {meant[0].lower()}{meant[1:]}"


def _no_number(error: Any, command: str, name: str, kind: str) -> str:
    given = error.__cause__.errors()[0]["input"]
    name = name.replace("' / '", " or ")
    return f"{name} must be {'a whole' if kind == 'integer' else 'a'} number, got {given!r}"


def _too_many(error: Any, command: str, extra: str) -> str:
    return f"leave out {extra}: `{command} --help` says what it takes"


_SAID: dict[str, Callable[..., str]] = {
    r"No such option: (\S+)(?: \(Possible options: (.*)\))?": _no_option,
    r"No such command '(.*?)'\..*": _no_command,
    r"Missing (?:argument|option) '(.*?)'\..*": _missing,
    r"Invalid value for '(.*?)': Input should be a valid (integer|number).*": _no_number,
    r"Got unexpected extra argument\(s\) \((.*)\)": _too_many,
    r"Option '(.*?)' requires an argument\.": lambda error, command, name: f"{name} needs a value",
    r"Option '(.*?)' does not take a value\.": lambda error, command, name: f"{name} takes no value",
}
