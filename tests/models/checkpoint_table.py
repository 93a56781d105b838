"""What lyapkit makes of checkpoint files of every kind: the cases that `test_checkpoint_table` checks and docs show.

A case is a row. To add rows, write a module beside this one with a list `CASES`, and name it in `MODULES`; then
``python tests/models/checkpoint_table.py`` writes the table anew.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lyapkit as lk

MODULES = [
    "checkpoint_cases",
    "checkpoint_cases_files",
    "checkpoint_cases_names",
    "checkpoint_cases_models",
    "checkpoint_cases_keras",
    "checkpoint_cases_onnx",
    "checkpoint_cases_systems",
]
DOCUMENT = Path(__file__).parents[2] / "docs" / "checkpoints.md"
BEGIN, END = "<!-- table: written by tests/models/checkpoint_table.py -->\n", "<!-- end of table -->\n"
N_STEPS = 24

Step = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # state (N,), input (I,) -> state (N,)


@dataclass(frozen=True)
class Made:
    """A file that a case wrote, and the independent reference for what it holds.

    Attributes
    ----------
    path : Path or nn.Module
        What to load.
    exponents : callable or None
        Inputs (T, I) to exponents (N,), descending, of the framework's own forward pass; None where the file must be
        refused. `autograd_exponents` makes one of a step.
    n_inputs : int
        I; 0 for a system that takes none.
    n_tokens : int
        How many there are if the inputs are tokens (T, 1), else 0.
    """

    path: Path | torch.nn.Module
    exponents: Callable[[np.ndarray], np.ndarray] | None = None
    n_inputs: int = 3
    n_tokens: int = 0

    def inputs(self) -> np.ndarray:
        """Return random inputs; (T, 0) if it takes none."""
        random = np.random.default_rng(0)
        if self.n_tokens:
            return random.integers(0, self.n_tokens, size=(N_STEPS, 1))
        return random.normal(size=(N_STEPS, self.n_inputs))


@dataclass(frozen=True)
class Case:
    """A kind of file, and what must become of it.

    Attributes
    ----------
    group : str
        Heading under which the row stands.
    file : str
        What the file is, in Markdown; unique.
    make : callable
        Writes it into a folder that is given: `Made`.
    system : str
        What ``str(load_system(path, **options))`` is; "" if the file must be refused.
    refusal : str
        A part of the message of the `CheckpointError`; "" if the file is read.
    warning : str
        A part of the message of the `CheckpointWarning` that says what was assumed; "" if there is none.
    options : dict
        Of `load_system`.
    read : callable
        What makes a system of the file, or of a module. Default: `load_system`.
    reference : str
        What the exponents are compared with, in Markdown.
    atol : float
        How far exponents may be from the reference.
    """

    group: str
    file: str
    make: Callable[[Path], Made]
    system: str = ""
    refusal: str = ""
    warning: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    reference: str = "autograd of the module's forward"
    atol: float = 1e-9
    read: Callable[..., lk.System] = lk.load_system

    def __post_init__(self) -> None:
        if bool(self.system) == bool(self.refusal):
            raise ValueError(f"{self.file}: a file is read or refused, give system or refusal")

    @property
    def row(self) -> str:
        """The row of the table."""
        options = ", ".join(f"`{name}={value!r}`" for name, value in self.options.items())
        file = f"{self.file}; {options}" if options else self.file
        if self.refusal:
            return f"| {file} | refused: “{self.refusal}” | |"
        warning = f"; warns: “{self.warning}”" if self.warning else ""
        return f"| {file} | {self.system}{warning} | {self.reference} |"


def autograd_exponents(step: Step, state_size: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return inputs to exponents, by autograd Jacobians of a step and one QR per step."""

    def exponents(inputs: np.ndarray) -> np.ndarray:
        state, frame, growth = torch.zeros(state_size, dtype=torch.float64), np.eye(state_size), np.zeros(state_size)
        for input in torch.from_numpy(inputs):
            state.requires_grad_()
            ahead = step(state, input)
            rows = [torch.autograd.grad(entry, state, retain_graph=True)[0] for entry in ahead]
            state = ahead.detach()
            frame, upper = np.linalg.qr(torch.stack(rows).numpy() @ frame)
            growth += np.log(np.abs(np.diag(upper)))
        return np.sort(growth / len(inputs))[::-1]

    return exponents


def after_lookup(step: Step, table: torch.Tensor) -> Step:
    """Return a step that takes tokens, whose rows of the table (tokens, I) are its inputs."""
    return lambda state, token: step(state, table[token[0]])


def all_cases() -> list[Case]:
    """Return the cases of all modules."""
    return [case for name in MODULES for case in importlib.import_module(name).CASES]


def table() -> str:
    """Return the rows under their headings."""
    cases, lines = all_cases(), []
    for group in dict.fromkeys(case.group for case in cases):
        rows = [case.row for case in cases if case.group == group]
        lines += [f"### {group}", "", "| file | lyapkit makes of it | checked against |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def split_document() -> tuple[str, str, str]:
    """Return what stands before the table, the table, and what stands after it."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    inside, _, after = rest.partition(END)
    return before, inside, after


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    before, _, after = split_document()
    DOCUMENT.write_text(before + BEGIN + table() + END + after)
    sys.stdout.write(f"wrote {len(all_cases())} rows to {DOCUMENT}\n")
