"""Covariant vectors as text."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from lyapkit.covariant_dataset import CONVERGED, open_angles
from lyapkit.given_datasets import takes
from lyapkit.labels import counted
from lyapkit.tables.layout import shown_rows
from lyapkit.tables.numbers import number


@takes("covariant_vector", of="covariant_vectors")
def covariant_table(ds: xr.Dataset) -> str:
    """Return a table of covariant vectors: rate, angle to the next, participation, and how far each converged.

    Participation is 1 / Σ pᵢ² of the mean squared components pᵢ: how many state variables carry the direction.

    Examples
    --------
    >>> import lyapkit as lk
    >>> henon = lk.classical.henon()
    >>> ds = lk.covariant_vectors(henon, n_steps=200, n_transient=100, n_backward_transient=100)
    >>> print(lk.covariant_table(ds).splitlines()[1])
    1 trajectory, 200 steps, exponents in nats per step
    """
    shares = (ds["covariant_vector"].astype(float) ** 2).mean(["trajectory", "time"])
    participation = (1 / (shares**2).sum("state")).where(shares.notnull().all("state")).values
    exponents = ds["lyapunov_exponent"].mean("trajectory", skipna=True).values
    smallest = np.degrees(ds["angle"].min(["trajectory", "time"]).values)
    residual = open_angles(ds).values
    n_trajectories, unit = ds.sizes["trajectory"], ds["lyapunov_exponent"].attrs["units"]
    lines = [
        ds.attrs["system"],
        f"{counted(n_trajectories, 'trajectory', 'trajectories')}, {ds.sizes['time']} steps, exponents in {unit}",
        "",
        f"{'rank':>5} {'exponent':>13} {'smallest angle':>16} {'participation':>14} {'not converged':>14}",
        f"{'':>5} {'':>13} {'to the next':>16} {'of variables':>14} {'sine of angle':>14}",
    ]
    for row in shown_rows(len(exponents)):
        if row is None:
            lines.append(f"{'…':>5}")
            continue
        angle = f"{smallest[row]:.3g}°" if row < len(smallest) and not math.isnan(smallest[row]) else "–"
        part = f"{participation[row]:.1f}"
        lines.append(f"{row + 1:>5} {number(exponents[row]):>13} {angle:>16} {part:>14} {residual[row]:>14.1e}")
    lines.append("")
    for pair in ds["pair"].values if "pair" in ds.coords else ():
        angles = np.degrees(ds["subspace_angle"].sel(pair=pair))
        lines.append(f"angle between {pair}: from {float(angles.min()):.3g}° to {float(angles.max()):.3g}°")
    lines.append(
        f"{int((residual < CONVERGED).sum())} of {len(residual)} vectors converged to {CONVERGED:g}; covariant to "
        f"{float(ds['covariance_residual'].max()):.1e} of the largest growth"
    )
    if n_diverged := int(ds["divergence_step"].notnull().sum()):
        lines.append(f"{n_diverged} of {n_trajectories} trajectories diverged and are left out")
    return "\n".join(lines)
