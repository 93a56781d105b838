"""Write docs/trainings.md: momentum, batch, learning rates, thresholds and ranges of every training, in tables.

python analyses/trainings.py
"""

from __future__ import annotations

from pathlib import Path

from analyses.expressivity import ROOT
from analyses.grid import N_NETWORKS, OWN_RATES, SETTINGS, options_of
from analyses.swept import (
    COUPLINGS,
    INFORMED,
    MULTIPLES,
    QUICK_MULTIPLES,
    QUICK_RADII,
    RADII,
    SPREAD_AROUND,
    SPREADS,
    SWEEPS,
)
from lyapkit.files.writing import replacing

TEXT = """\
# How the networks of the paper are trained

Written by `python analyses/trainings.py` from `analyses/grid.py` and `analyses/swept.py`. What the paper does not
state, or where its numbers were lost, is chosen; the files in `data/expressivity/` carry all of it in their attribute
`parameters`.

Networks have {hidden_size} units (sizes of 50 and 200 are not trained), α = {coupling:g}, r = {radius:g} where it is
not swept, and weights from U(−1/√n, 1/√n), as PyTorch's `nn.Linear` has them. They learn by stochastic gradient descent
with momentum. Minimal performance is an accuracy of 0.5, or an RMS error of 0.25; at the adding problem training stops
there.

| scale | task | steps | iterations | batch | momentum | η | longest gradient | evaluated every | test samples | seeds |
|---|---|---|---|---|---|---|---|---|---|---|
{trainings}

Exceptions: {exceptions}.

Sweeps of frequencies are trained for a quarter of the iterations at the scale paper
("frequency-long": all of them; at the scale quick, four times as many), architectures on images for half of them at the
scale quick, the sweep "radius-short" at the scale full-length for ten epochs. Networks that are not weakly coupled
(Elman, LSTM, UR-LSTM, GRU, S4) learn with gradients no longer than 1.

| swept | values at the scale quick | at the scale paper | stated in the paper |
|---|---|---|---|
| radius r | {quick_radii} | {radii} | an interval around 1, illegible |
| frequency ω, of the characteristic one | {quick_multiples} | {multiples} | 2π/28 and its harmonics |
| spread ε of radii around {around:g} | {spreads} | the same | illegible |
| coupling α | {couplings} | the same | illegible |
| informed heterogeneity | {informed} | the same | illegible |

## Why these learning rates

With momentum μ gradient descent is stable only for η < 2(1 + μ)/λ_max, λ_max the largest eigenvalue of the Hessian.
At 784 steps λ_max of untrained networks is about 240 to 390 at r = 1, and 10⁸ at r = 1.02, so that η must be below
0.01 to 0.016, and below 10⁻⁷: η = 0.03 suits r ≤ 0.995 only. At 196 steps it is 0.2 at r = 1 and limits nothing at the
start; as networks learn, it grows. `analyses/learning_rate.py` tries rates; its results are in `data/learning_rate/`.
At 784 steps they agree with the limit: in one epoch r = 1 learns at η = 0.01 and collapses at 0.03, r = 1.005 learns at
0.0003 and collapses at 0.001 (`figures/rates.py`).
Radii are compared across lengths by r^T, what is left of a state after a whole sequence.
"""


def numbers(values: tuple) -> str:
    """Return numbers as text."""
    return ", ".join(f"{value:g}" for value in values)


def rows() -> str:
    """Return a row for every task at every scale."""
    lines = []
    for scale, tasks in SETTINGS.items():
        for settings in tasks.values():
            options = options_of("radius", 1.0, settings)
            base, _, smaller = settings.task.partition("/")
            side = {"scifar10": 32}.get(base, 28) // int(smaller or 1)
            steps = int(base[3:]) if base.startswith("add") else side * side
            cells = (
                scale,
                settings.task,
                steps,
                settings.n_iterations,
                settings.batch_size,
                options["momentum"],
                f"{settings.learning_rate:g}",
                "any" if settings.clip_norm is None else f"{settings.clip_norm:g}",
                settings.evaluate_every,
                settings.n_test_samples or "all",
                N_NETWORKS[scale],
            )
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def text() -> str:
    """Return the page."""
    settings = SETTINGS["quick"]["smnist"]
    exceptions = [
        f"η = {rate:g} for {value if isinstance(value, str) else f'r = {value:g}'} on {task}"
        for (task, value), rate in OWN_RATES.items()
    ]
    exceptions += [
        f"η = {rate:g} in the sweep {name} at the scale {scale}"
        for name, sweep in SWEEPS.items()
        for scale, rate in sweep.rate.items()
    ]
    return TEXT.format(
        hidden_size=settings.hidden_size,
        coupling=settings.coupling,
        radius=settings.radius,
        trainings=rows(),
        exceptions="; ".join(exceptions),
        quick_radii=numbers(QUICK_RADII),
        radii=numbers(RADII),
        quick_multiples=numbers(QUICK_MULTIPLES),
        multiples=numbers(MULTIPLES),
        around=SPREAD_AROUND,
        spreads=numbers(SPREADS),
        couplings=numbers(COUPLINGS),
        informed=", ".join(f"{name} from U({low:.4g}, {high:.4g})" for name, (low, high) in INFORMED.items()),
    )


def main(path: Path = ROOT / "docs" / "trainings.md") -> None:
    """Write the page."""
    written = text()
    with replacing(path) as temporary:
        temporary.write_text(written)


if __name__ == "__main__":
    main()
