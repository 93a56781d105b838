"""Products of the Hessian, and of its Gauss–Newton part (GGN), with vectors, without ever forming a matrix (Eq. 7)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lyapkit.learning.objective import Objective

Product = Callable[[np.ndarray], np.ndarray]


def hessian_product(objective: Objective, vector: Tensor) -> Tensor:
    """Return the Hessian of the objective times a vector (P,)."""
    return _product(objective, vector, curved=True)


def ggn_product(objective: Objective, vector: Tensor) -> Tensor:
    """Return the generalised Gauss–Newton matrix times a vector (P,): the first term of Eq. 7.

    It is the Hessian of the loss of a network that is replaced by its tangent, so that what the loss takes of the
    parameters directly is in it, too.
    """
    return _product(objective, vector, curved=False)


@torch.no_grad()
def _product(objective: Objective, vector: Tensor, curved: bool) -> Tensor:
    tangents = objective.split(vector)
    product = torch.zeros_like(vector)
    of_all, is_pushed = None, False
    if objective.penalized or not objective.is_samplewise:  # the way back of one sample needs the tangents of all
        pushed = []
        for samples in objective.batches:
            network = objective.linearization(samples)
            pushed.append(network.push(tangents))
        of_all, direct = objective.curvature(torch.cat(pushed), tangents)
        for name, part in objective.split(product).items():
            if name in direct:
                part += direct[name]
        is_pushed = len(objective.batches) == 1
    for samples in objective.batches:
        if not is_pushed:
            network = objective.linearization(samples)
            moved = network.push(tangents)
        of_outputs = objective.output_curvature(moved, samples) if of_all is None else of_all[samples]
        product += objective.flat(network.pull(of_outputs, curved=curved))
    return product


class OnArrays:
    """The Hessian or the GGN as SciPy wants it: products with NumPy vectors in float64, counted."""

    def __init__(self, objective: Objective, product: Callable[[Objective, Tensor], Tensor], bar: tqdm) -> None:
        self.objective, self.product, self.bar = objective, product, bar
        self.n_products = 0

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        """Return the matrix times a vector (P,).

        Raises
        ------
        ValueError
            If it is not finite.
        """
        self.bar.update()
        self.n_products += 1
        given = torch.from_numpy(np.ascontiguousarray(vector)).to(self.objective.outputs)
        product = self.product(self.objective, given).double().cpu().numpy()
        if not np.isfinite(product).all():
            raise ValueError(
                "a product of the curvature with a vector is not finite: derivatives overflow, or the loss has no "
                "second derivative here (a root at a perfect fit); shorten the sequences, or take another loss"
            )
        return product
