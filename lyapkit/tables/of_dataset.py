"""`table`: whatever a dataset holds, as text."""

from __future__ import annotations

from collections.abc import Callable

import xarray as xr

from lyapkit.given_datasets import check_whole, described, of_last_step
from lyapkit.tables.comparisons import comparison_table
from lyapkit.tables.covariant import covariant_table
from lyapkit.tables.learning import decay_rate_table, eigenvalue_table
from lyapkit.tables.spectra import spectrum_table
from lyapkit.tables.sweeps import sweep_table
from lyapkit.tables.trainings import training_table

_TABLES: dict[str, Callable[[xr.Dataset], str]] = {  # variable that tells a dataset, to its table
    "log_growth": spectrum_table,
    "model": comparison_table,
    "remark": sweep_table,
    "test_score": training_table,
    "covariant_vector": covariant_table,
    "gradient_norm": decay_rate_table,
    "hessian_eigenvalue": eigenvalue_table,
    "ggn_eigenvalue": eigenvalue_table,
}


def table(ds: xr.Dataset) -> str:
    """Return a dataset as a table, with units; `in_words` says in a sentence what it means.

    Parameters
    ----------
    ds : xarray.Dataset
        A spectrum, covariant vectors, a comparison, a sweep, gradient norms, eigenvalues or the metrics of a training,
        as lyapkit's functions return them; and means and spectra of several checkpoints, as `ensemble_mean` and
        `over_training` do.

    Raises
    ------
    ValueError
        If it is something else.

    Examples
    --------
    >>> import lyapkit as lk
    >>> ds = lk.sweep(lk.classical.logistic, {"r": [3.5, 3.8, 4.0]}, n_steps=2000)
    >>> print(lk.table(ds).splitlines()[2].split())
    ['r', 'exponent', '1', 'dimension']
    """
    if isinstance(ds, xr.Dataset):
        check_whole(ds, "table")
        if "step" in ds.dims and "lyapunov_exponent" in ds:
            return comparison_table(ds)
        for name, of_kind in _TABLES.items():
            if name in ds:
                one, which = of_last_step(ds)
                return f"{which}\n{of_kind(one)}" if which else of_kind(one)
        if "lyapunov_exponent" in ds:
            return spectrum_table(ds)
    raise ValueError(
        f"table got {described(ds)}, expected a spectrum, covariant vectors, a comparison, a sweep, gradient norms, "
        "eigenvalues or the metrics of a training"
    )
