"""Covariant vectors as text."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from lyapkit.covariant.dataset import CONVERGED, open_angles
from lyapkit.given_datasets import takes
from lyapkit.labels import counted
from lyapkit.statistics import upper_bounds
from lyapkit.tables.layout import Columns, aligned
from lyapkit.tables.numbers import number


@takes("covariant_vector", of="covariant_vectors", leading=True)
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
    bounds = np.logical_or.reduce(upper_bounds(ds).reshape(-1, len(exponents)))
    smallest = np.degrees(ds["angle"].min(["trajectory", "time"]).values)
    residual = open_angles(ds).values
    n_trajectories, unit = ds.sizes["trajectory"], ds["lyapunov_exponent"].attrs["units"]
    columns: Columns = {
        ("rank", ""): ds["exponent"].values,
        ("exponent", ""): [*map(number, exponents, bounds)],
        ("smallest angle", "to the next"): [
            f"{angle:.3g}°" if angle == angle else "–" for angle in [*smallest[: len(exponents) - 1], math.nan]
        ],
        ("participation", "of variables"): [f"{of:.1f}" for of in participation],
        ("not converged", "sine of angle"): [f"{sine:.1e}" for sine in residual],
    }
    lines = [
        ds.attrs["system"],
        f"{counted(n_trajectories, 'trajectory', 'trajectories')}, {ds.sizes['time']} steps, exponents in {unit}",
        "",
        aligned(columns),
        "",
    ]
    for pair in ds["pair"].values if "pair" in ds.coords else ():
        angles = np.degrees(ds["subspace_angle"].sel(pair=pair))
        lines.append(f"angle between {pair}: from {float(angles.min()):.3g}° to {float(angles.max()):.3g}°")
    lines.append(
        f"{int((residual < CONVERGED).sum())} of {len(residual)} vectors converged to {CONVERGED:g}; covariant to "
        f"{float(ds['covariance_residual'].max()):.1e} of the largest growth"
    )
    if bounds.any():
        lines.append("≤ marks upper bounds: rounding hid these directions in some steps")
    if n_diverged := int(ds["divergence_step"].notnull().sum()):
        lines.append(f"{n_diverged} of {n_trajectories} trajectories diverged and are left out")
    return "\n".join(lines)
