"""Learning-rate modulation: what each unrolled layer contributes to the curvature along a direction (Eq. 6 to 10).

For a direction v in weight space and p_t = Dh_t v, layer t contributes m_v(t) = vᵀK_t v + ⟨V_{T,t} ∂_w h_t v, H_L p_T⟩:
its own curvature, weighted by the gradient that reaches it (Eq. 9), and its part of the Gauss–Newton term. The sum
over t is vᵀHv, so that η m_v(t) is the effective learning rate that layer t contributes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from tqdm import tqdm

from lyapkit.arguments import Array
from lyapkit.learning.curvature import hessian_eigenvalues
from lyapkit.learning.objective import Objective, as_tensor
from lyapkit.learning.products import hessian_product
from lyapkit.losses import Loss
from lyapkit.models.network import Network
from lyapkit.progress import progress_bar
from lyapkit.scalars import real


def learning_rate_modulation(
    model: Network | nn.Module,
    inputs: Array,
    targets: Array,
    loss: Loss | str,
    *,
    direction: Array | None = None,
    k: int = 1,
    learning_rate: float = 1.0,
    parameters: str | Sequence[str] = "recurrent",
    lengths: Array | None = None,
    batch_size: int | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> xr.Dataset:
    """Return what each unrolled layer contributes to the curvature along directions in weight space.

    Parameters
    ----------
    model, inputs, targets, loss, lengths, batch_size, dtype, device, seed, progress
        As for `hessian_eigenvalues`.
    direction : array, optional
        (P,), or (k, P) for several: in the space of the block of parameters, flattened in the block's order. Scaled to
        unit length. Default: the k leading eigenvectors of the Hessian, by magnitude.
    k : int
        Number of eigenvectors if no direction is given. Default 1.
    learning_rate : float
        η. Default 1.
    parameters : "recurrent", str or sequence of str
        The block of parameters, without those of the readout, which are in no unrolled layer.

    Returns
    -------
    xarray.Dataset
        `modulation` (eigenvector, time), m_v(t) for t = 1 … T, and its parts `curvature_part` (Eq. 9) and `ggn_part`;
        `effective_learning_rate`, η m_v(t); `directional_curvature` (eigenvector), vᵀHv = Σ_t m_v(t); `alignment`
        (time), ⟨∂L/∂w|_t, ∂L/∂w⟩ / ‖∂L/∂w‖², which sums to 1: layers in phase add, layers out of phase cancel.

    Raises
    ------
    ValueError
        If the block holds a parameter of the readout, the loss takes parameters directly, the direction does not fit
        the block or has no length, inputs, targets, loss and network do not fit together, or the contributions of
        layers do not sum to vᵀHv, which is computed apart.

    Examples
    --------
    >>> import lyapkit as lk
    >>> model = lk.WCRNN(1, 8, 10, lk.residuals.scaled_identity(8, 0.9), 0.1)
    >>> inputs, labels = lk.task("digits").test_samples(20)
    >>> ds = lk.learning_rate_modulation(model, inputs, labels, "cross-entropy")
    >>> ds.sizes["time"]
    64
    """
    learning_rate = real("learning_rate", learning_rate)
    given: dict[str, Any] = {"lengths": lengths, "batch_size": batch_size, "dtype": dtype, "device": device}
    objective = Objective(model, inputs, targets, loss, parameters=parameters, **given)
    _check_in_layers(objective)
    if direction is None:
        options: dict[str, Any] = given | {
            "seed": seed,
            "progress": progress,
            "parameters": parameters,
            "eigenvectors": True,
        }
        direction = hessian_eigenvalues(model, inputs, targets, loss, k, **options)["eigenvector"].values
    directions = _unit_vectors(direction, objective)

    curvature, gauss_newton = np.zeros((2, len(directions), objective.inputs.shape[1]))
    with progress_bar(progress, total=len(directions) * len(objective.batches), unit="batch") as bar:
        for index, vector in enumerate(directions):
            curvature[index], gauss_newton[index] = _contributions(objective, vector, bar)

    total = curvature + gauss_newton
    per_layer = ("eigenvector", "time")
    units = {"units": "loss per parameter²"}
    ranks = np.arange(1, len(directions) + 1)
    return xr.Dataset(
        {
            "modulation": (per_layer, total, units | {"long_name": "contribution of layer t to vᵀHv"}),
            "curvature_part": (per_layer, curvature, units | {"long_name": "curvature of layer t, vᵀK_t v (Eq. 9)"}),
            "ggn_part": (per_layer, gauss_newton, units | {"long_name": "Gauss–Newton contribution of layer t"}),
            "effective_learning_rate": (
                per_layer,
                learning_rate * total,
                {"units": "1", "long_name": "effective learning rate of layer t, η m_v(t)"},
            ),
            "directional_curvature": (
                "eigenvector",
                total.sum(axis=1),
                units | {"long_name": "curvature along the direction, vᵀHv"},
            ),
            "alignment": (
                "time",
                _alignment(objective),
                {"units": "1", "long_name": "alignment of layer t's gradient with the whole one"},
            ),
        },
        coords={
            "eigenvector": ("eigenvector", ranks, {"units": "1", "long_name": "direction in weight space"}),
            "time": ("time", np.arange(1, total.shape[1] + 1), {"units": "step", "long_name": "time"}),
        },
        attrs=objective.attributes(learning_rate=learning_rate, seed=seed)
        | {"learning_rate": learning_rate, "references": "Dubinin & Effenberger 2024, Eq. 6 to 10"},
    )


def _check_in_layers(objective: Objective) -> None:
    """Refuse parameters that are in no unrolled layer: those of the readout, alone or tied, and penalized ones."""
    network = objective.network
    named = dict(network.named_parameters(remove_duplicate=False))
    readout = {id(named[name]) for name in network.readout_parameters if name in named}
    if of_readout := sorted(name for name in objective.block if id(network.get_parameter(name)) in readout):
        raise ValueError(f"{', '.join(of_readout)} belong to the readout, in no unrolled layer: leave them out")
    if objective.penalized:
        raise ValueError(
            f"the loss depends on {', '.join(objective.penalized)} directly, which is in no unrolled layer: leave "
            "penalties on parameters out of it"
        )


def _contributions(objective: Objective, vector: Tensor, bar: tqdm) -> tuple[np.ndarray, np.ndarray]:
    """Return vᵀK_t v and the Gauss–Newton contribution of every layer t, (T,) each."""
    tangents = objective.split(vector)
    of_all = None
    if not objective.is_samplewise:  # the loss couples samples: it has to know the tangents of all of them
        moved = [objective.linearization(samples).push(tangents) for samples in objective.batches]
        of_all = objective.output_curvature(torch.cat(moved))
    curvature = gauss_newton = torch.zeros((), dtype=vector.dtype)
    for samples in objective.batches:
        layers = objective.linearization(samples)
        moved = layers.push(tangents)
        of_outputs = objective.output_curvature(moved, samples) if of_all is None else of_all[samples]
        seeds, changes = layers.seeds(of_outputs), layers.seed_changes()
        through = layers.back(seeds if changes is None else seeds + changes)
        gauss_newton = gauss_newton + (through * layers.immediate(tangents)).sum((1, 2))
        gradients = layers.back(layers.seeds(objective.output_gradient[samples]))
        curvature = curvature + (gradients * layers.bent()).sum((1, 2))
        bar.update()
    parts = curvature.cpu().numpy(), gauss_newton.cpu().numpy()
    _check_sum(parts, float(vector @ hessian_product(objective, vector)), vector.dtype)
    return parts


def _check_sum(parts: tuple[np.ndarray, np.ndarray], whole: float, dtype: torch.dtype) -> None:
    """Refuse contributions that do not make up the curvature along the direction."""
    total, extent = sum(part.sum() for part in parts), sum(np.abs(part).sum() for part in parts)
    tolerance = 1e-7 if dtype == torch.float64 else 1e-2
    if not abs(total - whole) <= tolerance * max(extent, abs(whole)):
        raise ValueError(
            f"the layers' contributions sum to {total:.6g}, and the curvature along the direction is {whole:.6g}: the "
            "network does more with these parameters than its steps and its readout say, or derivatives overflow"
        )


def _alignment(objective: Objective) -> np.ndarray:
    """Return c(t) = ⟨∂L/∂w|_t, ∂L/∂w⟩ / ‖∂L/∂w‖², (T,)."""
    gradient = torch.zeros((), dtype=objective.output_gradient.dtype)
    for samples in objective.batches:
        layers = objective.linearization(samples)
        gradient = gradient + objective.flat(layers.pull(objective.output_gradient[samples]))
    tangents, aligned = objective.split(gradient), torch.zeros((), dtype=gradient.dtype)
    for samples in objective.batches:
        layers = objective.linearization(samples)
        back = layers.back(layers.seeds(objective.output_gradient[samples]))
        aligned = aligned + (back * layers.immediate(tangents)).sum((1, 2))
    if not bool(gradient.any()):
        warnings.warn("the gradient of the loss is zero: no layer has an alignment with it (NaN)", stacklevel=3)
        return np.full(len(aligned), np.nan)
    return (aligned / (gradient @ gradient)).cpu().numpy()


def _unit_vectors(direction: Array, objective: Objective) -> Tensor:
    """Return directions as unit vectors, (k, P), or say what is wrong with them."""
    values = torch.atleast_2d(as_tensor(direction).detach()).to(objective.inputs)
    if values.ndim != 2 or values.shape[1] != objective.size:
        raise ValueError(
            f"direction has shape {tuple(values.shape)}, expected {objective.size} numbers for each, one per parameter "
            f"of {', '.join(objective.block)}"
        )
    lengths = torch.linalg.vector_norm(values, dim=1, keepdim=True)
    if not bool((lengths.isfinite() & (lengths > 0)).all()):
        raise ValueError("a direction must be finite and not zero; an eigenvector is NaN if it was not found")
    return values / lengths
