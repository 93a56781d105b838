"""Gradient norms and eigenvalues as text."""

from __future__ import annotations

import xarray as xr


def decay_rate_table(ds: xr.Dataset) -> str:
    """Return measured and predicted decay rates of gradients as text."""
    lines = [ds.attrs["system"], f"{ds.sizes['sample']} samples of {ds.sizes['time']} steps", ""]
    for name, label in {
        "decay_rate": "measured",
        "averaged_decay_rate": "averaged Jacobian (first order)",
        "predicted_decay_rate": "residual alone (Eq. 15)",
    }.items():
        if name in ds:
            rate = f"{float(ds[name].mean()):+.5f} ± {float(ds[name].std('sample')):.5f}"
            lines.append(f"decay rate, {label:<32} {rate} nats per step of distance")
    return "\n".join(lines)


def eigenvalue_table(ds: xr.Dataset) -> str:
    """Return Hessian eigenvalues as a table."""
    lines = [
        f"{ds.attrs['system']}\nloss {ds.attrs['loss']:.5g} of {ds.attrs['n_samples']} samples, "
        f"{ds.attrs['n_parameters']} parameters: {ds.attrs['block']}\n\n rank    eigenvalue      residual"
    ]
    for rank in ds["eigenvalue"].values:
        one = ds.sel(eigenvalue=rank)
        note = "" if one["converged"] else "  not converged"
        lines.append(f"{rank:5d}  {float(one['hessian_eigenvalue']):12.5g}  {float(one['residual_norm']):12.2g}{note}")
    return "\n".join([*lines, "", "loss per squared parameter"])
