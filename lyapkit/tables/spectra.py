"""Spectra as text."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from lyapkit.given_datasets import of_its_step, takes
from lyapkit.labels import counted
from lyapkit.statistics import ensemble_mean, entropy_rate, kaplan_yorke_dimension, memory_timescale, upper_bounds
from lyapkit.tables.layout import Columns, aligned
from lyapkit.tables.numbers import mean_text, memories, number, short_unit


@takes("lyapunov_exponent", of="lyapunov_spectrum", single=True, leading=True)
def spectrum_table(ds: xr.Dataset, verbose: bool = False) -> str:
    """Return a spectrum as a table: mean over trajectories, standard error, memory timescale and range per exponent.

    Of long spectra the first and last exponents are shown, and some in between. What is only an upper bound has "≤"
    directly before the number, and lines at the end say what was lost, and why. With `verbose` a line says how often
    perturbations were re-orthonormalised, and how ill-conditioned they had become by then.

    Of what `ensemble_mean` returned there are means, errors and memory timescales.

    Examples
    --------
    >>> import lyapkit as lk
    >>> ds = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=1000, n_transient=100)
    >>> print(lk.spectrum_table(ds).splitlines()[0])
    Hénon map (a=1.4, b=0.3)
    """
    ds = of_its_step(ds)
    if "trajectory" not in ds.dims:
        return _table_of_mean(ds)
    mean = ensemble_mean(ds)
    exponents, bounds = ds["lyapunov_exponent"].values, upper_bounds(ds)
    k = exponents.shape[1]
    unit = ds["end_time"].attrs["units"]
    extents = [_extent(exponents[:, rank], bounds[:, rank]) for rank in range(k)]
    columns = _columns_of_mean(mean, unit) | {
        ("smallest", "trajectory"): [smallest for smallest, _ in extents],
        ("largest", "trajectory"): [largest for _, largest in extents],
    }
    lines = [
        ds.attrs["system"],
        f"{counted(ds.sizes['trajectory'], 'trajectory', 'trajectories')} of {_lengths(ds)} "
        f"{'steps' if unit == 'step' else 'units of time'}, {counted(k, 'exponent')}",
        "",
        aligned(columns),
        "",
        f"Kaplan–Yorke dimension {mean_text(kaplan_yorke_dimension(ds))}, "
        f"entropy rate {mean_text(entropy_rate(ds))} nats per {unit}",
    ]
    internals = (
        f"{ds.attrs['n_reorthonormalizations']} re-orthonormalisations, {ds.attrs['n_reconditionings']} factorisations "
        f"between them, worst condition {ds.attrs['worst_condition']:.1e}"
    )
    return "\n".join(lines + ([internals] if verbose else []) + _losses(ds, mean))


def _table_of_mean(mean: xr.Dataset) -> str:
    """Return a mean spectrum as a table."""
    unit = mean["lyapunov_exponent"].attrs["units"].removeprefix("nats per ")
    averaged = counted(int(mean["n_trajectories"].max()), "trajectory", "trajectories")
    table = aligned(_columns_of_mean(mean, unit))
    return (
        f"{mean.attrs.get('system', '')}\nmean of {averaged}, {counted(mean.sizes['exponent'], 'exponent')}\n\n{table}"
    )


def _columns_of_mean(mean: xr.Dataset, unit: str) -> Columns:
    """Return rank, exponent, standard error and memory of a mean spectrum."""
    exponents, bounds, memory = mean["lyapunov_exponent"].values, upper_bounds(mean), memory_timescale(mean).values
    return {
        ("rank", ""): [str(rank) for rank in mean["exponent"].values],
        ("exponent", f"nats/{short_unit(unit)}"): [*map(number, exponents, bounds)],
        ("std. error", ""): [*map(number, mean["standard_error"].values)],
        ("memory", f"{short_unit(unit)}s"): memories(memory, bounds),
    }


def _lengths(ds: xr.Dataset) -> str:
    """Return how long trajectories are, all of them or from the shortest to the longest."""
    ends = np.atleast_1d(np.nanmax(ds["end_time"].values, axis=-1))
    return f"{ends.min():.10g}" if ends.min() == ends.max() else f"{ends.min():.10g} to {ends.max():.10g}"


def _extent(exponents: np.ndarray, bounds: np.ndarray) -> tuple[str, str]:
    """Return the smallest and the largest of the trajectories' exponents.

    Any of those that are bounds may in truth be the smallest. The largest is known if one that is no bound reaches it.
    """
    valid = ~np.isnan(exponents)
    if not valid.any():
        return number(math.nan), number(math.nan)
    exponents, bounds = exponents[valid], bounds[valid]
    largest = exponents.max()
    return number(exponents.min(), bool(bounds.any())), number(largest, bool(bounds[exponents == largest].all()))


def _losses(ds: xr.Dataset, mean: xr.Dataset) -> list[str]:
    """Return what a spectrum does not know, a line each: trajectories left out, exponents −inf, upper bounds."""
    n_trajectories, exponents = ds.sizes["trajectory"], ds["lyapunov_exponent"].values
    n_diverged = int(ds["divergence_step"].notnull().sum())
    lines = []
    if n_diverged:
        verb = "is" if n_diverged == 1 else "are"
        lines.append(f"{n_diverged} of {n_trajectories} trajectories diverged and {verb} left out")
    further = mean["n_left_out"].values - n_diverged
    if (further > 0).any():
        ranks, most = mean["exponent"].values[further > 0], further.max()
        means = f"mean of exponent {ranks[0]} leaves out"
        if len(ranks) > 1:
            means = f"means of exponents {ranks[0]} to {ranks[-1]} leave out up to"
        lines.append(
            f"the {means} {most} {'other ' if n_diverged else ''}of {n_trajectories} trajectories, whose exponents are "
            "not known (NaN)"
        )
    if n_dead := int(np.isneginf(exponents).sum()):
        whose = "belongs to a direction that was" if n_dead == 1 else "belong to directions that were"
        lines.append(f"{n_dead} of {exponents.size} exponents {whose} mapped to zero exactly: −inf")
    if n_bounds := int(upper_bounds(ds).sum()):
        bounds = "is an upper bound" if n_bounds == 1 else "are upper bounds"
        lines.append(
            f"{n_bounds} of {exponents.size} exponents {bounds} (≤): rounding hid the direction; float64 or "
            "inputs of a smaller scale resolve more"
        )
    return lines
