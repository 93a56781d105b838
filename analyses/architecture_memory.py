"""Compute the leading Lyapunov exponents of all architectures before training, into data/architecture_memory.nc.

    python analyses/architecture_memory.py    # half a minute

Along test samples of the tasks of Table 2, as they are at the scale quick: how long the networks that
`expressivity.py` trains remember before they have learnt anything.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from tqdm import tqdm

import lyapkit as lk
from analyses.grid import SETTINGS, build, cached_task, settings_of
from lyapkit.models import ARCHITECTURES
from lyapkit.provenance import provenance

ROOT = Path(__file__).resolve().parent.parent
TASKS = ("smnist", "psmnist", "scifar10", "add100")
SCALE, N_NETWORKS, N_SAMPLES, N_EXPONENTS = "quick", 3, 20, 5


def compute(task_name: str, architecture: str, network: int) -> xr.DataArray:
    """Return the leading exponents of a network before training, means over test samples, (exponent,)."""
    settings = settings_of(SCALE, task_name, "architecture")
    inputs = cached_task(settings.task).test_samples(N_SAMPLES)[0].astype(np.float64)
    model = build("architecture", architecture, network, settings)
    ds = lk.lyapunov_spectrum(model, inputs, n_exponents=N_EXPONENTS)
    return lk.ensemble_mean(ds)["lyapunov_exponent"]


def main() -> None:
    """Compute and write."""
    cells = [(name, one, network) for name in TASKS for one in ARCHITECTURES for network in range(N_NETWORKS)]
    found = [compute(*cell) for cell in tqdm(cells, unit="network")]
    exponents = np.stack(found).reshape(len(TASKS), len(ARCHITECTURES), N_NETWORKS, N_EXPONENTS)
    ds = xr.Dataset(
        {"lyapunov_exponent": (("task", "architecture", "network", "exponent"), exponents, found[0].attrs)},
        {
            "task": ("task", list(TASKS), {"units": "1", "long_name": "task"}),
            "architecture": ("architecture", list(ARCHITECTURES), {"units": "1", "long_name": "architecture"}),
            "network": ("network", np.arange(N_NETWORKS), {"units": "1", "long_name": "weight seed"}),
            "exponent": found[0]["exponent"],
            "n_steps": ("task", [cached_task(SETTINGS[SCALE][name].task).n_steps for name in TASKS]),
        },
    )
    ds["n_steps"].attrs = {"units": "step", "long_name": "length of the sequences"}
    ds.attrs = provenance(n_samples=N_SAMPLES, n_exponents=N_EXPONENTS) | {
        "title": "Leading Lyapunov exponents of architectures before training",
        "command": "python analyses/architecture_memory.py",
        "scale": SCALE,
        "references": "Dubinin & Effenberger 2024, Section 4.4 and Table 2",
    }
    path = lk.save(ds, ROOT / "data" / "architecture_memory.nc")
    largest = ds["lyapunov_exponent"].sel(exponent=1).mean("network")
    print(f"{path.name}: largest exponents before training, nats per step, by architecture and task")
    print(largest.transpose("architecture", "task").to_pandas().round(4).to_string())


if __name__ == "__main__":
    main()
