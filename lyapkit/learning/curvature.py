"""Curvature of the loss: eigenvalues of its Hessian, of the Gauss–Newton part, and the density of all of them.

The eigenvalues of the batch-mean Hessian are what learning rates have to respect (Eq. 6).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import scipy.linalg
import torch
import xarray as xr
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor, nn
from tqdm import tqdm

from lyapkit.learning.jacobians import output_jacobians
from lyapkit.learning.memory import available_memory, gibibytes
from lyapkit.learning.objective import Loss, Objective
from lyapkit.learning.products import ggn_product, hessian_product
from lyapkit.lyapunov import Array
from lyapkit.models.network import Network
from lyapkit.provenance import provenance

Product = Callable[[np.ndarray], np.ndarray]
_WHICH = {"magnitude": "LM", "largest": "LA", "smallest": "SA"}
_RANK_TOLERANCE = 1e-12  # of a loss's curvature, relative to the largest: below is rounding


def hessian_eigenvalues(
    model: Network | nn.Module,
    inputs: Array,
    targets: Array,
    loss: Loss,
    k: int = 10,
    *,
    which: Literal["magnitude", "largest", "smallest"] = "magnitude",
    parameters: str | Sequence[str] = "recurrent",
    tolerance: float = 1e-4,
    max_products: int = 2000,
    eigenvectors: bool = False,
    batch_size: int | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = False,
) -> xr.Dataset:
    """Return leading eigenvalues of the Hessian of the loss (Eq. 6), by Lanczos iteration.

    Exact products of the Hessian with vectors are all it takes; no matrix is formed.

    Parameters
    ----------
    model : Network or nn.Module
        A WCRNN, a `RecurrentNetwork`, another `Network`, or a module of one recurrent module and one linear readout.
    inputs : array, tensor or DataArray
        (trajectory, time, feature), one trajectory per sample.
    targets : array or tensor
        (sample, …), whatever `loss` takes.
    loss : callable
        ``loss(outputs, targets)``, a scalar, for the outputs (sample, output) of all samples. It need not be a mean.
    k : int
        Number of eigenvalues, at most as many as there are parameters. Default 10.
    which : "magnitude", "largest" or "smallest"
        The largest by magnitude (default), or at either end of the spectrum.
    parameters : "recurrent", "all", str or sequence of str
        The block of parameters: the recurrent weights (default), all, or by their names.
    tolerance : float
        Largest residual ‖H v − μ v‖ / |μ| of an eigenvalue that counts as converged. Default 1e-4.
    max_products : int
        Products after which to give up; eigenvalues not found by then are NaN.
    eigenvectors : bool
        Return them too.
    batch_size : int, optional
        Samples in a micro-batch; changes memory and speed alone.
    dtype, device : optional
        What to compute in, and where. Default: float64, where the model is.
    seed : int
        Seeds the start vector.
    progress : bool
        Show a progress bar, one step per product.

    Returns
    -------
    xarray.Dataset
        `hessian_eigenvalue` (eigenvalue), descending (by magnitude if that is asked for), in units of the loss per
        squared parameter; `residual_norm`, ‖H v − μ v‖ for unit vectors v; `converged`; with `eigenvectors`,
        `eigenvector` (eigenvalue, parameter).

    Raises
    ------
    ValueError
        If k does not fit, inputs, targets, loss and network do not fit together, or values are not finite.
    """
    if which not in _WHICH:
        raise ValueError(f"which must be one of {', '.join(_WHICH)}, got {which!r}")
    objective = Objective(
        model, inputs, targets, loss, parameters=parameters, batch_size=batch_size, dtype=dtype, device=device
    )
    ds = _leading(objective, hessian_product, "hessian", k, which, tolerance, max_products, seed, progress)
    ds.attrs["references"] = "Dubinin & Effenberger 2024, Eq. 6"
    return ds if eigenvectors else ds.drop_vars("eigenvector")


def ggn_eigenvalues(
    model: Network | nn.Module,
    inputs: Array,
    targets: Array,
    loss: Loss,
    k: int | None = None,
    *,
    parameters: str | Sequence[str] = "recurrent",
    tolerance: float = 1e-4,
    max_products: int = 2000,
    batch_size: int | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
    memory: float | None = None,
    seed: int = 0,
    progress: bool = False,
) -> xr.Dataset:
    """Return eigenvalues of the generalised Gauss–Newton matrix (GGN), the first term of Eq. 7.

    Without k: all of them, exactly, through Eq. 8, from the Jacobians of all outputs. With k: the leading ones, by
    Lanczos iteration, without forming a matrix.

    Parameters
    ----------
    k : int, optional
        Number of leading eigenvalues. Default: all.
    memory : float, optional
        GiB that the full spectrum may take. Default: what the machine has free.
    model, inputs, targets, loss, parameters, tolerance, max_products, batch_size, dtype, device, seed, progress
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
    """
    objective = Objective(
        model, inputs, targets, loss, parameters=parameters, batch_size=batch_size, dtype=dtype, device=device
    )
    if k is None:
        eigenvalues, n_bytes = _full_ggn_spectrum(objective, memory, progress)
        ds = xr.Dataset({"ggn_eigenvalue": ("eigenvalue", eigenvalues)}, attrs=_attributes(objective))
        ds.attrs["memory"] = gibibytes(n_bytes)
        ds = _labelled(ds, "ggn")
    else:
        ds = _leading(objective, ggn_product, "ggn", k, "largest", tolerance, max_products, seed, progress)
        ds = ds.drop_vars("eigenvector")
    ds.attrs["references"] = "Dubinin & Effenberger 2024, Eq. 7 and 8"
    return ds


def hessian_density(
    model: Network | nn.Module,
    inputs: Array,
    targets: Array,
    loss: Loss,
    *,
    n_steps: int = 60,
    n_vectors: int = 8,
    n_values: int = 400,
    width: float | None = None,
    parameters: str | Sequence[str] = "recurrent",
    batch_size: int | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = False,
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
        Standard deviation of the Gaussians. Default: a hundredth of the range of the nodes.
    model, inputs, targets, loss, parameters, batch_size, dtype, device, seed, progress
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
    """
    if min(n_steps, n_vectors, n_values) < 1 or (width is not None and not width > 0):
        raise ValueError("n_steps, n_vectors, n_values and width must be positive")
    objective = Objective(
        model, inputs, targets, loss, parameters=parameters, batch_size=batch_size, dtype=dtype, device=device
    )
    n_steps = min(n_steps, objective.size)
    rng = np.random.default_rng(seed)
    nodes, weights = np.full((2, n_vectors, n_steps), np.nan)
    with tqdm(total=n_vectors * n_steps, unit="product", disable=not progress) as bar:
        product = _OnArrays(objective, hessian_product, bar)
        for vector in range(n_vectors):
            found, shares = _lanczos_quadrature(product, rng.choice([-1.0, 1.0], objective.size), n_steps)
            nodes[vector, : len(found)], weights[vector, : len(found)] = found, shares
    extent = np.nanmax(nodes) - np.nanmin(nodes)
    width = width or max(extent, abs(np.nanmax(nodes)), np.finfo(float).tiny) / 100
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
        attrs=_attributes(objective, n_steps=n_steps, n_vectors=n_vectors, width=width, seed=seed)
        | {"width": float(width), "references": "Dubinin & Effenberger 2024, Eq. 6; Ghorbani, Krishnan & Xiao 2019"},
    )


def _leading(
    objective: Objective,
    product: Callable[[Objective, Tensor], Tensor],
    name: str,
    k: int,
    which: str,
    tolerance: float,
    max_products: int,
    seed: int,
    progress: bool,
) -> xr.Dataset:
    """Return leading eigenvalues, their residuals and vectors, of the matrix that `product` multiplies with."""
    size = objective.size
    if not 1 <= k <= size:
        raise ValueError(f"k must be between 1 and the {size} parameters of {', '.join(objective.block)}, got {k}")
    with tqdm(unit="product", desc=f"{name} eigenvalues", disable=not progress) as bar:
        multiply = _OnArrays(objective, product, bar)
        n_basis = max(2 * k + 1, 20)
        if n_basis >= size:  # a block so small that Lanczos would span it
            values, vectors = np.linalg.eigh(np.stack([multiply(row) for row in np.eye(size)]))
        else:
            values, vectors = _eigsh(multiply, size, k, _WHICH[which], tolerance, n_basis, max_products, seed)
        n_products = multiply.n_products
        order = np.argsort({"magnitude": -np.abs(values), "largest": -values, "smallest": values}[which])[:k]
        values, vectors = values[order], vectors[:, order].T
        residuals = np.array([np.linalg.norm(multiply(v) - m * v) for m, v in zip(values, vectors, strict=True)])
    found = np.full(k, np.nan)
    residual_norms, unit_vectors = found.copy(), np.full((k, size), np.nan)
    found[: len(values)], residual_norms[: len(values)], unit_vectors[: len(values)] = values, residuals, vectors
    for vector in unit_vectors:  # the sign that makes the largest entry positive
        vector *= np.sign(vector[np.argmax(np.abs(vector))])
    ds = xr.Dataset(
        {
            f"{name}_eigenvalue": ("eigenvalue", found),
            "residual_norm": ("eigenvalue", residual_norms),
            "converged": ("eigenvalue", residual_norms <= np.maximum(tolerance * np.abs(found), 1e-14)),
            "eigenvector": (("eigenvalue", "parameter"), unit_vectors, {"units": "1", "long_name": "unit eigenvector"}),
        },
        coords={"parameter": ("parameter", np.arange(size), {"units": "1", "long_name": "parameter of the block"})},
        attrs=_attributes(objective, k=k, which=which, tolerance=tolerance, seed=seed) | {"n_products": n_products},
    )
    ds["residual_norm"].attrs = {"units": "loss per parameter²", "long_name": "‖H v − μ v‖"}
    ds["converged"].attrs = {"units": "1", "long_name": "whether the residual is within the tolerance"}
    return _labelled(ds, name)


def _eigsh(
    multiply: Product, size: int, k: int, which: str, tolerance: float, n_basis: int, max_products: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what ARPACK finds: values (k,), vectors (size, k), or fewer."""
    operator = LinearOperator((size, size), matvec=multiply, dtype=np.float64)
    start = np.random.default_rng(seed).standard_normal(size)
    n_restarts = max(1, (max_products - n_basis) // (n_basis - k))
    try:
        # ARPACK's own estimate of the residual is a little optimistic
        return eigsh(operator, k, which=which, v0=start, ncv=n_basis, tol=tolerance / 2, maxiter=n_restarts)
    except ArpackNoConvergence as error:
        return error.eigenvalues, error.eigenvectors


def _full_ggn_spectrum(objective: Objective, memory: float | None, progress: bool) -> tuple[np.ndarray, int]:
    """Return all eigenvalues of the GGN, (P,) descending, and the bytes that this was expected to take.

    With the loss's curvature factored, H_L = Fᵀ diag(sign) F, the GGN is Aᵀ diag(sign) A, A = F Dh_T. Either it is
    accumulated, (P, P), or, if A has fewer rows than columns, its eigenvalues other than 0 are those of A Aᵀ.
    """
    factors, signs = _curvature_factors(objective)
    size, n_rows = objective.size, len(signs)
    through_rows = n_rows < size and bool((signs > 0).all())
    item = objective.outputs.element_size()
    kept = 0 if objective.is_samplewise and not through_rows else n_rows * size
    smaller = n_rows if through_rows else size
    n_bytes = item * (kept + 2 * smaller**2) + 3 * 8 * 30_000_000
    limit = available_memory(objective.device) if memory is None else memory * 2**30
    if n_bytes > limit:
        raise ValueError(
            f"all {size} eigenvalues of the GGN need {gibibytes(n_bytes)}, and {gibibytes(limit)} are free: ask for "
            "leading ones with k=, which needs no matrix, or for a smaller block of parameters"
        )
    options = {"dtype": objective.outputs.dtype, "device": objective.device}
    rows = torch.zeros(n_rows, size, **options) if kept else None
    matrix = torch.zeros(size, size, **options) if rows is None else None
    description = f"GGN of {size} parameters, {gibibytes(n_bytes)}"
    first = 0
    with tqdm(total=len(objective.inputs), unit="sample", desc=description, disable=not progress) as bar:
        for samples, jacobians in output_jacobians(objective):
            if objective.is_samplewise:
                parts = [factor @ jacobian for factor, jacobian in zip(factors[samples], jacobians, strict=True)]
                part = torch.cat(parts)
                place = slice(first, first + len(part))
                if matrix is None:
                    rows[place] = part
                else:
                    matrix.addmm_((part * signs[place, None]).mT, part)
                first = place.stop
            else:  # every row is a mixture of all samples
                columns = slice(samples.start * jacobians.shape[1], samples.stop * jacobians.shape[1])
                rows.addmm_(factors[:, columns], jacobians.flatten(0, 1))
            bar.update(len(jacobians))
    if through_rows:
        matrix = rows @ rows.mT
    elif matrix is None:
        matrix = (rows * signs[:, None]).mT @ rows
    del rows
    eigenvalues = _all_eigenvalues(matrix)
    padded = np.zeros(size)
    padded[: len(eigenvalues)] = eigenvalues
    return np.sort(padded)[::-1].copy(), n_bytes


def _curvature_factors(objective: Objective) -> tuple[list[Tensor] | Tensor, Tensor]:
    """Return F and signs of the loss's curvature H_L = Fᵀ diag(sign) F, without directions that have none.

    For each sample (rank, O), if no two samples are coupled; else (rank, S · O). Signs (rank,) of all.
    """
    outputs = objective.outputs
    n_outputs = outputs.shape[1]
    if objective.is_samplewise:
        columns = []
        for output in range(n_outputs):
            unit = torch.zeros_like(outputs)
            unit[:, output] = 1
            columns.append(objective.output_curvature(unit))
        curvature = torch.stack(columns, -1)  # (S, O, O)
    else:
        units = torch.eye(outputs.numel()).to(outputs)
        curvature = torch.stack([objective.output_curvature(unit.view_as(outputs)).reshape(-1) for unit in units])[None]
    values, vectors = torch.linalg.eigh((curvature + curvature.mT) / 2)
    used = values.abs() > _RANK_TOLERANCE * values.abs().max()
    factors = [v.abs().sqrt()[u, None] * m.mT[u] for v, m, u in zip(values, vectors, used, strict=True)]
    signs = values[used].sign()
    return (factors, signs) if objective.is_samplewise else (factors[0], signs)


def _all_eigenvalues(matrix: Tensor) -> np.ndarray:
    """Return all eigenvalues of a symmetric matrix, which is overwritten."""
    if matrix.device.type != "cpu":
        return torch.linalg.eigvalsh(matrix).cpu().numpy()
    return scipy.linalg.eigvalsh(matrix.numpy().T, overwrite_a=True, check_finite=False)


def _lanczos_quadrature(multiply: Product, start: np.ndarray, n_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes and weights of the quadrature that Lanczos iteration from a vector gives."""
    basis = np.empty((n_steps, len(start)))
    diagonal, beside = [], []
    vector = start / np.linalg.norm(start)
    for step in range(n_steps):
        basis[step] = vector
        image = multiply(vector)
        diagonal.append(vector @ image)
        for _ in range(2):  # twice is enough
            image = image - basis[: step + 1].T @ (basis[: step + 1] @ image)
        length = np.linalg.norm(image)
        if length < 1e-12 * max(np.abs(diagonal)):  # the vector lies in an invariant subspace
            break
        beside.append(length)
        vector = image / length
    nodes, vectors = scipy.linalg.eigh_tridiagonal(diagonal, beside[: len(diagonal) - 1])
    return nodes, vectors[0] ** 2


class _OnArrays:
    """The product of an objective with NumPy vectors, counted."""

    def __init__(self, objective: Objective, product: Callable[[Objective, Tensor], Tensor], bar: tqdm) -> None:
        self.objective, self.product, self.bar = objective, product, bar
        self.n_products = 0

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        self.bar.update()
        self.n_products += 1
        given = torch.from_numpy(np.ascontiguousarray(vector)).to(self.objective.outputs)
        return self.product(self.objective, given).double().cpu().numpy()


def _attributes(objective: Objective, **parameters: object) -> dict[str, str]:
    return provenance(dtype=str(objective.outputs.dtype), **parameters) | objective.description


def _labelled(ds: xr.Dataset, name: str) -> xr.Dataset:
    kind = "Hessian" if name == "hessian" else "GGN"
    ds[f"{name}_eigenvalue"].attrs = {"units": "loss per parameter²", "long_name": f"eigenvalue of the {kind}"}
    rank = np.arange(1, ds.sizes["eigenvalue"] + 1)
    return ds.assign_coords(eigenvalue=("eigenvalue", rank, {"units": "1", "long_name": "rank of the eigenvalue"}))
