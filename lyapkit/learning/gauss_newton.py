"""All eigenvalues of the generalised Gauss–Newton matrix (GGN), exactly, from the Jacobians of all outputs (Eq. 8)."""

from __future__ import annotations

import numpy as np
import scipy.linalg
import torch
from torch import Tensor
from tqdm import tqdm

from lyapkit.learning.jacobians import output_jacobians
from lyapkit.learning.objective import Objective
from lyapkit.memory import available_memory, gibibytes

_RANK_TOLERANCE = 1e-12  # of a loss's curvature, relative to the largest: below is rounding


def full_ggn_spectrum(objective: Objective, memory: float | None, progress: bool) -> tuple[np.ndarray, int]:
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
