"""Residuals: the fixed linear maps R that carry a weakly coupled network's state from one step to the next.

A residual's eigenvalues set the network's Lyapunov exponents (Dubinin & Effenberger 2024, Eq. 13).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn


class Residual(nn.Module):
    """A fixed linear map R of N units.

    Parameters
    ----------
    values : array
        (N,): a diagonal matrix, applied element by element; or (N, N): any matrix.

    Attributes
    ----------
    values : Tensor
        What was given, a buffer, not trained.

    Raises
    ------
    ValueError
        If the shape is neither, or a value is not finite.

    Examples
    --------
    >>> import lyapkit as lk
    >>> residual = lk.Residual([[0.0, -0.9], [0.9, 0.0]])
    >>> residual.size, residual.is_diagonal, abs(residual.eigenvalues).round(3).tolist()
    (2, False, [0.9, 0.9])
    """

    values: Tensor

    def __init__(self, values: ArrayLike | Tensor) -> None:
        super().__init__()
        values = as_values(values)
        if values.ndim not in (1, 2) or values.numel() == 0 or values.shape[0] != values.shape[-1]:
            raise ValueError(f"a residual is a diagonal (N,) or a matrix (N, N), got shape {tuple(values.shape)}")
        if not bool(values.isfinite().all()):
            raise ValueError("a residual must be finite, got NaN or infinite values")
        self.register_buffer("values", values)

    @property
    def size(self) -> int:
        """N, the number of units."""
        return len(self.values)

    @property
    def is_diagonal(self) -> bool:
        """Whether it is stored, and applied, as a diagonal."""
        return self.values.ndim == 1

    @property
    def matrix(self) -> Tensor:
        """R, (N, N)."""
        return torch.diag(self.values) if self.is_diagonal else self.values

    @property
    def eigenvalues(self) -> np.ndarray:
        """Eigenvalues ρ_i of R, (N,), complex, by descending modulus."""
        values = self.values.detach().double().cpu().numpy()
        eigenvalues = (values if self.is_diagonal else np.linalg.eigvals(values)).astype(complex)
        return eigenvalues[np.argsort(-np.abs(eigenvalues), kind="stable")]

    def forward(self, vectors: Tensor) -> Tensor:
        """Return R v for vectors in the last dimension, (…, N)."""
        return vectors * self.values if self.is_diagonal else nn.functional.linear(vectors, self.values)

    def transposed(self, vectors: Tensor) -> Tensor:
        """Return Rᵀ v for vectors in the last dimension, (…, N): the way back of gradients."""
        return vectors * self.values if self.is_diagonal else vectors @ self.values

    def __str__(self) -> str:
        moduli = np.abs(self.eigenvalues)
        smallest, largest = f"{moduli[-1]:.4g}", f"{moduli[0]:.4g}"
        spread = smallest if smallest == largest else f"{smallest} … {largest}"
        return f"{'diagonal' if self.is_diagonal else 'dense'} residual with |eigenvalues| {spread}"

    def extra_repr(self) -> str:
        """Return what `repr` says of it."""
        return str(self)


def as_values(values: ArrayLike | Tensor) -> Tensor:
    """Return a copy of the values: a floating-point tensor in its own dtype, all else in float64."""
    if isinstance(values, Tensor) and values.is_floating_point():
        return values.detach().clone()
    return torch.as_tensor(
        np.asarray(values.tolist() if isinstance(values, Tensor) else values, dtype=np.float64)
    ).clone()


def scaled_identity(n: int, r: float) -> Residual:
    """Return r·I: every exponent of the weakly coupled network is close to log|r| (Section 4.1 of the paper)."""
    return Residual(np.full(_checked_size(n), float(r)))


def rotation(n: int, omega: ArrayLike, r: ArrayLike = 1.0, *, unpaired: int | None = None) -> Residual:
    """Return a rotation of pairs of units times a diagonal: blockdiag(rot(ω_1), …, rot(ω_{n/2})) · diag(r) (Eq. 16).

    Parameters
    ----------
    n : int
        Number of units, even unless `unpaired` is given.
    omega : float or array (n // 2,)
        Angular frequencies, in rad per step, one for all pairs or one each.
    r : float or array (n,)
        Radius, one for all units or one each. With two different radii in a pair the matrix is not normal, and the
        exponents approach log|eig R| only as time goes on.
    unpaired : 1 or -1, optional
        With an odd n: what the last unit, which has no partner, is multiplied with in place of a rotation.

    Raises
    ------
    ValueError
        If n is odd and `unpaired` is not given, or an array has the wrong length.
    """
    n_pairs, is_odd = divmod(_checked_size(n), 2)
    if is_odd and unpaired not in (1, -1):
        raise ValueError(
            f"a rotation pairs units and n={n} is odd: choose an even n, or say by unpaired=1 or unpaired=-1 what the "
            "last unit is multiplied with"
        )
    cosine, sine = (f(_broadcast(omega, n_pairs, "omega", "one per pair of units")) for f in (np.cos, np.sin))
    matrix = np.zeros((n, n))
    first, second = np.arange(n_pairs) * 2, np.arange(n_pairs) * 2 + 1
    matrix[first, first] = matrix[second, second] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    if is_odd:
        matrix[-1, -1] = unpaired
    return Residual(matrix * _broadcast(r, n, "r", "one per unit"))


def heterogeneous(n: int, r: float, spread: float, rng: np.random.Generator | int) -> Residual:
    """Return diag(r_i) with r_i drawn from the uniform distribution on [r − spread, r + spread] (Eq. 17).

    Parameters
    ----------
    n : int
        Number of units.
    r, spread : float
        Centre and half width of the distribution of the radii.
    rng : numpy.random.Generator or int
        Where the radii come from, or a seed.

    Raises
    ------
    ValueError
        If spread is negative, or so large that radii could be zero or negative: the exponents are log|r_i|, so a
        negative radius would count as its positive twin, and zero as −∞.
    """
    if not 0 <= spread < r:
        raise ValueError(
            f"spread must be at least 0 and smaller than r={r}, so that no radius is zero or negative, got {spread}"
        )
    return Residual(np.random.default_rng(rng).uniform(r - spread, r + spread, _checked_size(n)))


def orthogonal(n: int, rng: np.random.Generator | int, r: float = 1.0) -> Residual:
    """Return r times an orthogonal matrix drawn from the Haar distribution with `rng`, a generator or a seed."""
    n = _checked_size(n)
    from scipy.stats import ortho_group  # takes a second to load

    return Residual(r * (ortho_group.rvs(n, random_state=np.random.default_rng(rng)) if n > 1 else np.eye(1)))


def _checked_size(n: int) -> int:
    if n < 1:
        raise ValueError(f"the number of units must be at least 1, got {n}")
    return n


def _broadcast(values: ArrayLike, length: int, name: str, meaning: str) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.shape not in ((), (length,)):
        raise ValueError(f"{name} has shape {values.shape}, expected a number or {length} of them, {meaning}")
    return np.broadcast_to(values, (length,))
