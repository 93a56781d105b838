"""Gradient propagation: how the loss's gradient fades or grows on its way back through time (Eq. 10 and 15)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from tqdm import tqdm

from lyapkit.arguments import Array
from lyapkit.learning.objective import Loss, Objective, checked_loss
from lyapkit.learning.unrolled import Unrolled
from lyapkit.models.network import Network
from lyapkit.models.wcrnn import WCRNN
from lyapkit.provenance import provenance

_NAMES = {  # prefix of a variable to what it is the norm of
    "": "‖∂L/∂h_t‖",
    "predicted_": "‖a_T R^(T−t)‖ (Eq. 15)",
    "averaged_": "‖a_T J̄^(T−t)‖, J̄ the time-averaged Jacobian",
}


def gradient_norms(
    model: Network | nn.Module,
    inputs: Array,
    targets: Array,
    loss: Loss,
    *,
    batch_size: int | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> xr.Dataset:
    """Return the norms of the gradients of each sample's loss with respect to the state at every step.

    a_t = ∂L/∂h_t is carried back by the Jacobians of the steps, a_{t−1} = a_t J_t, from the readout's gradient a_T;
    where the network is weakly coupled a_t ≈ a_T R^{T−t} (Dubinin & Effenberger 2024, Eq. 10 and 15).

    Parameters
    ----------
    model : Network or nn.Module
        A WCRNN, a `RecurrentNetwork`, another `Network`, or a module of one recurrent module and one linear readout.
    inputs : array, tensor or DataArray
        (trajectory, time, feature), one trajectory per sample.
    targets : array or tensor
        (sample, …), whatever `loss` takes.
    loss : callable
        ``loss(outputs, targets)``, a scalar, for outputs (sample, output); asked for one sample at a time.
    batch_size : int, optional
        Samples at once; changes memory and speed alone.
    dtype, device : optional
        What to compute in, and where. Default: float64, where the model is.
    progress : bool
        Show a progress bar.

    Returns
    -------
    xarray.Dataset
        `gradient_norm` (sample, time), ‖∂L/∂h_t‖ for t = 1 … T; `decay_rate` (sample,), the slope of its logarithm
        against the distance T − t in nats per step, by least squares: negative where gradients fade on their way
        back, NaN where one vanished. For WCRNNs also what Eq. 15 predicts: `predicted_gradient_norm`, ‖a_T R^{T−t}‖,
        and its `predicted_decay_rate`, which is log r for a residual r times an orthogonal matrix; and, to first order
        in the coupling, `averaged_gradient_norm` and `averaged_decay_rate`, of each sample's time-averaged Jacobian.

    Raises
    ------
    ValueError
        If inputs, targets, loss and network do not fit together, values are not finite, or there is no readout.
    """
    objective = Objective(model, inputs, targets, loss, batch_size=batch_size, dtype=dtype, device=device)
    network = objective.network
    n_samples, n_steps = objective.inputs.shape[:2]
    is_wcrnn = isinstance(network, WCRNN)
    norms = {name: np.empty((n_samples, n_steps)) for name in (_NAMES if is_wcrnn else [""])}
    along = _by_hand if is_wcrnn else _by_autograd
    for samples in tqdm(objective.batches, unit="batch", disable=not progress):
        given = network, objective.inputs[samples], objective.targets[samples], loss
        for time, gradients in zip(reversed(range(n_steps)), along(*given), strict=True):
            for of_kind, gradient in zip(norms.values(), gradients, strict=True):
                of_kind[samples, time] = torch.linalg.vector_norm(gradient, dim=1).cpu()

    ds = xr.Dataset(
        coords={
            "sample": ("sample", np.arange(n_samples), {"units": "1", "long_name": "sample"}),
            "time": ("time", np.arange(1, n_steps + 1), {"units": "step", "long_name": "time"}),
        },
        attrs=provenance(loss=getattr(loss, "__name__", str(loss)), dtype=str(dtype))
        | network.description
        | {"n_samples": n_samples, "references": "Dubinin & Effenberger 2024, Eq. 10 and 15"},
    )
    for prefix, values in norms.items():
        ds[f"{prefix}gradient_norm"] = (("sample", "time"), values, {"units": "1", "long_name": _NAMES[prefix]})
        long_name = f"{prefix}decay rate of the gradient".replace("_", " ")
        ds[f"{prefix}decay_rate"] = (
            "sample",
            _decay_rates(values),
            {"units": "nats per step", "long_name": long_name},
        )
    return ds


def _by_hand(network: WCRNN, inputs: Tensor, targets: Tensor, loss: Loss) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield for t = T … 1 ∂L/∂h_t, a_T R^{T−t}, and a_T J̄^{T−t}, (B, N) each."""
    with torch.no_grad():
        unrolled = Unrolled(network, inputs)
    last = unrolled.states[-1].clone().requires_grad_()
    (of_last,) = torch.autograd.grad(_sum_of_losses(network.read(last), targets, loss), last)
    residual = averaged = of_last
    with torch.no_grad():
        for _, gradient, _ in unrolled.back(of_last):
            yield gradient, residual, averaged
            residual = network.residual.transposed(residual)
            averaged = unrolled.back_averaged(averaged)


def _by_autograd(network: Network, inputs: Tensor, targets: Tensor, loss: Loss) -> Iterator[tuple[Tensor]]:
    """Yield for t = T … 1 ∂L/∂h_t, (B, N)."""
    network.requires_grad_(True)  # so that the states are nodes of a graph
    states = list(network.states(inputs))
    for gradient in reversed(torch.autograd.grad(_sum_of_losses(network.read(states[-1]), targets, loss), states)):
        yield (gradient,)


def _sum_of_losses(outputs: Tensor, targets: Tensor, loss: Loss) -> Tensor:
    return sum(checked_loss(loss, outputs[i : i + 1], targets[i : i + 1]) for i in range(len(outputs)))


def _decay_rates(norms: np.ndarray) -> np.ndarray:
    """Return the slopes of log(norms) against T − t, (sample,)."""
    distance = np.arange(norms.shape[1])[::-1]
    centred = distance - distance.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(norms)
        logs[~np.isfinite(logs).all(axis=1)] = np.nan
        return logs @ centred / (centred @ centred)
