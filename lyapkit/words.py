"""`in_words`: what a dataset says, in one plain sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import xarray as xr

from lyapkit.comparison import as_comparison
from lyapkit.covariant.dataset import CONVERGED, open_angles
from lyapkit.given_datasets import check_leading, described, of_last_step
from lyapkit.labels import cells_of_sweep, counted, eigenvalue_variable
from lyapkit.statistics import ensemble_mean, upper_bounds
from lyapkit.tables.numbers import exponent_with_error, with_error

CLEAR = 2.0  # standard errors by which a number differs from 0


def in_words(ds: xr.Dataset) -> str:
    """Return what a dataset says, in one plain sentence or two.

    Parameters
    ----------
    ds : xarray.Dataset
        A spectrum, covariant vectors, a comparison, a sweep, a validation of Eq. 13, gradient norms, eigenvalues or
        the metrics of a training, as lyapkit's functions return them.

    Raises
    ------
    ValueError
        If it is something else.

    Examples
    --------
    >>> import lyapkit as lk
    >>> lk.in_words(lk.lyapunov_spectrum(lk.classical.henon(), n_steps=10_000))  # doctest: +ELLIPSIS
    'Perturbations grow in one direction: λ₁ = 0.4... nats per step, twice as large after 1.6... steps...'
    """
    if isinstance(ds, xr.Dataset):
        check_leading(ds, "in_words")
        for name, words in _WORDS.items():
            if name in ds:
                one, which = of_last_step(ds)
                return f"At {which}: {words(one)}" if which else words(one)
        if "lyapunov_exponent" in ds:
            return _of_comparison(as_comparison(ds, "in_words")) if "step" in ds.dims else _of_spectrum(ds)
    raise ValueError(f"in_words got {described(ds)}, expected a spectrum or another dataset of lyapkit's functions")


def _of_spectrum(ds: xr.Dataset) -> str:
    mean = ensemble_mean(ds) if "trajectory" in ds.dims else ds
    unit = mean["lyapunov_exponent"].attrs["units"].removeprefix("nats per ")
    times = "steps" if unit == "step" else "units of time"
    value, error = float(mean["lyapunov_exponent"][0]), float(mean["standard_error"][0])
    number = f"λ₁ = {exponent_with_error(mean, 0)} nats per {unit}"
    if math.isnan(value):
        return "The largest exponent is not known."
    if value == -math.inf:
        return "All perturbations are mapped to zero exactly: nothing is remembered."
    if upper_bounds(mean)[0]:
        return f"Of the largest exponent only an upper bound is known, {value:.3g} nats per {unit}."
    if math.isnan(error):
        doubt = "; the run is too short for an error"
        error = 0.0
    else:
        doubt = ""
    if value > CLEAR * error:
        values, errors = mean["lyapunov_exponent"].values, mean["standard_error"].fillna(0.0).values
        n_growing = int((values > CLEAR * errors).sum())
        directions = "one direction" if n_growing == 1 else f"{n_growing} directions"
        return (
            f"Perturbations grow in {directions}: {number}, twice as large after {math.log(2) / value:.3g} {times}"
            f"{doubt}. On a trajectory that stays bounded this is chaos."
        )
    if value < -CLEAR * error:
        return f"All directions fade: {number}; the slowest memory is {-1 / value:.3g} {times}{doubt}."
    return f"The largest exponent cannot be told from 0: {number}, as at the edge of chaos, or on a closed orbit."


def _of_comparison(ds: xr.Dataset) -> str:
    known = ds.isel(exponent=0).dropna("model", subset=["lyapunov_exponent"])
    if not known.sizes["model"]:
        return "No largest exponent is known."
    exponents, errors = known["lyapunov_exponent"].values, known["standard_error"].fillna(0.0).values
    first, last = int(exponents.argmax()), int(exponents.argmin())
    if first == last:
        return f"Of {known['model'].values[first]} alone the largest exponent is known."

    def shown(place: int) -> str:
        bound = bool(known["is_bound"].values[place])
        return f"{known['model'].values[place]} (λ₁ = {with_error(exponents[place], errors[place], bound)})"

    unit = ds.attrs["time_unit"]
    both = f"Perturbations last longest in {shown(first)} and shortest in {shown(last)}, in nats per {unit}"
    if exponents[first] - exponents[last] <= CLEAR * math.hypot(errors[first], errors[last]):
        return f"{both}; the two cannot be told apart."
    return f"{both}."


def _of_sweep(ds: xr.Dataset) -> str:
    names, ds = cells_of_sweep(ds)
    cells = ds[["lyapunov_exponent", "standard_error"]].isel(exponent=0).stack(cell=names)
    exponents = cells["lyapunov_exponent"].mean("trajectory").values
    n_trajectories = cells["lyapunov_exponent"].notnull().sum("trajectory").clip(min=1)
    errors = (cells["standard_error"] ** 2).sum("trajectory").values ** 0.5 / n_trajectories.values
    known = ~np.isnan(exponents)
    if not known.any():
        return "No largest exponent is known."
    n_growing = int((exponents > CLEAR * errors)[known].sum())
    best = int(np.nanargmax(exponents))
    place = ", ".join(f"{name} = {float(cells[name].values[best]):.6g}" for name in names)
    of = f"{n_growing} of {counted(int(known.sum()), 'value')}"
    return (
        f"The largest exponent is clearly above 0 at {of}; it is highest at {place}, "
        f"{exponents[best]:.4g} {ds['lyapunov_exponent'].attrs['units']}."
    )


def _of_covariant_vectors(ds: xr.Dataset) -> str:
    if "angle" not in ds or not ds.sizes.get("neighbour") or not bool(ds["angle"].notnull().any()):
        return "There are no angles between vectors."
    closest = np.degrees(ds["angle"].min(["trajectory", "time"]).values)
    pair = int(np.nanargmin(closest))
    residual = open_angles(ds)
    n_lost = int((residual >= CONVERGED).sum())
    doubt = f" But {n_lost} of {residual.size} vectors did not converge: run longer." if n_lost else ""
    return (
        f"Of neighbouring directions, those of exponents {pair + 1} and {pair + 2} come closest, to "
        f"{closest[pair]:.3g}°; at 0° they would be tangent.{doubt}"
    )


def _of_gradients(ds: xr.Dataset) -> str:
    rates = ds["decay_rate"].dropna("sample").values
    if not rates.size:
        return "No gradient reaches back through the sequence."
    rate = float(rates.mean())
    error = float(rates.std(ddof=1) / math.sqrt(rates.size)) if rates.size > 1 else math.nan
    number = f"{with_error(abs(rate), error)} nats per step of distance from the end"
    if abs(rate) <= CLEAR * (0.0 if math.isnan(error) else error):
        return f"On their way back gradients neither fade nor grow clearly: {with_error(rate, error)} nats per step."
    fold = f"a factor e in {1 / abs(rate):.3g} steps"
    return f"On their way back gradients {'grow' if rate > 0 else 'fade'} by {number}, {fold}."


def _of_eigenvalues(ds: xr.Dataset) -> str:
    values = ds[eigenvalue_variable(ds)].dropna("eigenvalue").values
    if not values.size:
        return "No eigenvalue is known."
    which = json.loads(ds.attrs.get("parameters", "{}")).get("which", "magnitude")
    largest, smallest = float(values.max()), float(values.min())
    if which == "smallest" or (-smallest > max(largest, 0.0) and which != "largest"):
        if smallest >= 0:
            return f"No curvature is negative: the smallest is {smallest:.4g}."
        kind = "smallest" if which == "smallest" else "strongest"
        return (
            f"The {kind} curvature is negative, {smallest:.4g}: the loss falls off on both sides along that direction, "
            "so the weights are at no minimum."
        )
    if largest > 0:
        return (
            f"The largest curvature is {largest:.4g}: gradient descent is stable up to a learning rate of "
            f"{2 / largest:.3g}, with momentum μ up to 1 + μ times that."
        )
    return "No curvature is positive: the weights are at no minimum." if largest < 0 else "All curvatures are zero."


def _of_training(ds: xr.Dataset) -> str:
    first = ds["iterations_to_minimal_performance"].dropna("network").values
    n_networks, best = ds.sizes["network"], ds["best_score"].values
    best = best[np.isfinite(best)]
    reached = "no network" if not first.size else counted(first.size, "network")
    when = f", the first after {counted(int(first.min()), 'iteration')}" if first.size else ""
    if not best.size:
        return f"Of {counted(n_networks, 'network')} all diverged."
    extent = f"{best.min():.4g}" if best.min() == best.max() else f"from {best.min():.4g} to {best.max():.4g}"
    of = f" of {n_networks}" if n_networks > first.size > 0 else ""
    return f"{reached.capitalize()}{of} reached minimal performance{when}; best test {ds.attrs['score']} {extent}."


_WORDS: dict[str, Callable[[xr.Dataset], str]] = {  # variable that tells a dataset, to what it says
    "predicted_exponent": lambda ds: ds.attrs["verdict"],
    "model": _of_comparison,
    "remark": _of_sweep,
    "test_score": _of_training,
    "covariant_vector": _of_covariant_vectors,
    "gradient_norm": _of_gradients,
    "hessian_eigenvalue": _of_eigenvalues,
    "ggn_eigenvalue": _of_eigenvalues,
}
