"""Measure the exponents of the textbook systems, and write them beside those of the literature into docs/classical.md.

    python benchmarks/classical.py                # six minutes; writes benchmarks/classical.json and the table
    python benchmarks/classical.py henon lorenz   # these again; the others stay as they are in the file

Means over trajectories, with their standard errors. Nats per step, of flows per unit of time.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

import lyapkit as lk
from lyapkit.systems.classical.known import KNOWN

OUTPUT = Path(__file__).with_suffix(".json")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "classical.md"
N_TRAJECTORIES, N_STEPS, N_TRANSIENT, MOST_SHOWN = 40, 50_000, 2000, 4
HEAD = """# Textbook systems

`lyapkit.classical` has them by name, started on their attractors: `lk.classical.lorenz()`, and on the command line
`lyapkit spectrum lorenz --steps 10000` and `lyapkit sweep lorenz rho=20:60:200`. Parameters default to the values for
which exponents are usually quoted; what they are, and where systems come from, stands in the [reference](reference.md).

What lyapkit gives ± its standard error, in nats per step, of flows per unit of time, and what is known. Written by
`benchmarks/classical.py`; the tests ask for agreement within three standard errors and the rounding of what is known.

| system | lyapkit | known | source |
|---|---|---|---|
"""

FOOT = """
Where nothing is quoted, tests compare exponents with closed forms at fixed points (double pendulum upright, standard
nontwist map, Lorenz-96, the delay line of Mackey & Glass by Lambert's function), and, of every flow, exponents along a
stretch of trajectory with SciPy's integration at a tolerance of 1e-11. Of systems that keep their energy two exponents
are 0 in the limit, which runs approach as slowly as ln t/t. Of a delay line of n values about the first n/10 exponents
are those of the delay equation.
"""


def measured(name: str) -> dict[str, list[float]]:
    """Return the first mean exponents of a system and their standard errors."""
    system = getattr(lk.classical, name)()
    ds = lk.lyapunov_spectrum(
        system, n_steps=N_STEPS, n_transient=N_TRANSIENT, n_trajectories=N_TRAJECTORIES, progress=False
    )
    mean = lk.ensemble_mean(ds)
    return {
        "exponents": mean.lyapunov_exponent.values.tolist(),
        "errors": mean.standard_error.values.tolist(),
    }


def page(results: dict[str, dict[str, list[float]]]) -> str:
    """Return the page with the table."""
    rows = []
    for name, result in results.items():
        pairs = list(zip(result["exponents"], result["errors"], strict=True))[:MOST_SHOWN]
        ours = ", ".join(_with_error(*pair) for pair in pairs) + (
            ", …" if len(result["exponents"]) > MOST_SHOWN else ""
        )
        known = KNOWN.get(name)
        theirs = (
            "" if known is None else ", ".join(_number(value, known.rounding) for value in known.exponents[:MOST_SHOWN])
        )
        rows.append(f"| `{name}` | {ours} | {theirs or '—'} | {'' if known is None else known.source} |")
    return HEAD + "\n".join(rows) + "\n" + FOOT


def _number(value: float, unit: float) -> str:
    digits = round(-np.log10(unit)) if unit else 5
    return f"{value:.{digits}f}".replace("-", "−") if value else "0"


def _with_error(value: float, error: float) -> str:
    digits = min(6, max(2, 1 - int(np.floor(np.log10(error))))) if error > 5e-7 else 6
    return f"{value:.{digits}f} ± {max(error, 0.0):.{digits}f}".replace("-", "−")


def main() -> None:
    """Measure, and write JSON file and page."""
    names = sorted(name for name in lk.classical.__all__ if name.islower())
    if unknown := set(sys.argv[1:]) - set(names):
        raise SystemExit(f"no system {', '.join(sorted(unknown))}: choose from {', '.join(names)}")
    results = json.loads(OUTPUT.read_text()) if OUTPUT.exists() else {}
    for name in sys.argv[1:] or names:
        results[name] = measured(name)
        print(name, results[name], file=sys.stderr, flush=True)
    results = {name: results[name] for name in names if name in results}
    OUTPUT.write_text(json.dumps(results, indent=1) + "\n")
    PAGE.write_text(page(results))


if __name__ == "__main__":
    main()
