"""The table in docs/validation.md: what a test run compared with what, and how far apart they were.

Tests compare by the fixture `agrees`, which notes what it finds in the report of the run; `make validation` runs them
all, and writes the table from their reports: `python tests/agreement.py REPORT.xml …`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

DOCUMENT = Path(__file__).parent.parent / "docs" / "validation.md"
BEGIN, END = "<!-- begin of the table -->\n", "<!-- end of the table -->\n"
HEADS = "| what | against | tests | numbers | largest difference | allowed |\n|---|---|--:|--:|--:|--:|\n"
DENSE = "dense matrices by double backward"
KINDS = {  # what, and against what
    "maps": ("tent, Bernoulli, cat, baker's and coupled maps, constant matrices", "closed forms"),
    "henon": ("Hénon map", "published exponents"),
    "published flows": ("Lorenz, Rössler", "published exponents"),
    "flows": ("the flows of `classical`, finite time, relative", "SciPy's DOP853 at 1e-11"),
    "compiled": ("a compiled map with strong contraction, sum over 30 steps", "60 digits"),
    "gaussian products": ("products of Gaussian matrices", "Newman 1986"),
    "contractions, float64": (
        "sums over products of matrices with sudden contractions",
        "QR of every step, or 100 digits",
    ),
    "contractions, float32": ("the same in float32", "QR of every step, or 100 digits"),
    "random networks": ("largest exponent of random networks, N = 512", "dynamical mean-field theory"),
    "modules": ("`nn.RNN`, `nn.GRU`, `nn.LSTM`, two layers", "autograd Jacobians of PyTorch's modules, a QR per step"),
    "spiked modules": ("the same, one layer, saturated by input spikes, relative above 1", "500 digits"),
    "spiked wcrnn": ("WCRNN, saturated by input spikes", "500 digits"),
    "checkpoints": (
        "[checkpoint files](checkpoints.md), half-precision and quantised ones among them",
        "their frameworks' own forward pass, a QR per step",
    ),
    "covariant": ("rates of covariant vectors where steps contract", "400 digits"),
    "no coupling": ("WCRNN without coupling (Eq. 13)", "closed forms"),
    "eq13": ("exponents that Eq. 13 predicts", "NumPy's eigenvalues"),
    "gradients": ("gradient norms of a WCRNN, relative", "autograd through its own steps"),
    "gradient norms": ("gradient norms of 14 architectures, relative", "dense autograd"),
    "Hessian products": ("Hessian-vector products of the same", "dense autograd"),
    "Gauss–Newton products": ("Gauss–Newton-vector products of the same", "dense autograd"),
    "modulation": ("modulation of the curvature by steps, of the same", "dense autograd"),
    "hessian eigenvalues": ("Hessian eigenvalues, relative", DENSE),
    "gauss-newton eigenvalues": ("Gauss–Newton eigenvalues, relative", DENSE),
    "training": ("weights after 50 steps of training", "PyTorch's own optimiser"),
    "clipped training": ("the same with clipped gradients", "the same, which adds 1e-6 to norms"),
}


@dataclass
class Agreement:
    """What the tests of one kind found: how many tests and numbers, the largest difference, the largest allowed."""

    n_tests: int = 0
    n_numbers: int = 0
    difference: float = 0.0
    allowed: float = 0.0


def read(reports: list[Path]) -> dict[str, Agreement]:
    """Return kind to what runs found; raises ValueError if a test failed, or a kind has none."""
    found = {kind: Agreement() for kind in KINDS}
    for case in (case for report in reports for case in ElementTree.parse(report).iter("testcase")):
        if case.find("failure") is not None or case.find("error") is not None:
            raise ValueError(f"{case.get('classname')}.{case.get('name')} failed: there is nothing to write")
        noted = [json.loads(p.get("value")) for p in case.iter("property") if p.get("name") == "agreement"]
        for kind in {one["kind"] for one in noted}:
            found[kind].n_tests += 1
        for one in noted:
            agreement = found[one["kind"]]
            agreement.n_numbers += one["n_numbers"]
            agreement.difference = max(agreement.difference, one["difference"])
            agreement.allowed = max(agreement.allowed, one["allowed"])
    if missing := [kind for kind, agreement in found.items() if not agreement.n_tests]:
        raise ValueError(f"no test says anything of {', '.join(missing)}: were all of them run, the slow ones too?")
    return found


def split_document() -> tuple[str, str, str]:
    """Return what stands before the table, the table, and what stands after it."""
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    inside, _, after = rest.partition(END)
    return before, inside, after


def rows(found: dict[str, Agreement]) -> str:
    """Return the rows of the table."""
    return "".join(
        f"| {' | '.join(KINDS[kind])} | {one.n_tests} | {one.n_numbers} | {one.difference:.1e} | {one.allowed:.0e} |\n"
        for kind, one in found.items()
    )


if __name__ == "__main__":
    agreements = read([Path(name) for name in sys.argv[1:]])
    before, _, after = split_document()
    DOCUMENT.write_text(before + BEGIN + HEADS + rows(agreements) + END + after)
    sys.stdout.write(f"wrote {len(agreements)} rows to {DOCUMENT}\n")
