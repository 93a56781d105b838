"""Products of the Hessian, and of its Gauss–Newton part (GGN), with vectors, without ever forming a matrix (Eq. 7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, jvp
from tqdm import tqdm

from lyapkit.learning.objective import Objective
from lyapkit.models.wcrnn import WCRNN

Product = Callable[[np.ndarray], np.ndarray]
Pull = Callable[[Tensor | None, Tensor], Mapping[str, Tensor]]


def hessian_product(objective: Objective, vector: Tensor) -> Tensor:
    """Return the Hessian of the objective times a vector (P,)."""
    return _product(objective, vector, gauss_newton=False)


def ggn_product(objective: Objective, vector: Tensor) -> Tensor:
    """Return the generalised Gauss–Newton matrix times a vector (P,): the first term of Eq. 7."""
    return _product(objective, vector, gauss_newton=True)


@torch.no_grad()
def _product(objective: Objective, vector: Tensor, gauss_newton: bool) -> Tensor:
    tangents = objective.split(vector)

    def along(samples: slice) -> tuple[Tensor, Pull]:
        return linearized_outputs(objective, samples, tangents)

    curvatures = None
    if not objective.is_samplewise:  # the way back of one sample needs the tangents of all
        curvatures = objective.output_curvature(torch.cat([along(samples)[0] for samples in objective.batches]))
    product = torch.zeros_like(vector)
    for samples in objective.batches:
        output_tangents, pull = along(samples)
        of_loss = objective.output_curvature(output_tangents, samples) if curvatures is None else curvatures[samples]
        product += objective.flat(pull(None if gauss_newton else objective.output_gradient[samples], of_loss))
    return product


def linearized_outputs(objective: Objective, samples: slice, tangents: Mapping[str, Tensor]) -> tuple[Tensor, Pull]:
    """Return the tangents of a micro-batch's outputs, (B, O), along tangents of parameters, and the way back.

    Parameters
    ----------
    objective : Objective
        If its network is a WCRNN, derivatives are by hand, else by automatic differentiation.
    samples : slice
        The micro-batch.
    tangents : mapping
        Names of parameters to tangents of their shapes.

    Returns
    -------
    output_tangents : Tensor
        (B, O).
    pull : callable
        ``pull(output_gradient, output_curvature)``, see `Unrolled.pull`.
    """
    if isinstance(objective.network, WCRNN):
        unrolled = objective.unrolled(samples)
        return unrolled.push(tangents), unrolled.pull
    network, inputs = objective.network, objective.inputs[samples]
    parameters = {name: network.get_parameter(name).detach() for name in tangents}

    def outputs(parameters: Mapping[str, Tensor]) -> Tensor:
        return functional_call(network, parameters, (inputs,))

    @torch.enable_grad()
    def pull(output_gradient: Tensor | None, output_curvature: Tensor) -> Mapping[str, Tensor]:
        leaves = {name: parameter.clone().requires_grad_() for name, parameter in parameters.items()}
        computed = outputs(leaves)
        scalar = (computed * output_curvature).sum()
        if output_gradient is not None:
            weighted = (computed * output_gradient).sum()
            gradients = torch.autograd.grad(weighted, list(leaves.values()), create_graph=True)
            scalar = scalar + sum((g * t).sum() for g, t in zip(gradients, tangents.values(), strict=True))
        products = torch.autograd.grad(scalar, list(leaves.values()), materialize_grads=True)
        return dict(zip(leaves, products, strict=True))

    return jvp(outputs, (parameters,), (dict(tangents),))[1], pull


class OnArrays:
    """The Hessian or the GGN as SciPy wants it: products with NumPy vectors in float64, counted."""

    def __init__(self, objective: Objective, product: Callable[[Objective, Tensor], Tensor], bar: tqdm) -> None:
        self.objective, self.product, self.bar = objective, product, bar
        self.n_products = 0

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        """Return the matrix times a vector (P,)."""
        self.bar.update()
        self.n_products += 1
        given = torch.from_numpy(np.ascontiguousarray(vector)).to(self.objective.outputs)
        return self.product(self.objective, given).double().cpu().numpy()
