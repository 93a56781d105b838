"""Gradient propagation: how the loss's gradient fades or grows on its way back through time (Eq. 10 and 15)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from lyapkit.arguments import Array
from lyapkit.learning.linearization import ByHand
from lyapkit.learning.objective import Objective
from lyapkit.losses import Loss
from lyapkit.models.network import Network
from lyapkit.progress import progress_bar
from lyapkit.provenance import provenance

_NAMES = {  # prefix of a variable to what it is the norm of
    "": "‖S ∂L/∂h_t‖, S the number of samples",
    "predicted_": "‖a_T R^(T−t)‖ (Eq. 15)",
    "averaged_": "‖a_T J̄^(T−t)‖, J̄ the time-averaged Jacobian",
}


def gradient_norms(
    model: Network | nn.Module,
    inputs: Array,
    targets: Array,
    loss: Loss | str,
    *,
    lengths: Array | None = None,
    batch_size: int | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Return the norms of the gradients of the loss with respect to each sample's state at every step.

    a_t = S ∂L/∂h_t is carried back by the Jacobians of the steps, a_{t−1} = a_t J_t, from the readout's gradient a_T;
    where the network is weakly coupled a_t ≈ a_T R^{T−t} (Dubinin & Effenberger 2024, Eq. 10 and 15). L is the very
    loss given, of all S samples together: a sample's gradient is that of its share in it, with its weights. Divide
    by S for ∂L/∂h_t itself. With ℓ_i the loss of sample i alone, ‖S ∂L/∂h_t‖ of sample i is ‖∂ℓ_i/∂h_t‖ times

    - 1 for the mean over samples, L = Σ ℓ_i / S, as in the paper;
    - S for the sum, L = Σ ℓ_i (``reduction="sum"``);
    - S w_i / Σ_j w_j for PyTorch's mean with weights of classes, w_i that of sample i's class;
    - S / S' with labels that are ignored, S' the number of others; 0 for samples whose label is ignored, which have no
      decay rate.

    Decay rates do not depend on the factor. Losses that couple samples, a root mean square for instance, have no ℓ_i.

    Parameters
    ----------
    model : Network or nn.Module
        As for `hessian_eigenvalues`.
    inputs : array, tensor or DataArray
        (trajectory, time, feature), one trajectory per sample.
    targets : array or tensor
        (sample, …), whatever `loss` takes.
    loss : callable or str
        As for `hessian_eigenvalues`: asked once, for all samples.
    lengths : array of int, optional
        (sample,): how many steps of each sequence count, where what follows is padding. Default: all.
    batch_size : int, optional
        Samples at once; changes memory and speed alone.
    dtype, device : optional
        What to compute in, and where. Default: float64, where the model is.
    progress : bool, optional
        Show a progress bar. Default: after two seconds, in terminals and notebooks.

    Returns
    -------
    xarray.Dataset
        `gradient_norm` (sample, time), ‖S ∂L/∂h_t‖ for t = 1 … T, NaN after a sample's end; `decay_rate` (sample,), the
        slope of its logarithm against the distance from the end in nats per step, by least squares: negative where
        gradients fade on their way back, NaN where one vanished. For WCRNNs that read their last state also what
        Eq. 15 predicts: `predicted_gradient_norm`, ‖a_T R^{T−t}‖, and its `predicted_decay_rate`, which is log r for a
        residual r times an orthogonal matrix; and, to first order in the coupling, `averaged_gradient_norm` and
        `averaged_decay_rate`, of each sample's time-averaged Jacobian.

    Raises
    ------
    ValueError
        If inputs, targets, loss and network do not fit together, values are not finite, or there is no readout.

    Examples
    --------
    >>> import lyapkit as lk
    >>> model = lk.WCRNN(1, 8, 10, lk.residuals.scaled_identity(8, 0.9), 0.1)
    >>> inputs, labels = lk.task("digits").test_samples(20)
    >>> ds = lk.gradient_norms(model, inputs, labels, "cross-entropy")
    >>> ds.gradient_norm.shape, bool(ds.decay_rate.max() < 0)
    ((20, 64), True)
    """
    given: dict[str, Any] = {
        "parameters": None,
        "lengths": lengths,
        "batch_size": batch_size,
        "dtype": dtype,
        "device": device,
    }
    objective = Objective(model, inputs, targets, loss, **given)
    network = objective.network
    n_samples, n_steps = objective.inputs.shape[:2]
    norms: dict[str, np.ndarray] = {}
    for samples in progress_bar(progress, iterable=objective.batches, unit="batch"):
        linearization = objective.linearization(samples)
        seeds = linearization.seeds(n_samples * objective.output_gradient[samples])
        kinds = [linearization.back(seeds)]
        if isinstance(linearization, ByHand) and not network.every_step:
            kinds += linearization.back_predicted(seeds)
        for name, gradients in zip(_NAMES, kinds, strict=False):
            of_kind = norms.setdefault(name, np.empty((n_samples, n_steps)))
            of_kind[samples] = torch.linalg.vector_norm(gradients, dim=2).mT.cpu()
    distance = np.arange(n_steps)[::-1].astype(float) - np.zeros((n_samples, 1))
    if objective.lengths is not None:
        distance -= n_steps - objective.lengths.cpu().numpy()[:, None]
        for values in norms.values():  # what comes after a sequence's end is no part of it
            values[distance < 0] = np.nan

    ds = xr.Dataset(
        coords={
            "sample": ("sample", np.arange(n_samples), {"units": "1", "long_name": "sample"}),
            "time": ("time", np.arange(1, n_steps + 1), {"units": "step", "long_name": "time"}),
        },
        attrs=provenance(loss=objective.loss_name, dtype=str(dtype))
        | network.description
        | {"n_samples": n_samples, "references": "Dubinin & Effenberger 2024, Eq. 10 and 15"},
    )
    for prefix, values in norms.items():
        ds[f"{prefix}gradient_norm"] = (
            ("sample", "time"),
            values,
            {"units": "loss per state variable", "long_name": _NAMES[prefix]},
        )
        long_name = f"{prefix}decay rate of the gradient".replace("_", " ")
        ds[f"{prefix}decay_rate"] = (
            "sample",
            _decay_rates(values, distance),
            {"units": "nats per step", "long_name": long_name},
        )
    return ds


def _decay_rates(norms: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Return the slopes of log(norms) against the distance from the end of each sample, (sample,)."""
    counts = distance >= 0
    n_steps = counts.sum(axis=1, keepdims=True)
    centred = np.where(counts, distance - np.where(counts, distance, 0).sum(axis=1, keepdims=True) / n_steps, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(counts, np.log(norms), 0)
        logs[~np.isfinite(logs).all(axis=1)] = np.nan
        return (logs * centred).sum(axis=1) / (centred**2).sum(axis=1)
