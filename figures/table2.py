"""Make Table 2 of the paper: architectures compared.

    python figures/table2.py

Best test score and iterations until minimal performance (MP) of every architecture on every task that has been run.
"""

from __future__ import annotations

from figures.drawing import Datasets, sweep
from figures.panels import task_name
from figures.table1 import score, speed
from figures.tabulating import Rows, run

SOURCES = {name: sweep(name, "architecture", "1.5 core hours") for name in ("smnist", "psmnist", "add100", "scifar10")}
NAMES = {
    "wcrnn": "WCRNN",
    "wcrnn-a": "WCRNN, type A",
    "wcrnn-b": "WCRNN, type B",
    "wcrnn-identity": "WCRNN without nonlinearity",
    "elman-residual": "Elman, identity residual",
    "lstm": "LSTM",
    "gru": "GRU",
    "ur-lstm": "UR-LSTM",
    "s4": "S4",
}


def make(datasets: Datasets) -> Rows:
    """Return the rows for those of the datasets `SOURCES` that are there."""
    rows = [["architecture"]]
    for ds in datasets.values():
        unit = "%" if ds.attrs["score"] == "accuracy" else "RMS"
        rows[0] += [f"{task_name(ds)} ({unit})", "iterations to MP"]
    for architecture, name in NAMES.items():
        row = [name]
        for ds in datasets.values():
            if architecture in ds["architecture"].values:
                one = ds.sel(architecture=architecture)
                row += [score(one, ds), speed(one)]
            else:
                row += ["not run", ""]
        rows.append(row)
    return rows


if __name__ == "__main__":
    run("table2", SOURCES, make, __doc__)
