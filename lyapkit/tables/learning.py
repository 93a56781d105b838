"""Gradient norms and eigenvalues as text."""

from __future__ import annotations

import xarray as xr

from lyapkit.labels import eigenvalue_variable
from lyapkit.tables.layout import Columns, aligned
from lyapkit.tables.numbers import number

DECAY_RATES = {
    "decay_rate": "measured",
    "averaged_decay_rate": "averaged Jacobian (first order)",
    "predicted_decay_rate": "residual alone (Eq. 15)",
}


def decay_rate_table(ds: xr.Dataset) -> str:
    """Return measured and predicted decay rates of gradients as text, mean and standard deviation over samples."""
    known = [name for name in DECAY_RATES if name in ds]
    columns: Columns = {
        ("mean", ""): [number(float(ds[name].mean())) for name in known],
        ("SD", ""): [
            number(float(ds[name].std("sample", ddof=1))) if ds.sizes["sample"] > 1 else "–" for name in known
        ],
    }
    return (
        f"{ds.attrs['system']}\n{ds.sizes['sample']} samples of {ds.sizes['time']} steps, "
        "decay rates in nats per step of distance\n\n"
        f"{aligned(columns, names=('', [DECAY_RATES[name] for name in known]))}"
    )


def eigenvalue_table(ds: xr.Dataset) -> str:
    """Return eigenvalues of the Hessian or the GGN as a table; those that were computed directly have no residuals."""
    columns: Columns = {
        ("rank", ""): ds["eigenvalue"].values,
        ("eigenvalue", ""): [f"{value:.5g}" for value in ds[eigenvalue_variable(ds)].values],
    }
    if "residual_norm" in ds:
        columns["residual", ""] = [f"{value:.2g}" for value in ds["residual_norm"].values]
        columns["", ""] = ["" if converged else "not converged" for converged in ds["converged"].values]
    return (
        f"{ds.attrs['system']}\nloss {ds.attrs['loss']:.5g} of {ds.attrs['n_samples']} samples, "
        f"{ds.attrs['n_parameters']} parameters: {ds.attrs['block']}\n"
        f"eigenvalues in loss per squared parameter\n\n{aligned(columns)}"
    )
