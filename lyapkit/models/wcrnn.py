"""The weakly coupled residual recurrent network (WCRNN) of Dubinin & Effenberger (2024): a module and a system."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn.functional import linear

from lyapkit.labels import counted
from lyapkit.models import extra_state
from lyapkit.models.network import Network
from lyapkit.models.residuals import Residual, as_values, scaled_identity
from lyapkit.models.wcrnn_kinds import ACTIVATIONS, KINDS, Gains


class WCRNN(Network):
    """A weakly coupled residual network with an affine readout of its last state.

    With z_t = W h_{t−1} + W_in x_t + b, residual R, coupling α and σ = tanh, the next state is

    - kind "linear": h_t = R h_{t−1} + α σ(z_t) (Eq. 11),
    - kind "A": h_t = σ(R h_{t−1}) + α σ(z_t) (Eq. 18),
    - kind "B": h_t = σ(R h_{t−1} + α z_t) (Eq. 19), an Elman network initialised in a particular way.

    It starts at h_0 = 0. R and α are fixed, the rest is trained. Weights start as those of `nn.Linear` do, uniform
    within ±1/√(fan in); b is the bias of the recurrent part.

    Parameters
    ----------
    input_size, hidden_size, output_size : int
        Number of input features, of units N, and of outputs.
    residual : Residual or array
        R: a `Residual` of N units (see `lyapkit.residuals`), or a diagonal (N,) or matrix (N, N).
    coupling : float or array (N,)
        α, one for all units or one each. Default 0.01.
    kind : "linear", "A" or "B"
        Default "linear".
    activation : "tanh" or "identity"
        σ, everywhere where it stands. Default "tanh".
    device, dtype : optional
        Of the weights. Default: PyTorch's.

    Raises
    ------
    ValueError
        If sizes do not fit together, the coupling is not finite, or the kind or activation is unknown.

    Examples
    --------
    >>> import lyapkit as lk
    >>> import torch
    >>> model = lk.WCRNN(1, 50, 10, lk.residuals.rotation(50, 0.2, 0.99), coupling=0.01)
    >>> model(torch.zeros(4, 7, 1)).shape
    torch.Size([4, 10])
    """

    residual: Residual
    coupling: Tensor
    known_by = "residual.values"
    recurrent_parameters = ("recurrent.weight",)
    readout_parameters = ("readout.weight", "readout.bias")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        residual: Residual | ArrayLike | Tensor,
        coupling: float | ArrayLike | Tensor = 0.01,
        kind: Literal["linear", "A", "B"] = "linear",
        *,
        activation: Literal["tanh", "identity"] = "tanh",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if min(input_size, hidden_size, output_size) < 1:
            raise ValueError(f"sizes must be at least 1, got {input_size}, {hidden_size} and {output_size}")
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        residual = copy.deepcopy(residual) if isinstance(residual, Residual) else Residual(residual)
        if residual.size != hidden_size:
            raise ValueError(f"the residual is one of {residual.size} units, the network has {hidden_size}")
        coupling = as_values(coupling)
        if coupling.shape not in ((), (hidden_size,)):
            raise ValueError(
                f"coupling has shape {tuple(coupling.shape)}, expected a number or {hidden_size} of them, one per unit"
            )
        if not bool(coupling.isfinite().all()):
            raise ValueError("coupling must be finite, got NaN or infinite values")
        options: dict[str, Any] = {"device": device, "dtype": dtype or torch.get_default_dtype()}
        self.input_size, self.output_size = input_size, output_size
        self.state_size = self.hidden_size = hidden_size
        self.kind, self.activation = kind, activation
        self._equations = KINDS[kind](ACTIVATIONS[activation])
        self.source: dict[str, str] = {}
        self.recurrent = nn.Linear(hidden_size, hidden_size, **options)
        self.input = nn.Linear(input_size, hidden_size, bias=False, **options)
        self.readout = nn.Linear(hidden_size, output_size, **options)
        self.residual = residual.to(**options)
        self.register_buffer("coupling", coupling.to(**options))

    def read(self, state: Tensor) -> Tensor:
        """Return the affine readout of last states."""
        return self.readout(state)

    def step(self, state: Tensor, input: Tensor) -> Tensor:
        """Return the next state."""
        driven = linear(input, self.input.weight, self.recurrent.bias)
        return self._equations.next(
            self.residual(state), torch.addmm(driven, state, self.recurrent.weight.mT), self.coupling
        )

    def push(self, state: Tensor, input: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next state and the tangent vectors carried along with it."""
        return self.push_along(state, input[:, None], tangent, 1)

    def push_along(self, state: Tensor, inputs: Tensor, tangent: Tensor, n_steps: int) -> tuple[Tensor, Tensor]:
        """Return state and tangent vectors after several steps, by products with the weights themselves."""
        states, gains = self.linearized(state, inputs)
        weight, residual = self.recurrent.weight, self.residual.values
        through_residual, through_weight = gains.residual.unbind(1), gains.coupling.unbind(1)
        if residual.ndim == 1:
            for s, g in zip(through_residual, through_weight, strict=True):
                tangent = linear(tangent, weight).mul_(g[:, None]).addcmul_(tangent, (s * residual)[:, None])
        elif 4 * tangent.shape[1] < self.state_size:
            for s, g in zip(through_residual, through_weight, strict=True):
                tangent = linear(tangent, weight).mul_(g[:, None]).addcmul_(linear(tangent, residual), s[:, None])
        else:  # many perturbations: one product with each trajectory's Jacobian is cheaper than two with R and W
            weight, residual = weight.mT.contiguous(), residual.mT.contiguous()
            for s, g in zip(through_residual, through_weight, strict=True):
                tangent = tangent @ torch.addcmul(s[:, None] * residual, g[:, None], weight)
        return states[:, -1], tangent

    def linearized(self, state: Tensor, inputs: Tensor) -> tuple[Tensor, Gains]:
        """Return the states that follow `state`, (B, T, N), and the Jacobians of the steps to them.

        Parameters
        ----------
        state : Tensor
            (B, N), where to start.
        inputs : Tensor
            (B, T, I).
        """
        states, residual_parts, pre_activations = (part.transpose(0, 1) for part in self.unroll(state, inputs))
        return states, self.gains(residual_parts, pre_activations)

    def unroll(self, state: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the states h_t that follow `state`, R h_{t−1} and the pre-activations z_t, each (T, B, N).

        Parameters
        ----------
        state : Tensor
            (B, N), where to start.
        inputs : Tensor
            (B, T, I).
        """
        states, residual_parts, pre_activations = [], [], []
        weight = self.recurrent.weight.mT
        for driven in linear(inputs, self.input.weight, self.recurrent.bias).unbind(1):
            residual_parts.append(self.residual(state))
            pre_activations.append(torch.addmm(driven, state, weight))
            state = self._equations.next(residual_parts[-1], pre_activations[-1], self.coupling)
            states.append(state)
        return torch.stack(states), torch.stack(residual_parts), torch.stack(pre_activations)

    def gains(self, residual_part: Tensor, z: Tensor) -> Gains:
        """Return the parts of the Jacobian of steps with these R h and pre-activations z."""
        return self._equations.gains(residual_part, z, self.coupling)

    def gain_slopes(self, residual_part: Tensor, z: Tensor) -> Gains:
        """Return the derivatives of the `gains` of steps with these R h and pre-activations z, for `gain_tangents`."""
        return self._equations.gain_slopes(residual_part, z, self.coupling)

    def gain_tangents(self, slopes: Gains, residual_tangent: Tensor, z_tangent: Tensor) -> Gains:
        """Return how the gains change along tangents of R h and z, to first order."""
        return self._equations.gain_tangents(slopes, residual_tangent, z_tangent, self.coupling)

    @property
    def settings(self) -> dict[str, Any]:
        """Kind and activation; sizes, residual and coupling are read off the tensors."""
        return {"kind": self.kind, "activation": self.activation}

    def extra_repr(self) -> str:
        """Return what `repr` says of it, besides its parts."""
        return f"kind={self.kind}, coupling={self._span()}"

    def _span(self) -> str:
        coupling = self.coupling.detach().double()
        return f"{coupling:.4g}" if not coupling.ndim else f"{coupling.min():.4g} … {coupling.max():.4g}"

    def __str__(self) -> str:
        kind = self.kind if self.activation == "tanh" else f"{self.kind}, {self.activation} activation"
        sizes = f"{counted(self.input_size, 'input')}, {counted(self.state_size, 'unit')}"
        return f"WCRNN of kind {kind} ({sizes}, {self.residual}, α = {self._span()})"

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Tensor], source: Mapping[str, str] | None = None) -> WCRNN:
        """Return the network whose state dict `parameters` is.

        Parameters
        ----------
        parameters : mapping
            As `state_dict` returns: weights, residual, coupling and kind.
        source : mapping, optional
            What a result file should say about where the weights come from.

        Raises
        ------
        ValueError
            If parameters are missing, do not fit together or are not finite.
        """
        try:
            weights = {name: parameters[f"{name}.weight"] for name in ("recurrent", "input", "readout")}
            options = _settings(parameters[extra_state.NAME])
            residual, coupling = parameters["residual.values"], parameters["coupling"]
        except KeyError as error:
            raise ValueError(f"the state dict of a WCRNN lacks {error}") from error
        except ValueError as error:
            raise ValueError(
                f"the kind of the WCRNN is not known, expected its kind and activation: {error}"
            ) from error
        for name, tensor in parameters.items():
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise ValueError(f"{name} holds values that are not finite")
        if any(weight.ndim != 2 for weight in weights.values()):
            raise ValueError("the weights of a WCRNN must be matrices")
        n = len(weights["recurrent"])
        sizes = weights["input"].shape[1], n, len(weights["readout"])
        chosen: dict[str, Any] = options
        model = cls(*sizes, residual, coupling, **chosen, dtype=weights["recurrent"].dtype)
        try:
            model.load_state_dict({name: parameters[name] for name in model.state_dict() if name in parameters})
        except RuntimeError as error:
            raise ValueError(f"the parameters of a WCRNN do not fit together: {error}") from error
        model.source = dict(source or {})
        return model

    @classmethod
    def from_elman(cls, module: nn.RNN, residual: Residual | ArrayLike | Tensor) -> WCRNN:
        """Return an Elman network as a WCRNN of kind B: with W_hh − R as its coupled weights, and α = 1.

        The way to ask of a trained network how much of its residual is left. The readout is new and untrained.

        Parameters
        ----------
        module : nn.RNN
            One layer, tanh, unidirectional.
        residual : Residual or array
            R, as for `WCRNN`.

        Raises
        ------
        ValueError
            If the module is another one.
        """
        if not isinstance(module, nn.RNN) or module.num_layers > 1 or module.bidirectional:
            raise ValueError(f"expected an nn.RNN of one unidirectional layer, got {module}")
        _check_tanh(module)
        weight = _of_first_layer(module, "weight_hh").detach()
        options: dict[str, Any] = {"device": weight.device, "dtype": weight.dtype}
        model = cls(module.input_size, module.hidden_size, 1, residual, 1.0, "B", **options)
        with torch.no_grad():
            model.recurrent.weight.copy_(weight - model.residual.matrix)
            bias = torch.zeros_like(weight[0])
            if module.bias:
                bias = _of_first_layer(module, "bias_ih") + _of_first_layer(module, "bias_hh")
            model.recurrent.bias.copy_(bias)
            model.input.weight.copy_(_of_first_layer(module, "weight_ih"))
        return model


def elman_with_identity_residual(input_size: int, hidden_size: int, output_size: int, **options: Any) -> WCRNN:
    """Return h_t = h_{t−1} + tanh(W h_{t−1} + W_in x_t + b): an Elman layer with the shortcut of residual networks.

    A WCRNN with R = I that is not weakly coupled, α = 1 (a baseline of the paper's Table 2). `options` are `device`
    and `dtype`.

    Examples
    --------
    >>> import lyapkit as lk
    >>> model = lk.elman_with_identity_residual(1, 6, 3)
    >>> model.residual.matrix.trace().item()
    6.0
    """
    return WCRNN(input_size, hidden_size, output_size, scaled_identity(hidden_size, 1.0), 1.0, **options)


@torch.no_grad()
def weakly_coupled_init(
    module: nn.RNN, residual: Residual | ArrayLike | Tensor, coupling: float | ArrayLike | Tensor = 0.01
) -> nn.RNN:
    """Initialise an Elman network in place as a weakly coupled residual network of kind B (Eq. 19).

    Every layer's recurrent weights W become R + α W, its input weights and biases α times what they were, so that the
    layer computes h_t = tanh(R h_{t−1} + α (W h_{t−1} + W_in x_t + b)); all of it is then trained as usual.

    Parameters
    ----------
    module : nn.RNN
        With tanh units; one layer or several, the same residual for each.
    residual : Residual or array
        R of `hidden_size` units, or a diagonal (N,) or matrix (N, N).
    coupling : float or array (N,)
        α. Default 0.01.

    Returns
    -------
    nn.RNN
        The module.

    Raises
    ------
    ValueError
        If it is not a tanh network, or residual or coupling do not fit it.

    Examples
    --------
    >>> import lyapkit as lk
    >>> from torch import nn
    >>> rnn = lk.weakly_coupled_init(nn.RNN(2, 8), lk.residuals.scaled_identity(8, 0.9), 0.01)
    >>> bool((rnn.weight_hh_l0.diagonal() - 0.9).abs().max() < 0.01)
    True
    """
    _check_tanh(module)
    weight = _of_first_layer(module, "weight_hh")
    checked = WCRNN(1, module.hidden_size, 1, residual, coupling, "B", dtype=weight.dtype)
    alpha = checked.coupling.to(weight.device).expand(module.hidden_size)
    for name, parameter in module.named_parameters():
        parameter.mul_(alpha[:, None] if parameter.ndim == 2 else alpha)
        if name.startswith("weight_hh"):
            parameter.add_(checked.residual.matrix.to(parameter.device))
    return module


def _check_tanh(module: nn.RNN) -> None:
    if not isinstance(module, nn.RNN) or module.nonlinearity != "tanh":
        raise ValueError(f"expected an nn.RNN with nonlinearity 'tanh', got {module}")


def _of_first_layer(module: nn.RNN, name: str) -> Tensor:
    """Return a weight of a module's first layer."""
    return getattr(module, f"{name}_l0")


def _settings(state: Tensor) -> dict[str, str]:
    """Return kind and activation as a state dict holds them."""
    content = extra_state.decoded(state)
    settings = content.get("settings", content)
    if not isinstance(settings, dict) or settings.keys() != {"kind", "activation"}:
        raise ValueError(f"{extra_state.NAME} holds {settings}, expected its kind and activation")
    return settings
