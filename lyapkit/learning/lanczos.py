"""Leading eigenpairs of a symmetric matrix that is known by its products with vectors, multiple eigenvalues included.

Lanczos iteration from one vector meets one eigenvector of each eigenvalue: of a multiple one it finds a single copy,
and residuals do not show it. So what ARPACK found is taken out of the matrix, and a further random vector tells whether
anything larger is left; if so, block Lanczos iteration, from as many vectors as eigenvalues are wanted, finds them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import scipy.linalg
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh

Multiply = Callable[[np.ndarray], np.ndarray]
WHICH = {"magnitude": "LM", "largest": "LA", "smallest": "SA"}
ROUNDING = 1e-13  # of residuals, relative to the largest eigenvalue
LEAST_CHECKED = 16  # steps before nothing is said to be missing
BLOCKS, GUARDS = 8, 2  # block Lanczos iteration restarts after so many blocks, of so many vectors more than asked for,
MOST_VECTORS, MOST_NUMBERS = 300, 20_000_000  # or, if that is later, after so many vectors, of so many numbers in all


class Product(Protocol):
    """The matrix times a vector, and how often it was asked for."""

    n_products: int

    def __call__(self, vector: np.ndarray, /) -> np.ndarray:
        """Return the product."""


def in_order(values: np.ndarray, which: str) -> np.ndarray:
    """Return the indices that put eigenvalues in the order in which they are asked for."""
    return np.argsort({"magnitude": -np.abs(values), "largest": -values, "smallest": values}[which], kind="stable")


def leading_eigenpairs(
    multiply: Product, size: int, k: int, which: str, tolerance: float, max_products: int, seed: int
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return eigenvalues (k,), in order, unit eigenvectors (k, size), and whether none can be missing before the last.

    There are fewer than k if `max_products` did not do; or it was known too early that nothing is missing.

    Parameters
    ----------
    multiply : callable
        The matrix times a vector; `n_products` is how often it was called.
    which : "magnitude", "largest" or "smallest"
        Which are leading.
    tolerance : float
        Largest residual, relative to the eigenvalue.
    """
    n_basis = max(2 * k + 1, 20)
    if n_basis >= size:  # a matrix so small that Lanczos would span it
        matrix = np.stack([multiply(row) for row in np.eye(size)])
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        chosen = in_order(values, which)[:k]
        return values[chosen], vectors[:, chosen].T, True
    rng = np.random.default_rng(seed)
    start = rng.standard_normal(size)
    operator = LinearOperator((size, size), matvec=multiply, dtype=np.float64)
    # half of the products are left for the check and for blocks
    n_restarts = max(1, (max_products // 2 - n_basis) // (n_basis - k))
    try:
        # ARPACK's own estimate of the residual is a little optimistic
        options = {"v0": start, "ncv": n_basis, "tol": tolerance / 2, "maxiter": n_restarts}
        values, vectors = eigsh(operator, k, which=WHICH[which], **options)
    except ArpackNoConvergence as error:  # of zeros, for instance, of which no error is small
        values, vectors = error.eigenvalues, error.eigenvectors
    except ArpackError:  # of a matrix of low rank, or zero
        values, vectors = np.empty(0), np.empty((size, 0))
    chosen = in_order(values, which)
    values, vectors = values[chosen], vectors[:, chosen].T
    if multiply.n_products >= max_products:
        return values, vectors, False
    if len(values) == k:
        lacks = _lacks(multiply, values, vectors, which, tolerance, max_products, rng)
        if not lacks:
            return values, vectors, lacks is False
    more_values, more_vectors = _block_lanczos(multiply, size, k, which, tolerance, max_products, rng)
    if len(more_values) >= len(values):
        return more_values, more_vectors, True
    return values, vectors, False


def lanczos(multiply: Multiply, start: np.ndarray, n_steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the diagonal and what is beside it of the tridiagonal matrix that Lanczos iteration makes, and the basis.

    Every vector is orthogonalised against all. The iteration ends early where the start lies in an invariant subspace.
    What is beside the diagonal has its length: the last entry is the residual's.
    """
    *_, last = _lanczos_steps(multiply, start, n_steps)
    return last


def _lanczos_steps(
    multiply: Multiply, start: np.ndarray, n_steps: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield what `lanczos` returns after every step."""
    basis = np.empty((n_steps, len(start)))
    diagonal, beside = [], []
    vector = start / np.linalg.norm(start)
    for step in range(n_steps):
        basis[step] = vector
        image = multiply(vector)
        diagonal.append(vector @ image)
        extent = np.linalg.norm(image)
        for _ in range(2):  # twice is enough
            image = image - basis[: step + 1].T @ (basis[: step + 1] @ image)
        length = np.linalg.norm(image)
        is_invariant = length <= 1e-12 * max(extent, *np.abs(diagonal))
        beside.append(0.0 if is_invariant else length)
        yield np.array(diagonal), np.array(beside), basis[: step + 1]
        if is_invariant:
            return
        vector = image / length


def _lacks(
    multiply: Product,
    values: np.ndarray,
    vectors: np.ndarray,
    which: str,
    tolerance: float,
    max_products: int,
    rng: np.random.Generator,
) -> bool | None:
    """Return whether there are eigenvalues before the last one beside those that were found; None if it is unknown.

    Lanczos iteration in the space orthogonal to their eigenvectors goes on until its first Ritz value passes the last
    one found, or has come so close to an eigenvalue behind it that nothing before it can be left.
    """

    def deflated(vector: np.ndarray) -> np.ndarray:
        image = multiply(vector - vectors.T @ (vectors @ vector))
        return image - vectors.T @ (vectors @ image)

    ranks: dict[str, Callable[[Any], Any]] = {"magnitude": np.abs, "largest": lambda v: v, "smallest": lambda v: -v}
    rank = ranks[which]
    # what is left may have the rounding errors of what was taken out
    limit = rank(values[-1]) + tolerance * np.abs(values[-1]) + ROUNDING * np.abs(values).max()
    start = rng.standard_normal(vectors.shape[1])
    start -= vectors.T @ (vectors @ start)
    for diagonal, beside, _ in _lanczos_steps(deflated, start, len(start) - len(values)):
        ritz, mixtures = scipy.linalg.eigh_tridiagonal(diagonal, beside[:-1])
        first = np.argmax(rank(ritz))
        if rank(ritz[first]) > limit:
            return True
        residual = beside[-1] * abs(mixtures[-1, first])
        if len(diagonal) >= LEAST_CHECKED and residual < (limit - rank(ritz[first])) / 4:
            return False
        if multiply.n_products >= max_products:
            return None
    return False


def _block_lanczos(
    multiply: Product,
    size: int,
    k: int,
    which: str,
    tolerance: float,
    max_products: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k leading eigenpairs by block Lanczos iteration, restarted; those that converged."""
    n_most = max(BLOCKS * (k + GUARDS), min(MOST_VECTORS, MOST_NUMBERS // size))
    basis = images = np.empty((0, size))
    block = _orthonormal(rng.standard_normal((k + GUARDS, size)), basis)
    while True:
        basis = np.concatenate([basis, block])
        images = np.concatenate([images, [multiply(row) for row in block]])
        values, mixture = np.linalg.eigh(basis @ images.T)
        chosen = in_order(values, which)
        leading = mixture[:, chosen[:k]].T
        residuals = np.linalg.norm(leading @ images - values[chosen[:k], None] * (leading @ basis), axis=1)
        allowed = np.maximum(tolerance / 2 * np.abs(values[chosen[:k]]), ROUNDING * np.abs(values).max())
        is_found = residuals <= allowed
        if is_found.all() or len(basis) == size or multiply.n_products >= max_products:
            return values[chosen[:k]][is_found], (leading @ basis)[is_found]
        if len(basis) > n_most:
            kept = mixture[:, chosen[: 2 * (k + GUARDS)]].T
            basis, images = kept @ basis, kept @ images
            following = images - (images @ basis.T) @ basis
        else:
            following = images[-len(block) :]
        block = _orthonormal(following, basis)[: size - len(basis)]
        if not len(block):  # an invariant subspace, of which more copies may lie outside
            block = _orthonormal(rng.standard_normal((k + GUARDS, size)), basis)[: size - len(basis)]


def _orthonormal(rows: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Return rows, made orthonormal and orthogonal to those of a basis; those that depend on others are left out."""
    lengths = np.linalg.norm(rows, axis=1)
    scale = lengths.max(initial=0.0)
    kept = np.empty((0, rows.shape[1]))
    for row, length in zip(rows, lengths, strict=True):
        if length <= 1e-300:
            continue
        for _ in range(2):
            row = row - basis.T @ (basis @ row)
            row = row - kept.T @ (kept @ row)
        if np.linalg.norm(row) > 1e-11 * scale:
            row = row / np.linalg.norm(row)
            row = row - basis.T @ (basis @ row) - kept.T @ (kept @ row)
            kept = np.concatenate([kept, row[None] / np.linalg.norm(row)])
    return kept
