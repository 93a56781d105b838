"""`hessian_density`: the density of all eigenvalues of the Hessian of a loss."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg
import torch
import xarray as xr
from torch import nn

from lyapkit.arguments import Array
from lyapkit.learning.lanczos import lanczos
from lyapkit.learning.objective import Objective
from lyapkit.learning.products import OnArrays, Product, hessian_product
from lyapkit.losses import Loss
from lyapkit.models.network import Network
from lyapkit.progress import progress_bar
from lyapkit.scalars import real, whole


def hessian_density(
    model: Network | nn.Module,
    inputs: Array,
    targets: Array,
    loss: Loss | str,
    *,
    n_steps: int = 60,
    n_vectors: int = 8,
    n_values: int = 400,
    width: float | None = None,
    parameters: str | Sequence[str] = "recurrent",
    lengths: Array | None = None,
    batch_size: int | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    """Return the density of all eigenvalues of the Hessian, by stochastic Lanczos quadrature (Ghorbani et al. 2019).

    Each random vector gives, after `n_steps` products, a quadrature of the density; every node is a Gaussian here.

    Parameters
    ----------
    n_steps : int
        Lanczos steps per vector, all of them orthogonalised against each other. Default 60.
    n_vectors : int
        Random vectors, of signs. The error bar is that of their mean. Default 8.
    n_values : int
        Number of values at which the density is given. Default 400.
    width : float, optional
        Standard deviation of the Gaussians. Default: a hundredth of the range of the nodes, or of the largest of them;
        0.01 where all are zero.
    model, inputs, targets, loss, parameters, lengths, batch_size, dtype, device, seed, progress
        As for `hessian_eigenvalues`.

    Returns
    -------
    xarray.Dataset
        `density` (value,), which integrates to 1 over the eigenvalues `value`, and its `standard_error` between
        vectors (NaN with one). `quadrature_node` and `quadrature_weight` (vector, node). Attribute `width`.

    Raises
    ------
    ValueError
        As `hessian_eigenvalues`, or if a number is not positive.

    Examples
    --------
    >>> import lyapkit as lk
    >>> model = lk.WCRNN(1, 8, 10, lk.residuals.scaled_identity(8, 0.9), 0.1)
    >>> inputs, labels = lk.task("digits").test_samples(20)
    >>> ds = lk.hessian_density(model, inputs, labels, "cross-entropy", n_steps=10, n_vectors=2)
    >>> ds.density.dims
    ('value',)
    """
    n_steps, n_vectors, n_values = (
        whole(name, value, 0)
        for name, value in (("n_steps", n_steps), ("n_vectors", n_vectors), ("n_values", n_values))
    )
    seed, width = whole("seed", seed, 0), None if width is None else real("width", width)
    if min(n_steps, n_vectors, n_values) < 1 or (width is not None and not width > 0):
        raise ValueError("n_steps, n_vectors, n_values and width must be positive")
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
    n_steps = min(n_steps, objective.size)
    rng = np.random.default_rng(seed)
    nodes, weights = np.full((2, n_vectors, n_steps), np.nan)
    with progress_bar(progress, total=n_vectors * n_steps, unit="product") as bar:
        product = OnArrays(objective, hessian_product, bar)
        for vector in range(n_vectors):
            found, shares = _lanczos_quadrature(product, rng.choice([-1.0, 1.0], objective.size), n_steps)
            nodes[vector, : len(found)], weights[vector, : len(found)] = found, shares
    extent = max(np.nanmax(nodes) - np.nanmin(nodes), abs(np.nanmax(nodes)))
    width = width or extent / 100 or 0.01  # of a loss without curvature, whose eigenvalues are all 0
    values = np.linspace(np.nanmin(nodes) - 4 * width, np.nanmax(nodes) + 4 * width, n_values)
    distance = (values[:, None, None] - nodes) / width
    gaussians = np.exp(-(distance**2) / 2) / (width * np.sqrt(2 * np.pi))
    densities = np.nansum(weights * gaussians, axis=-1)  # (value, vector)
    error = densities.std(axis=1, ddof=1) / np.sqrt(n_vectors) if n_vectors > 1 else np.full(n_values, np.nan)
    per_value = {"units": "parameter² per loss", "long_name": "density of Hessian eigenvalues"}
    per_parameter = {"units": "loss per parameter²", "long_name": "eigenvalue"}
    return xr.Dataset(
        {
            "density": ("value", densities.mean(axis=1), per_value),
            "standard_error": ("value", error, per_value | {"long_name": "standard error of the density"}),
            "quadrature_node": (("vector", "node"), nodes, per_parameter | {"long_name": "node of the quadrature"}),
            "quadrature_weight": (("vector", "node"), weights, {"units": "1", "long_name": "weight of the node"}),
        },
        coords={
            "value": ("value", values, per_parameter),
            "vector": ("vector", np.arange(n_vectors), {"units": "1", "long_name": "random vector"}),
            "node": ("node", np.arange(n_steps), {"units": "1", "long_name": "node"}),
        },
        attrs=objective.attributes(n_steps=n_steps, n_vectors=n_vectors, width=width, seed=seed)
        | {"width": float(width), "references": "Dubinin & Effenberger 2024, Eq. 6; Ghorbani, Krishnan & Xiao 2019"},
    )


def _lanczos_quadrature(multiply: Product, start: np.ndarray, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of the quadrature that Lanczos iteration from a vector gives."""
    diagonal, beside, _ = lanczos(multiply, start, n_steps)
    nodes, vectors = scipy.linalg.eigh_tridiagonal(diagonal, beside[:-1])
    return nodes, vectors[0] ** 2
