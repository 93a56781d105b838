"""`over_training`: the same analysis of a series of checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import xarray as xr
from torch import nn

from lyapkit.given_datasets import OF_STEPS
from lyapkit.models.checkpoint import load_network


def over_training(
    analysis: Callable[..., xr.Dataset],
    checkpoints: Mapping[int, nn.Module | str | Path],
    *arguments: object,
    nonlinearity: str | None = None,
    load: Callable[..., nn.Module] = load_network,
    **options: Any,
) -> xr.Dataset:
    """Return an analysis of a network at several steps of its training, along a dimension `step`.

    Parameters
    ----------
    analysis : callable
        ``analysis(model, *arguments, **options)`` that returns a dataset: `gradient_norms`, `hessian_eigenvalues`,
        `ggn_eigenvalues`, `learning_rate_modulation`, `lyapunov_spectrum`, …
    checkpoints : mapping
        Training step to model, or to the path of a checkpoint.
    *arguments, **options
        Inputs, targets, loss, and so on, the same for all.
    nonlinearity : "tanh" or "relu", optional
        Of Elman networks in files that do not tell.
    load : callable
        What makes a model of a path. Default: `load_network`; `load_system` for the spectra of files without a readout.

    Returns
    -------
    xarray.Dataset
        The variables of the analysis with a dimension `step`, ascending; attributes are those of the last step,
        and `attributes_of_steps` (JSON) says those that differ between steps, which tables and sentences go by.

    Raises
    ------
    ValueError
        If there are no checkpoints.

    Examples
    --------
    >>> import lyapkit as lk
    >>> networks = {step: lk.build_network("lstm", 1, 4, 10, seed=step) for step in (0, 10)}
    >>> inputs, labels = lk.task("digits").test_samples(20)
    >>> ds = lk.over_training(lk.lyapunov_spectrum, networks, inputs[:2])
    >>> ds.lyapunov_exponent.dims
    ('step', 'trajectory', 'exponent')
    """
    if not isinstance(checkpoints, Mapping):
        raise ValueError(
            f"over_training takes a mapping of training steps to models or paths, got {type(checkpoints).__name__}"
        )
    if not checkpoints:
        raise ValueError("there are no checkpoints: give a mapping of training steps to models or paths")
    steps = sorted(checkpoints)
    results = []
    for step in steps:
        model = checkpoints[step]
        if isinstance(model, str | Path):
            model = load(model, **({} if nonlinearity is None else {"nonlinearity": nonlinearity}))
        results.append(analysis(model, *arguments, **options))
    ds = xr.concat(results, dim="step", data_vars="all", join="outer", combine_attrs="override")
    ds.attrs = results[-1].attrs
    of_steps = {
        name: [result.attrs.get(name) for result in results]
        for name, last in results[-1].attrs.items()
        if any(result.attrs.get(name) != last for result in results)
    }
    if of_steps:
        ds.attrs = ds.attrs | {OF_STEPS: json.dumps({"step": steps, **of_steps}, default=str)}
    return ds.assign_coords(step=("step", steps, {"units": "1", "long_name": "training step"}))
