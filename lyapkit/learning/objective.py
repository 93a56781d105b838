"""`Objective`: a loss as a function of some of a network's parameters, what curvature and modulation differentiate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lyapkit.arguments import Array, available_device, checked_inputs
from lyapkit.learning.unrolled import Unrolled
from lyapkit.memory import available_memory
from lyapkit.models.given_modules import as_network
from lyapkit.models.network import Network
from lyapkit.provenance import provenance

Loss = Callable[[Tensor, Tensor], Tensor]
STATES_AT_ONCE = 5_000_000  # state variables of a micro-batch over all steps, 40 MB in float64
ARRAYS_KEPT = 8  # of the size of the states, of an unrolled WCRNN
KEPT_SHARE = 0.5  # of the free memory that may be taken to keep them for the next product


class Objective:
    """A loss of all outputs of a network, as a function of a block of its parameters.

    The loss is asked once, for all outputs together, so that it need not be a mean over samples (a root mean square is
    not); the network is computed in micro-batches, whose size changes nothing but memory and speed.

    Parameters
    ----------
    model : Network or nn.Module
        See `as_network`. It is copied.
    inputs : array, tensor or DataArray
        (trajectory, time, feature), one trajectory per sample.
    targets : array or tensor
        (sample, …), whatever `loss` takes.
    loss : callable
        ``loss(outputs, targets)``, a scalar, for outputs (sample, output).
    parameters : "recurrent", "all", str or sequence of str
        The block: the recurrent weights, all parameters, or parameters by their names. Default "recurrent".
    batch_size : int, optional
        Samples in a micro-batch. Default: as many as have 5 million state variables over all steps.
    dtype, device : optional
        What to compute in, and where. Default: float64, where the model is.

    Attributes
    ----------
    outputs, output_gradient : Tensor
        (S, O): the outputs, and the loss's gradient with respect to them.
    is_samplewise : bool
        Whether the Hessian of the loss with respect to the outputs couples no two samples.

    Raises
    ------
    ValueError
        If inputs, targets, loss and network do not fit together, values are not finite, there are no samples, the
        network has no readout, or a parameter is unknown.
    """

    def __init__(
        self,
        model: Network | nn.Module,
        inputs: Array,
        targets: Array,
        loss: Loss,
        *,
        parameters: str | Sequence[str] = "recurrent",
        batch_size: int | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str | None = None,
    ) -> None:
        network = as_network(model, _as_tensor(inputs))
        self.device = network.device if device is None else available_device(device)
        self.network: Network = network.converted(dtype, self.device).requires_grad_(False)
        self.inputs = torch.from_numpy(checked_inputs(inputs, network)).to(self.device, dtype)
        self.targets = _checked_targets(targets, len(self.inputs)).to(self.device)
        if self.targets.is_floating_point():
            self.targets = self.targets.to(dtype)
        self.block = _block(self.network, parameters)
        self.size = sum(parameter.numel() for parameter in self.block.values())
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        n_states = self.inputs.shape[1] * self.network.state_size
        batch_size = batch_size or max(1, STATES_AT_ONCE // n_states)
        self.batches = [slice(i, i + batch_size) for i in range(0, len(self.inputs), batch_size)]

        with torch.no_grad():
            self.outputs = torch.cat([self.network(self.inputs[samples]) for samples in self.batches])
        self._outputs = self.outputs.clone().requires_grad_()
        self.loss = checked_loss(loss, self._outputs, self.targets)
        (self._gradient,) = torch.autograd.grad(self.loss, self._outputs, create_graph=True)
        self.output_gradient = self._gradient.detach()
        n_bytes = ARRAYS_KEPT * len(self.inputs) * n_states * self.inputs.element_size()
        self._keeps = n_bytes < KEPT_SHARE * available_memory(self.device)
        self._kept: dict[int, Unrolled] = {}
        self.is_samplewise = len(self.inputs) == 1 or self._couples_no_samples()

    def output_curvature(self, tangents: Tensor, samples: slice | None = None) -> Tensor:
        """Return the Hessian of the loss with respect to the outputs times `tangents`, (S, O).

        With `samples`, tangents and result are those of the samples alone, the other samples' tangents being zero.
        """
        if not self._gradient.requires_grad:  # of a loss that is linear in the outputs
            return torch.zeros_like(tangents)
        given = tangents
        if samples is not None:
            tangents = torch.zeros_like(self.outputs)
            tangents[samples] = given
        (product,) = torch.autograd.grad(
            self._gradient, self._outputs, tangents, retain_graph=True, materialize_grads=True
        )
        return product if samples is None else product[samples]

    def unrolled(self, samples: slice) -> Unrolled:
        """Return the WCRNN unrolled along a micro-batch; kept for the next product if there is memory for all."""
        if samples.start in self._kept:
            return self._kept[samples.start]
        unrolled = Unrolled(self.network, self.inputs[samples])
        if self._keeps:
            self._kept[samples.start] = unrolled
        return unrolled

    def split(self, vector: Tensor) -> dict[str, Tensor]:
        """Return a vector (P,) as tensors of the parameters' names and shapes."""
        parts = vector.split([parameter.numel() for parameter in self.block.values()])
        return {name: part.view_as(self.block[name]) for name, part in zip(self.block, parts, strict=True)}

    def flat(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return tensors by the parameters' names as one vector (P,)."""
        return torch.cat([tensors[name].reshape(-1) for name in self.block])

    @property
    def description(self) -> dict[str, str]:
        """Attributes of a dataset: which network, parameters, and samples."""
        return {
            **self.network.description,
            "block": ", ".join(self.block),
            "n_parameters": self.size,
            "n_samples": len(self.inputs),
            "n_steps": self.inputs.shape[1],
            "loss": float(self.loss.detach()),
        }

    def attributes(self, **parameters: object) -> dict[str, str]:
        """Return the attributes of a dataset: what was computed from what, with which parameters and versions."""
        return provenance(dtype=str(self.outputs.dtype), **parameters) | self.description

    def _couples_no_samples(self) -> bool:
        generator = torch.Generator().manual_seed(0)
        half = slice(0, len(self.outputs) // 2)
        probe = torch.zeros_like(self.outputs)
        probe[half] = torch.randn(probe[half].shape, generator=generator, dtype=torch.float64).to(probe)
        product = self.output_curvature(probe)
        return not bool(product[half.stop :].any())


def checked_loss(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss, or say what is wrong with it.

    Raises
    ------
    ValueError
        If it cannot be computed, is no scalar tensor, not finite, or does not depend on the outputs.
    """
    shapes = f"outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)} of {targets.dtype}"
    try:
        value = loss(outputs, targets)
    except (RuntimeError, IndexError, TypeError) as error:
        raise ValueError(f"the loss cannot be computed from {shapes}: {error}") from error
    if not isinstance(value, Tensor) or value.numel() != 1:
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"the loss must be a scalar tensor, got {got} from {shapes}: take its mean, for example")
    if not value.requires_grad:
        raise ValueError("the loss does not depend on the outputs, or is not computed by PyTorch")
    if not bool(value.isfinite().all()):
        raise ValueError(f"the loss is {float(value.detach())}, from {shapes}")
    return value.reshape(())


def _as_tensor(inputs: Array) -> Tensor:
    return inputs if isinstance(inputs, Tensor) else torch.as_tensor(np.asarray(inputs))


def _checked_targets(targets: Array, n_samples: int) -> Tensor:
    targets = _as_tensor(targets)
    if not targets.ndim or len(targets) != n_samples:
        n_targets = len(targets) if targets.ndim else 1
        raise ValueError(f"there are {n_targets} targets for {n_samples} samples")
    if targets.is_floating_point() and not bool(targets.isfinite().all()):
        sample = int((~targets.isfinite()).nonzero()[0, 0])
        raise ValueError(f"targets hold NaN or infinite values, first at sample {sample}")
    return targets


def _block(network: Network, parameters: str | Sequence[str]) -> dict[str, Tensor]:
    """Return the parameters of a block by name."""
    known = {name: parameter.detach() for name, parameter in network.named_parameters()}
    if parameters == "all":
        return known
    if parameters == "recurrent":
        parameters = network.recurrent_parameters
    names = [parameters] if isinstance(parameters, str) else list(parameters)
    if unknown := [name for name in names if name not in known]:
        raise ValueError(
            f"unknown parameters {', '.join(unknown)}: choose 'recurrent', 'all' or some of {', '.join(known)}"
        )
    if not names or len(set(names)) < len(names):
        raise ValueError(f"parameters must be names, each once, got {names}")
    return {name: known[name] for name in names}
