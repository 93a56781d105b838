"""All eigenvalues of the generalised Gauss–Newton matrix (GGN), exactly, from the Jacobians of all outputs (Eq. 8)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.linalg
import torch
from torch import Tensor
from tqdm import tqdm

from lyapkit.learning.jacobians import output_jacobians
from lyapkit.learning.linearization import is_by_hand
from lyapkit.learning.objective import Objective
from lyapkit.learning.products import ggn_product
from lyapkit.memory import available_memory, gibibytes
from lyapkit.progress import progress_bar

_RANK_TOLERANCE = 1e-12  # of a loss's curvature, relative to the largest: below is rounding
MOST_ROWS = 3000  # of A, from which on its products with vectors are cheaper than the eigenvalues of A Aᵀ


def full_ggn_spectrum(objective: Objective, memory: float | None, progress: bool | None) -> tuple[np.ndarray, int]:
    """Return all eigenvalues of the GGN, (P,) descending, and the bytes that this was expected to take.

    With the loss's curvature factored, H_L = Fᵀ diag(sign) F, the GGN is Aᵀ diag(sign) A, A = F Dh_T. Either it is
    accumulated, (P, P), or, if A has fewer rows than columns, its eigenvalues other than 0 are those of A Aᵀ.
    """
    factors = _Factors(objective)
    size, item = objective.size, objective.outputs.element_size()
    through_rows = factors.n_rows < size and factors.is_positive and not objective.penalized
    kept = factors.n_rows * size if through_rows or not objective.is_samplewise else 0
    smaller = factors.n_rows if through_rows else size
    n_bytes = item * (kept + 2 * smaller**2) + 3 * 8 * 30_000_000
    limit = available_memory(objective.device) if memory is None else memory * 2**30
    if n_bytes > limit:
        raise ValueError(
            f"all {size} eigenvalues of the GGN need {gibibytes(n_bytes)}, and {gibibytes(limit)} are free: ask for "
            "leading ones with k=, which needs no matrix, or for a smaller block of parameters"
        )
    with progress_bar(progress, total=len(objective.inputs), unit="sample", desc=f"GGN, {gibibytes(n_bytes)}") as bar:
        if objective.penalized:  # what the loss takes of the parameters directly has no rows
            units = torch.eye(size, dtype=objective.outputs.dtype, device=objective.device)
            matrix = torch.stack([ggn_product(objective, unit) for unit in units])
            matrix = (matrix + matrix.mT) / 2
        elif through_rows:
            rows = torch.cat([part for part, _ in _rows(objective, factors, bar)])
            matrix = rows @ rows.mT
            del rows
        else:
            matrix = torch.zeros(size, size, dtype=objective.outputs.dtype, device=objective.device)
            for part, signs in _rows(objective, factors, bar):
                matrix.addmm_((part * signs[:, None]).mT, part)
    eigenvalues = _all_eigenvalues(matrix) if len(matrix) else np.empty(0)
    padded = np.zeros(size)
    padded[: len(eigenvalues)] = eigenvalues
    return np.sort(padded)[::-1].copy(), n_bytes


def leading_through_rows(objective: Objective, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Return the k largest eigenvalues of the GGN, eigenvectors (k, P) and residuals from the rows of A; None if dear.

    Jacobians take one way back for each output of a sample, a product with a vector one way forth and one back.
    """
    n_outputs = objective.outputs[0].numel()
    if not is_by_hand(objective.network) or objective.penalized or n_outputs > 2 * max(2 * k + 1, 20):
        return None
    factors = _Factors(objective)
    n_rows, item = factors.n_rows, objective.outputs.element_size()
    n_bytes = item * n_rows * (3 * objective.size + 3 * n_rows)
    if not factors.is_positive or not k <= n_rows <= MOST_ROWS or n_bytes > available_memory(objective.device) / 2:
        return None
    rows = torch.cat([part for part, _ in _rows(objective, factors, None)]).double().cpu().numpy()
    values, mixtures = scipy.linalg.eigh(rows @ rows.T, subset_by_index=[n_rows - k, n_rows - 1])
    values, mixtures = values[::-1].clip(min=0.0), mixtures[:, ::-1]
    if values[-1] <= 1e-12 * values[0]:  # of lower rank: eigenvectors of 0 are not among the rows
        return None
    vectors = (mixtures.T @ rows) / np.sqrt(values)[:, None]
    residuals = np.linalg.norm((vectors @ rows.T) @ rows - values[:, None] * vectors, axis=1)
    return values, vectors, residuals


class _Factors:
    """F and signs of the loss's curvature H_L = Fᵀ diag(sign) F, for each group of outputs that it couples.

    Attributes
    ----------
    of_groups, signs : Tensor
        (G, n, n) and (G, n), for outputs in G groups of n; rows without curvature have the sign 0.
    """

    def __init__(self, objective: Objective) -> None:
        outputs, n = objective.outputs, objective.n_coupled
        columns = []
        for place in range(n):
            unit = torch.zeros_like(outputs).view(-1, n)
            unit[:, place] = 1
            columns.append(objective.output_curvature(unit.view_as(outputs)).view(-1, n))
        curvature = torch.stack(columns, -1)
        values, vectors = torch.linalg.eigh((curvature + curvature.mT) / 2)
        self.signs = values.sign() * (values.abs() > _RANK_TOLERANCE * values.abs().max())
        self.of_groups = values.abs().sqrt()[:, :, None] * vectors.mT
        self.n_rows = int((self.signs != 0).sum())
        self.is_positive = bool((self.signs >= 0).all())


def _rows(objective: Objective, factors: _Factors, bar: tqdm | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows of A = F Dh_T, (rows, P), and their signs, (rows,); all at once if the loss couples samples."""
    n, size = objective.n_coupled, objective.size
    mixed = None if objective.is_samplewise else objective.outputs.new_zeros(n, size)
    for samples, jacobians in output_jacobians(objective):
        if mixed is None:
            n_groups = jacobians.shape[1] // n
            groups = slice(samples.start * n_groups, samples.stop * n_groups)
            part = factors.of_groups[groups] @ jacobians.reshape(-1, n, size)
            used = factors.signs[groups] != 0
            yield part[used], factors.signs[groups][used]
        else:  # every row is a mixture of all samples
            each = jacobians.shape[1]
            mixed.addmm_(factors.of_groups[0][:, samples.start * each : samples.stop * each], jacobians.flatten(0, 1))
        if bar is not None:
            bar.update(len(jacobians))
    if mixed is not None:
        used = factors.signs[0] != 0
        yield mixed[used], factors.signs[0][used]


def _all_eigenvalues(matrix: Tensor) -> np.ndarray:
    """Return all eigenvalues of a symmetric matrix, which is overwritten."""
    if matrix.device.type != "cpu":
        return torch.linalg.eigvalsh(matrix).cpu().numpy()
    return scipy.linalg.eigvalsh(matrix.numpy().T, overwrite_a=True, check_finite=False)
