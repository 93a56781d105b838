"""`compare`: the mean spectra of several networks, side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping

import numpy as np
import xarray as xr

from lyapkit.given_datasets import check_leading, described
from lyapkit.labels import index, variable
from lyapkit.provenance import provenance
from lyapkit.statistics import ensemble_mean, entropy_rate, kaplan_yorke_dimension, upper_bounds


def compare(spectra: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Return the mean spectra of several systems in one dataset, with a dimension `model`.

    Parameters
    ----------
    spectra : mapping
        Name to what `lyapunov_spectrum` returned. They may differ in the number of exponents and trajectories.

    Returns
    -------
    xarray.Dataset
        `lyapunov_exponent` and `standard_error` (model, exponent), means over each model's trajectories in nats per
        step or unit of time, NaN behind a model's last exponent; `is_bound` (model, exponent), upper bounds;
        `kaplan_yorke_dimension` and `entropy_rate` (model,), means over those trajectories of which they are known.

    Raises
    ------
    ValueError
        If there are no spectra, something else is among them, or some are per step and others per unit of time.

    Examples
    --------
    >>> import lyapkit as lk
    >>> maps = {f"a = {a}": lk.classical.henon(a) for a in (1.2, 1.4)}
    >>> ds = lk.compare({name: lk.lyapunov_spectrum(map, n_steps=200) for name, map in maps.items()})
    >>> ds.lyapunov_exponent.shape
    (2, 2)
    """
    if not isinstance(spectra, Mapping):
        raise ValueError(f"compare takes a mapping of names to spectra, got {type(spectra).__name__}")
    if not spectra:
        raise ValueError("there are no spectra to compare: give a mapping of names to what lyapunov_spectrum returned")
    for name, ds in spectra.items():
        _require_spectrum(ds, f"compare got for {name!r}")
        check_leading(ds, "compare")
    units = {ds["end_time"].attrs["units"] for ds in spectra.values()}
    if len(units) > 1:
        raise ValueError(f"spectra per {' and per '.join(sorted(units))} cannot be compared: are some of them flows?")
    means = [ensemble_mean(ds) for ds in spectra.values()]
    k = max(mean.sizes["exponent"] for mean in means)
    unit = units.pop()

    def padded(rows: Iterable[np.ndarray], missing: float | bool) -> np.ndarray:
        whole = np.full((len(means), k), missing)
        for place, row in zip(whole, rows, strict=True):
            place[: len(row)] = row
        return whole

    exponents, errors = (
        padded((mean[name].values for mean in means), math.nan) for name in ("lyapunov_exponent", "standard_error")
    )

    def over_trajectories(quantity: xr.DataArray) -> float:
        return float(quantity.mean()) if bool(quantity.notnull().any()) else math.nan

    dimensions = [over_trajectories(kaplan_yorke_dimension(ds)) for ds in spectra.values()]
    rates = [over_trajectories(entropy_rate(ds)) for ds in spectra.values()]
    systems = {name: ds.attrs.get("system", "") for name, ds in spectra.items()}
    return xr.Dataset(
        variable("lyapunov_exponent", ("model", "exponent"), exponents, unit)
        | variable("standard_error", ("model", "exponent"), errors, unit)
        | variable("is_bound", ("model", "exponent"), padded(map(upper_bounds, means), False))
        | variable("kaplan_yorke_dimension", ("model",), np.array(dimensions))
        | variable("entropy_rate", ("model",), np.array(rates), unit)
        | variable("n_exponents", ("model",), np.array([mean.sizes["exponent"] for mean in means])),
        coords=index("exponent", k, first=1) | variable("model", ("model",), np.array(list(spectra))),
        attrs=provenance() | {"systems": json.dumps(systems), "time_unit": unit},
    )


def as_comparison(ds: xr.Dataset, function: str) -> xr.Dataset:
    """Return a dataset of `compare`, or spectra of several checkpoints as one; raises ValueError if it is another."""
    if isinstance(ds, xr.Dataset):
        check_leading(ds, function)
    held = ds if isinstance(ds, xr.Dataset) and "lyapunov_exponent" in ds else None
    if held is not None and "step" in held.dims:
        return compare({f"step {step}": held.sel(step=step) for step in held["step"].values.tolist()})
    if held is None or "model" not in held.dims:
        raise ValueError(f"{function} got {described(ds)}, expected what lyapkit.compare returns")
    return held


def _require_spectrum(ds: object, what: str) -> None:
    if not isinstance(ds, xr.Dataset) or "lyapunov_exponent" not in ds or "trajectory" not in ds.dims:
        raise ValueError(f"{what} {described(ds)}, expected a spectrum, as lyapunov_spectrum returns")
