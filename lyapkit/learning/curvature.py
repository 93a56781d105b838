"""Curvature of the loss: eigenvalues of its Hessian, and of the Gauss–Newton part of it.

The eigenvalues of the batch-mean Hessian are what learning rates have to respect (Eq. 6).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from lyapkit.arguments import Array, ReliabilityWarning
from lyapkit.learning.gauss_newton import full_ggn_spectrum, leading_through_rows
from lyapkit.learning.lanczos import ROUNDING, WHICH, leading_eigenpairs
from lyapkit.learning.objective import Objective
from lyapkit.learning.products import OnArrays, ggn_product, hessian_product
from lyapkit.losses import Loss
from lyapkit.memory import gibibytes
from lyapkit.models.network import Network
from lyapkit.progress import progress_bar
from lyapkit.scalars import real, whole


def hessian_eigenvalues(
    model: Network | nn.Module,
    inputs: Array,
    targets: Array,
    loss: Loss | str,
    k: int = 10,
    *,
    which: Literal["magnitude", "largest", "smallest"] = "magnitude",
    parameters: str | Sequence[str] = "recurrent",
    lengths: Array | None = None,
    tolerance: float = 1e-4,
    max_products: int = 2000,
    eigenvectors: bool = False,
    batch_size: int | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    """Return leading eigenvalues of the Hessian of the loss (Eq. 6), by Lanczos iteration.

    Exact products of the Hessian with vectors are all it takes; no matrix is formed. The Hessian is that of the very
    loss given, with whatever it adds of the model's parameters. Multiple eigenvalues count as often as they occur.

    Parameters
    ----------
    model : Network or nn.Module
        A WCRNN, a `RecurrentNetwork`, another `Network`, or a module that reads its recurrent module's last state, or
        every state, with its other submodules in a row. It is taken in eval mode, and left as it is.
    inputs : array, tensor or DataArray
        (trajectory, time, feature), one trajectory per sample.
    targets : array or tensor
        (sample, …), whatever `loss` takes.
    loss : callable or str
        ``loss(outputs, targets)``, a scalar, for the outputs of all samples, (sample, output), or (sample, time,
        output) of a network with `every_step`. It need not be a mean. Or "cross-entropy", "mse", "rms" or "l1".
    k : int
        Number of eigenvalues, at most as many as there are parameters. Default 10.
    which : "magnitude", "largest" or "smallest"
        The largest by magnitude (default), or at either end of the spectrum.
    parameters : "recurrent", "all", str or sequence of str
        The block of parameters: the recurrent weights (default), all that are not frozen, or by their names.
    lengths : array of int, optional
        (sample,): how many steps of each sequence count, where what follows is padding. Default: all.
    tolerance : float
        Largest residual `‖H v − μ v‖ / |μ|` of an eigenvalue that counts as converged. Default 1e-4.
    max_products : int
        Products after which to give up; eigenvalues not found by then are NaN, and if it is not certain by then that
        nothing is missing before those found, a `ReliabilityWarning` says so.
    eigenvectors : bool
        Return them too.
    batch_size : int, optional
        Samples in a micro-batch; changes memory and speed alone.
    dtype, device : optional
        What to compute in, and where. Default: float64, where the model is.
    seed : int
        Seeds the start vector.
    progress : bool, optional
        Show a progress bar, one step per product. Default: after two seconds, in terminals and notebooks.

    Returns
    -------
    xarray.Dataset
        `hessian_eigenvalue` (eigenvalue), descending, or descending by magnitude, or, for the smallest, ascending, in
        units of the loss per squared parameter; `residual_norm`, ‖H v − μ v‖ for unit vectors v; `converged`; with
        `eigenvectors`, `eigenvector` (eigenvalue, parameter).

    Raises
    ------
    ValueError
        If k does not fit, inputs, targets, loss and network do not fit together, values are not finite, or parameters
        are unknown, frozen or unused.

    Examples
    --------
    >>> import lyapkit as lk
    >>> model = lk.WCRNN(1, 8, 10, lk.residuals.scaled_identity(8, 0.9), 0.1)
    >>> inputs, labels = lk.task("digits").test_samples(20)
    >>> ds = lk.hessian_eigenvalues(model, inputs, labels, "cross-entropy", 3)
    >>> ds.hessian_eigenvalue.shape, bool(ds.converged.all())
    ((3,), True)
    """
    if which not in WHICH:
        raise ValueError(f"which must be one of {', '.join(WHICH)}, got {which!r}")
    objective = Objective(
        model,
        inputs,
        targets,
        loss,
        parameters=parameters,
        lengths=lengths,
        batch_size=batch_size,
        dtype=dtype,
        device=device,
    )
    ds = _leading(objective, hessian_product, "hessian", k, which, tolerance, max_products, seed, progress)
    ds.attrs["references"] = "Dubinin & Effenberger 2024, Eq. 6"
    return ds if eigenvectors else ds.drop_vars("eigenvector")


def ggn_eigenvalues(
    model: Network | nn.Module,
    inputs: Array,
    targets: Array,
    loss: Loss | str,
    k: int | None = None,
    *,
    parameters: str | Sequence[str] = "recurrent",
    lengths: Array | None = None,
    tolerance: float = 1e-4,
    max_products: int = 2000,
    batch_size: int | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
    memory: float | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    """Return eigenvalues of the generalised Gauss–Newton matrix (GGN), the first term of Eq. 7.

    Without k: all of them, exactly, through Eq. 8, from the Jacobians of all outputs. With k: the largest ones, from
    the Jacobians too where that is cheaper, else by Lanczos iteration, without forming a matrix.

    Parameters
    ----------
    k : int, optional
        Number of leading eigenvalues. Default: all.
    memory : float, optional
        GiB that the full spectrum may take. Default: what the machine has free.
    model, inputs, targets, loss, parameters, lengths, tolerance, max_products, batch_size, dtype, device, seed
        As for `hessian_eigenvalues`.
    progress : bool
        As for `hessian_eigenvalues`.

    Returns
    -------
    xarray.Dataset
        `ggn_eigenvalue` (eigenvalue), descending; with k also `residual_norm` and `converged`. Attribute `memory`: what
        the full spectrum was expected to take.

    Raises
    ------
    ValueError
        As `hessian_eigenvalues`; or if the full spectrum does not fit into memory.

    Examples
    --------
    >>> import lyapkit as lk
    >>> model = lk.WCRNN(1, 8, 10, lk.residuals.scaled_identity(8, 0.9), 0.1)
    >>> inputs, labels = lk.task("digits").test_samples(20)
    >>> ds = lk.ggn_eigenvalues(model, inputs, labels, "cross-entropy")
    >>> ds.sizes["eigenvalue"], bool(ds.ggn_eigenvalue.min() > -1e-12)  # 8 × 8 weights; none is negative
    (64, True)
    """
    objective = Objective(
        model,
        inputs,
        targets,
        loss,
        parameters=parameters,
        lengths=lengths,
        batch_size=batch_size,
        dtype=dtype,
        device=device,
    )
    if k is None:
        eigenvalues, n_bytes = full_ggn_spectrum(objective, memory, progress)
        ds = xr.Dataset({"ggn_eigenvalue": ("eigenvalue", eigenvalues)}, attrs=objective.attributes())
        ds.attrs["memory"] = gibibytes(n_bytes)
        ds = _labelled(ds, "ggn")
    else:
        ds = _leading(objective, ggn_product, "ggn", k, "largest", tolerance, max_products, seed, progress)
        ds = ds.drop_vars("eigenvector")
    ds.attrs["references"] = "Dubinin & Effenberger 2024, Eq. 7 and 8"
    return ds


def _leading(
    objective: Objective,
    product: Callable[[Objective, Tensor], Tensor],
    name: str,
    k: int,
    which: str,
    tolerance: float,
    max_products: int,
    seed: int,
    progress: bool | None,
) -> xr.Dataset:
    """Return leading eigenvalues, their residuals and vectors, of the matrix that `product` multiplies with."""
    size = objective.size
    k, seed = whole("k", k, 0), whole("seed", seed, 0)
    max_products, tolerance = whole("max_products", max_products, 0), real("tolerance", tolerance)
    if not 1 <= k <= size:
        raise ValueError(f"k must be between 1 and the {size} parameters of {', '.join(objective.block)}, got {k}")
    with progress_bar(progress, unit="product", desc=f"{name} eigenvalues") as bar:
        multiply = OnArrays(objective, product, bar)
        pairs = leading_through_rows(objective, k) if product is ggn_product else None
        if pairs is None:
            values, vectors, is_certain = leading_eigenpairs(multiply, size, k, which, tolerance, max_products, seed)
            if not is_certain:
                warnings.warn(
                    f"after {multiply.n_products} products with vectors it is not certain that those found are the "
                    f"{len(values)} leading eigenvalues: a multiple one may count too few times; raise max_products",
                    ReliabilityWarning,
                    stacklevel=3,
                )
            n_products = multiply.n_products
            residuals = np.array([np.linalg.norm(multiply(v) - m * v) for m, v in zip(values, vectors, strict=True)])
        else:
            values, vectors, residuals = pairs
            n_products = 0
    found = np.full(k, np.nan)
    residual_norms, unit_vectors = found.copy(), np.full((k, size), np.nan)
    found[: len(values)], residual_norms[: len(values)], unit_vectors[: len(values)] = values, residuals, vectors
    for vector in unit_vectors:  # the sign that makes the largest entry positive
        vector *= np.sign(vector[np.argmax(np.abs(vector))])
    rounding = max(1e-14, ROUNDING * np.abs(values).max(initial=0.0))
    ds = xr.Dataset(
        {
            f"{name}_eigenvalue": ("eigenvalue", found),
            "residual_norm": ("eigenvalue", residual_norms),
            "converged": ("eigenvalue", residual_norms <= np.maximum(tolerance * np.abs(found), rounding)),
            "eigenvector": (("eigenvalue", "parameter"), unit_vectors, {"units": "1", "long_name": "unit eigenvector"}),
        },
        coords={"parameter": ("parameter", np.arange(size), {"units": "1", "long_name": "parameter of the block"})},
        attrs=objective.attributes(k=k, which=which, tolerance=tolerance, seed=seed) | {"n_products": n_products},
    )
    ds["residual_norm"].attrs = {"units": "loss per parameter²", "long_name": "‖H v − μ v‖"}
    ds["converged"].attrs = {"units": "1", "long_name": "whether the residual is within the tolerance"}
    return _labelled(ds, name)


def _labelled(ds: xr.Dataset, name: str) -> xr.Dataset:
    kind = "Hessian" if name == "hessian" else "GGN"
    ds[f"{name}_eigenvalue"].attrs = {"units": "loss per parameter²", "long_name": f"eigenvalue of the {kind}"}
    rank = np.arange(1, ds.sizes["eigenvalue"] + 1)
    return ds.assign_coords(eigenvalue=("eigenvalue", rank, {"units": "1", "long_name": "rank of the eigenvalue"}))
