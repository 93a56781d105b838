"""Draw Figure 6 of the paper: residuals inside the nonlinearity, types A and B.

    python figures/fig6.py

Best test score and iterations until minimal performance against (A) the radius r and (B) the frequency ω, on sMNIST, of
type A, h_t = σ(R h) + α σ(z), and type B, h_t = σ(R h + α z), an Elman network initialised as a weakly coupled one.
Dashed: critical radius; characteristic frequency of the images' rows and its harmonics.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from figures.drawing import STYLE, TWO_COLUMNS, Datasets, blank, lettered, run, scales, sweep
from figures.panels import against_parameter, mark_rows, networks, speeds_against_parameter, task_name
from lyapkit.plots.training import until_minimal_performance

KINDS = {"a": ("type A", "#0072B2"), "b": ("type B", "#D55E00")}
SWEEPS = ("radius", "frequency")
SOURCES = {f"{name}-{kind}": sweep("smnist", f"{name}-{kind}", "1 core hour") for name in SWEEPS for kind in KINDS}


def make(datasets: Datasets) -> Figure:
    """Return the figure of those of the datasets `SOURCES` that are there."""
    with plt.style.context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(TWO_COLUMNS, 4.2))
        for column, name in enumerate(SWEEPS):
            score, speed = axes[:, column]
            there = {kind: datasets[f"{name}-{kind}"] for kind in KINDS if f"{name}-{kind}" in datasets}
            for kind, ds in there.items():
                label, colour = KINDS[kind]
                against_parameter(score, ds["best_score"], ds["best_score"].attrs["long_name"], colour, label)
                speeds_against_parameter(speed, ds, colour, label)
                score.set_title(f"{task_name(ds)}, {networks(ds)}")
                if name == "frequency":
                    mark_rows((score, speed), ds)
            if there:
                score.legend()
            else:
                blank(score, SOURCES[f"{name}-a"])
                blank(speed, SOURCES[f"{name}-b"])
        lettered(list(axes[0]), "AB")
        figure.suptitle(f"Non-linear residuals ({scales(datasets)})")
    return figure


def numbers(datasets: Datasets) -> str:
    """Return what the figure says in numbers, as Markdown."""
    lines = ["| sweep | value | best score | iterations to MP |", "|---|---|---|---|"]
    for name, ds in datasets.items():
        dim = name.partition("-")[0]
        reached = until_minimal_performance(ds)
        for value in ds[dim].values:
            best = ds["best_score"].sel({dim: value})
            speed = float(reached.sel({dim: value}).mean())
            lines.append(f"| {name} | {value:.4g} | {float(best.mean()):.3f} ({int(best.count())}) | {speed:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run("fig6", SOURCES, make, __doc__, numbers)
