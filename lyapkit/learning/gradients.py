"""Gradient propagation: how the loss's gradient fades or grows on its way back through time (Eq. 10 and 15)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from lyapkit.lyapunov import Array, checked_inputs
from lyapkit.models.wcrnn import WCRNN

Loss = Callable[[Tensor, Tensor], Tensor]


def gradient_norms(model: WCRNN, inputs: Array, targets: Array, loss: Loss) -> xr.Dataset:
    """Return the norms of the gradients of each sample's loss with respect to the state at every step.

    a_t = ∂L/∂h_t is carried back by the Jacobians of the steps, a_{t−1} = a_t J_t, from the readout's gradient a_T;
    where the network is weakly coupled a_t ≈ a_T R^{T−t} (Dubinin & Effenberger 2024, Eq. 10 and 15).

    Parameters
    ----------
    model : WCRNN
        With its readout.
    inputs : array, tensor or DataArray
        (trajectory, time, feature), one trajectory per sample.
    targets : array or tensor
        (sample, …), whatever `loss` takes.
    loss : callable
        ``loss(outputs, targets)``, a scalar, for a batch of outputs (sample, output); called for one sample at a time.

    Returns
    -------
    xarray.Dataset
        `gradient_norm` (sample, time), ‖∂L/∂h_t‖ for t = 1 … T.

    Raises
    ------
    ValueError
        If the inputs do not fit the model, or there is not one target for each.
    """
    system = model.converted(torch.float64, torch.device("cpu"))
    values = torch.from_numpy(checked_inputs(inputs, system))
    targets = torch.as_tensor(targets)
    if len(targets) != len(values):
        raise ValueError(f"there are {len(targets)} targets for {len(values)} samples")
    with torch.no_grad():
        states, gains = system.linearized(values.new_zeros(len(values), system.state_size), values)
    last = states[:, -1].requires_grad_()
    outputs = system.readout(last)
    total = sum(loss(outputs[i : i + 1], targets[i : i + 1]) for i in range(len(values)))
    (gradient,) = torch.autograd.grad(total, last)

    weight, residual = system.recurrent.weight.detach(), system.residual.matrix
    n_steps = values.shape[1]
    norms = np.empty((len(values), n_steps))
    for time in reversed(range(n_steps)):
        norms[:, time] = torch.linalg.vector_norm(gradient, dim=1)
        through_residual = gradient * gains.residual[:, time]
        gradient = through_residual @ residual + (gradient * gains.coupling[:, time]) @ weight
    return xr.Dataset(
        {"gradient_norm": (("sample", "time"), norms, {"units": "1", "long_name": "‖∂L/∂h_t‖"})},
        coords={
            "sample": ("sample", np.arange(len(values)), {"units": "1", "long_name": "sample"}),
            "time": ("time", np.arange(1, n_steps + 1), {"units": "step", "long_name": "time"}),
        },
        attrs={"system": str(system), "references": "Dubinin & Effenberger 2024, Eq. 10 and 15"},
    )


def decay_rate(ds: xr.Dataset) -> xr.DataArray:
    """Return the slope of log‖∂L/∂h_t‖ against the distance T − t, (sample,), in nats per step, by least squares.

    Negative where gradients fade on their way back; log|ρ| is what Eq. 15 predicts. NaN where a gradient vanished.
    """
    distance = float(ds["time"][-1]) - ds["time"].values
    centred = distance - distance.mean()
    with np.errstate(divide="ignore"):
        logs = np.log(ds["gradient_norm"].values)
    logs[~np.isfinite(logs).all(axis=1)] = np.nan
    slope = logs @ centred / (centred @ centred)
    attributes = {"units": "nats per step", "long_name": "decay rate of the gradient"}
    return xr.DataArray(slope, {"sample": ds["sample"]}, ("sample",), "decay_rate", attributes)
