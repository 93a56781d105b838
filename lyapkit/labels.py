"""The units and long names of every variable of a spectrum, said once: `variable` and `index` make them into xarray's.

Other features name their own variables where they compute them; what several of them share stands here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

_RATE, _TIME = "nats per {time}", "{time}"

LABELS = {
    "lyapunov_exponent": (_RATE, "Lyapunov exponent"),
    "standard_error": (_RATE, "standard error of the Lyapunov exponent, along the trajectory"),
    "is_bound": ("1", "whether the exponent is only an upper bound, because rounding hid the direction"),
    "direction": ("1", "which vector of the first frame the exponent belongs to"),
    "log_growth": ("nats", "log|diag R|, growth between re-orthonormalisations"),
    "condition": ("1", "loss of orthogonality at the end of the interval"),
    "divergence_step": ("step", "step at which the trajectory diverged"),
    "n_steps": ("step", "steps that count"),
    "duration": (_TIME, "duration of the interval"),
    "end_time": (_TIME, "end of the interval"),
    "trajectory": ("1", "trajectory"),
    "exponent": ("1", "rank of the exponent"),
    "interval": ("1", "interval"),
    "covariant_vector": ("1", "covariant Lyapunov vector"),
    "expansion_rate": (_RATE, "expansion rate along the covariant vector"),
    "angle": ("rad", "angle between a covariant vector and the next"),
    "subspace_angle": ("rad", "smallest angle between the spaces that covariant vectors span"),
    "covariance_residual": ("1", "largest distance of a vector from the image of the one before, of largest growth"),
    "forward_residual": ("1", "sine of the angle between spaces from two random starts, at the first time"),
    "backward_residual": ("1", "sine of the angle between vectors from two random starts, at the last time"),
    "final_state": ("1", "state after the last step"),
    "final_frame": ("1", "orthonormal perturbations after the last step"),
    "next_state": ("1", "state one step later, with the last input once more"),
    "vector": ("1", "vector of the first frame"),
    "orbit": ("1", "state after the transient"),
    "orbit_step": ("1", "step after the transient"),
    "neighbour": ("1", "rank of the first of two neighbours"),
    "pair": ("1", "pair of spaces"),
    "state": ("1", "state variable"),
    "predicted_exponent": (_RATE, "log|eigenvalue| of the residual (Eq. 13)"),
    "averaged_exponent": (_RATE, "first-order prediction: of the averaged Jacobian"),
    "long_time_exponent": (_RATE, "first-order prediction, long time"),
    "fixed_time_exponent": (_RATE, "first-order prediction, fixed short time"),
    "certificate_lower": (_RATE, "no exponent lies below (Weyl)"),
    "certificate_upper": (_RATE, "no exponent lies above (Weyl)"),
    "perturbation_norm": ("1", "norm αβ of what the coupling adds to R"),
    "largest_deviation": (_RATE, "largest |exponent − prediction|"),
    "mean_deviation": (_RATE, "mean |exponent − prediction|"),
    "running_deviation": (_RATE, "largest |running exponent − prediction|"),
    "variational_deviation": ("1", "‖V_T − R^T‖ / ‖R^T‖"),
    "singular_exponent": (_RATE, "log(singular value of V_T)/T"),
    "time": (_TIME, "T"),
    "kaplan_yorke_dimension": ("1", "Kaplan–Yorke dimension"),
    "entropy_rate": (_RATE, "sum of the positive exponents"),
    "n_exponents": ("1", "number of exponents"),
    "model": ("1", "model"),
}

Variable = tuple[tuple[str, ...], np.ndarray, dict[str, str]]


def attributes(name: str, time_unit: str = "step") -> dict[str, str]:
    """Return the attributes `units` and `long_name` of a variable; times are counted in `time_unit`."""
    units, long_name = LABELS[name]
    return {"units": units.format(time=time_unit), "long_name": long_name}


def variable(name: str, dims: Sequence[str], values: np.ndarray, time_unit: str = "step") -> dict[str, Variable]:
    """Return a variable with its label, {name: (dims, values, attributes)}."""
    return {name: (tuple(dims), values, attributes(name, time_unit))}


def swept_parameters(ds: xr.Dataset) -> list[str]:
    """Return the parameters that a sweep's dataset has as dimensions; netCDF makes text of a list of one."""
    swept = ds.attrs["swept"]
    return [swept] if isinstance(swept, str) else list(swept)


def cells_of_sweep(ds: xr.Dataset) -> tuple[list[str], xr.Dataset]:
    """Return along which parameters a sweep, or a part of one, still varies, and the sweep; of one cell, the first."""
    swept = swept_parameters(ds)
    names = [name for name in swept if name in ds.dims]
    return (names, ds) if names else (swept[:1], ds.expand_dims(swept[0]))


def eigenvalue_variable(ds: xr.Dataset) -> str:
    """Return the name of a dataset's eigenvalues: of the Hessian, or of its Gauss–Newton part."""
    return "hessian_eigenvalue" if "hessian_eigenvalue" in ds else "ggn_eigenvalue"


def index(dim: str, size: int, first: int = 0) -> dict[str, Variable]:
    """Return the coordinate of a dimension that counts from `first`, with its label."""
    return variable(dim, (dim,), np.arange(first, first + size))


def counted(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun; the plural has an s, if no other is given."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"
