"""Learning-rate modulation: what each unrolled layer contributes to the curvature along a direction (Eq. 6 to 10).

For a direction v in weight space and p_t = Dh_t v, layer t contributes m_v(t) = vᵀK_t v + ⟨V_{T,t} ∂_w h_t v, H_L p_T⟩:
its own curvature, weighted by the gradient that reaches it (Eq. 9), and its part of the Gauss–Newton term. The sum
over t is vᵀHv, so that η m_v(t) is the effective learning rate that layer t contributes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, vjp
from tqdm import tqdm

from lyapkit.arguments import Array
from lyapkit.learning.curvature import hessian_eigenvalues
from lyapkit.learning.objective import Loss, Objective
from lyapkit.models.network import Network

ROWS_AT_ONCE = 20_000  # steps times samples that are differentiated in one batch


def learning_rate_modulation(
    model: Network | nn.Module,
    inputs: Array,
    targets: Array,
    loss: Loss,
    *,
    direction: Array | None = None,
    k: int = 1,
    learning_rate: float = 1.0,
    parameters: str | Sequence[str] = "recurrent",
    batch_size: int | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = False,
) -> xr.Dataset:
    """Return what each unrolled layer contributes to the curvature along directions in weight space.

    Parameters
    ----------
    model, inputs, targets, loss, batch_size, dtype, device, seed, progress
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
        If the block holds a parameter of the readout, the direction does not fit it or has no length, or inputs,
        targets, loss and network do not fit together.
    """
    given = {"batch_size": batch_size, "dtype": dtype, "device": device}
    objective = Objective(model, inputs, targets, loss, parameters=parameters, **given)
    if of_readout := set(objective.block) & set(objective.network.readout_parameters):
        raise ValueError(f"{', '.join(sorted(of_readout))} belong to the readout, in no unrolled layer: leave them out")
    if direction is None:
        options = given | {"seed": seed, "progress": progress, "parameters": parameters, "eigenvectors": True}
        direction = hessian_eigenvalues(model, inputs, targets, loss, k, **options)["eigenvector"].values
    directions = _unit_vectors(direction, objective)

    curvature, gauss_newton = np.zeros((2, len(directions), objective.inputs.shape[1]))
    with tqdm(total=len(directions) * len(objective.batches), unit="batch", disable=not progress) as bar:
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


class _Layers:
    """The unrolled layers of a micro-batch, and what each contributes to derivatives of first and second order.

    Arrays are (T, B, N), one entry for each layer's state.
    """

    def __init__(self, objective: Objective, samples: slice) -> None:
        self.objective, self.network, self.samples = objective, objective.network, samples
        self.inputs = objective.inputs[samples]
        self.block = {f"network.{name}": parameter for name, parameter in objective.block.items()}
        self._leaves = {name: parameter.clone().requires_grad_() for name, parameter in self.block.items()}
        with torch.enable_grad():
            self._graph = functional_call(_States(self.network), self._leaves, (self.inputs,))
        self.states = torch.stack([state.detach() for state in self._graph])
        self.previous = torch.cat([torch.zeros_like(self.states[:1]), self.states[:-1]])

    def back(self, gradient: Tensor) -> Tensor:
        """Return the gradients of h_1 … h_T that a gradient of h_T, (B, N), sends back."""
        return torch.stack(torch.autograd.grad(self._graph[-1], self._graph, gradient, retain_graph=True))

    def parameter_gradient(self, gradient: Tensor) -> Tensor:
        """Return the gradient of the block, (P,), that a gradient of h_T makes."""
        parts = torch.autograd.grad(self._graph[-1], list(self._leaves.values()), gradient, retain_graph=True)
        return torch.cat([part.reshape(-1) for part in parts])

    def last_gradient(self) -> Tensor:
        """Return a_T."""
        return vjp(self.network.read, self.states[-1])[1](self.objective.output_gradient[self.samples])[0]

    def last_gradient_change(self, moved: Tensor, of_loss: Tensor) -> Tensor:
        """Return H_L p_T, the change of a_T: of the loss's gradient, and of what a curved readout makes of it."""
        last, output_gradient = self.states[-1], self.objective.output_gradient[self.samples]
        through_loss = vjp(self.network.read, last)[1](of_loss)[0]
        readout_gradient = grad(lambda state: (self.network.read(state) * output_gradient).sum())
        return through_loss + jvp(readout_gradient, (last,), (moved[-1],))[1]

    def moved(self, vector: Tensor) -> Tensor:
        """Return p_t = Dh_t v."""
        run = functools.partial(functional_call, _States(self.network), args=(self.inputs,))
        return torch.stack(jvp(run, (self.block,), (self._named(vector),))[1])

    def output_tangents(self, moved: Tensor) -> Tensor:
        """Return the tangents of the outputs, (B, O)."""
        return jvp(self.network.read, (self.states[-1],), (moved[-1],))[1]

    def pushed(self, vector: Tensor) -> Tensor:
        """Return ∂_w h_t v, the immediate derivative at every step."""
        tangents = self._named(vector)

        def derivative(states: Tensor, inputs: Tensor) -> Tensor:
            run = functools.partial(functional_call, _Step(self.network), args=(states, inputs))
            return jvp(run, (self.block,), (tangents,))[1]

        return self._in_pieces(derivative, self.previous)

    def bent(self, vector: Tensor, moved: Tensor) -> Tensor:
        """Return the second derivative of every step along (p_{t−1}, v)."""
        tangents = self._named(vector)
        one = torch.ones((), dtype=vector.dtype, device=vector.device)

        def derivative(states: Tensor, inputs: Tensor, directions: Tensor) -> Tensor:
            def step(size: Tensor) -> Tensor:
                parameters = {name: value + size * tangents[name] for name, value in self.block.items()}
                return functional_call(_Step(self.network), parameters, (states + size * directions, inputs))

            return jvp(lambda size: jvp(step, (size,), (one,))[1], (torch.zeros_like(one),), (one,))[1]

        moved_before = torch.cat([torch.zeros_like(moved[:1]), moved[:-1]])
        return self._in_pieces(derivative, self.previous, moved_before)

    def _in_pieces(self, derivative: Callable[..., Tensor], states: Tensor, *others: Tensor) -> Tensor:
        """Apply a derivative of the step to all steps, as one batch of as many as fit."""
        at_once = max(1, ROWS_AT_ONCE // states.shape[1])
        pieces = zip(*(part.split(at_once) for part in (states, self.inputs.transpose(0, 1), *others)), strict=True)
        flat = (derivative(*(part.flatten(0, 1) for part in piece)) for piece in pieces)
        return torch.cat(list(flat)).view_as(states)

    def _named(self, vector: Tensor) -> dict[str, Tensor]:
        return {f"network.{name}": part for name, part in self.objective.split(vector).items()}


class _States(nn.Module):
    """All states of a network, as a function of its parameters."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> list[Tensor]:
        return list(self.network.states(inputs))


class _Step(nn.Module):
    """One step of a network, as a function of its parameters."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, state: Tensor, input: Tensor) -> Tensor:
        return self.network.step(state, input)


def _contributions(objective: Objective, vector: Tensor, bar: tqdm) -> tuple[np.ndarray, np.ndarray]:
    """Return vᵀK_t v and the Gauss–Newton contribution of every layer t, (T,) each."""
    of_loss = None
    if not objective.is_samplewise:  # the loss couples samples: it has to know the tangents of all of them
        layers = (_Layers(objective, samples) for samples in objective.batches)
        of_loss = objective.output_curvature(torch.cat([one.output_tangents(one.moved(vector)) for one in layers]))
    curvature, gauss_newton = 0.0, 0.0
    for samples in objective.batches:
        layers = _Layers(objective, samples)
        moved = layers.moved(vector)
        if of_loss is None:
            of_samples = objective.output_curvature(layers.output_tangents(moved), samples)
        else:
            of_samples = of_loss[samples]
        through = layers.back(layers.last_gradient_change(moved, of_samples))
        gauss_newton = gauss_newton + (through * layers.pushed(vector)).sum((1, 2))
        gradients = layers.back(layers.last_gradient())
        curvature = curvature + (gradients * layers.bent(vector, moved)).sum((1, 2))
        bar.update()
    return curvature.cpu().numpy(), gauss_newton.cpu().numpy()


def _alignment(objective: Objective) -> np.ndarray:
    """Return c(t) = ⟨∂L/∂w|_t, ∂L/∂w⟩ / ‖∂L/∂w‖², (T,)."""
    gradient = 0.0
    for samples in objective.batches:
        layers = _Layers(objective, samples)
        gradient = gradient + layers.parameter_gradient(layers.last_gradient())
    aligned = 0.0
    for samples in objective.batches:
        layers = _Layers(objective, samples)
        aligned = aligned + (layers.back(layers.last_gradient()) * layers.pushed(gradient)).sum((1, 2))
    return (aligned / (gradient @ gradient)).cpu().numpy()


def _unit_vectors(direction: Array, objective: Objective) -> Tensor:
    """Return directions as unit vectors, (k, P), or say what is wrong with them."""
    values = direction if isinstance(direction, Tensor) else torch.as_tensor(np.asarray(direction))
    values = torch.atleast_2d(values.detach()).to(objective.inputs)
    if values.ndim != 2 or values.shape[1] != objective.size:
        raise ValueError(
            f"direction has shape {tuple(values.shape)}, expected {objective.size} numbers for each, one per parameter "
            f"of {', '.join(objective.block)}"
        )
    lengths = torch.linalg.vector_norm(values, dim=1, keepdim=True)
    if not bool((lengths.isfinite() & (lengths > 0)).all()):
        raise ValueError("a direction must be finite and not zero; an eigenvector is NaN if it was not found")
    return values / lengths
