"""UR-LSTM: an LSTM with refined gates and uniformly initialised time scales (Gu et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lyapkit.labels import counted
from lyapkit.models.layers import tanh_slope
from lyapkit.models.network import Network


class RefinedLSTM(Network):
    """An LSTM whose forget gate f is refined by a second gate r, with an affine readout of the last h.

    g = r (1 − (1 − f)²) + (1 − r) f²,  c ← g c + (1 − g) tanh(u),  h ← σ(o) tanh(c), where f, r, u and o are affine in
    x and h, f and r then logistic. Refining lets a gate come close to 0 or 1 without saturating. The bias of f starts
    at logit(U), with U uniform between 1/H and 1 − 1/H, so that the units' time scales differ widely; that of r at
    −logit(U).
    The state is (h, c).

    Parameters
    ----------
    input_size, hidden_size, output_size : int
        Number of input features, of units H, and of outputs.
    device, dtype : optional
        Of the weights. Default: PyTorch's.

    Raises
    ------
    ValueError
        If there are fewer than 2 units, or a size is not positive.

    Examples
    --------
    >>> import lyapkit as lk
    >>> import torch
    >>> lk.RefinedLSTM(1, 6, 3)(torch.zeros(4, 7, 1)).shape
    torch.Size([4, 3])
    """

    known_by = "gates.recurrent.weight"
    recurrent_parameters = ("gates.recurrent.weight",)
    readout_parameters = ("readout.weight", "readout.bias")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if min(input_size, output_size) < 1 or hidden_size < 2:
            raise ValueError(
                f"sizes must be at least 1, and 2 units, got {input_size}, {hidden_size} units and {output_size}"
            )
        options: dict[str, Any] = {"device": device, "dtype": dtype or torch.get_default_dtype()}
        self.input_size, self.output_size = input_size, output_size
        self.hidden_size, self.state_size = hidden_size, 2 * hidden_size
        self.source: dict[str, str] = {}
        self.gates = nn.ModuleDict(
            {
                "input": nn.Linear(input_size, 4 * hidden_size, **options),
                "recurrent": nn.Linear(hidden_size, 4 * hidden_size, bias=False, **options),
            }
        )
        self.readout = nn.Linear(hidden_size, output_size, **options)
        with torch.no_grad():
            share = torch.empty(hidden_size, **options).uniform_(1 / hidden_size, 1 - 1 / hidden_size)
            forget, refine = self.gates.get_parameter("input.bias").chunk(4)[:2]
            forget.copy_(torch.logit(share))
            refine.copy_(-torch.logit(share))

    def _pre_activations(self, h: Tensor, input: Tensor) -> tuple[Tensor, ...]:
        return (self.gates["input"](input) + self.gates["recurrent"](h)).chunk(4, dim=-1)

    def step(self, state: Tensor, input: Tensor) -> Tensor:
        """Return the next state."""
        h, c = state.chunk(2, dim=-1)
        f, r, u, o = self._pre_activations(h, input)
        f, r = torch.sigmoid(f), torch.sigmoid(r)
        g = _refined(f, r)
        c = g * c + (1 - g) * torch.tanh(u)
        return torch.cat([torch.sigmoid(o) * torch.tanh(c), c], dim=-1)

    def push(self, state: Tensor, input: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next state and the tangent vectors carried along with it."""
        h, c = state.chunk(2, dim=-1)
        f, r, u, o = self._pre_activations(h, input)
        f, r, o, new = torch.sigmoid(f), torch.sigmoid(r), torch.sigmoid(o), torch.tanh(u)
        g = _refined(f, r)
        next_c = g * c + (1 - g) * new
        h_tangent, c_tangent = tangent.chunk(2, dim=-1)
        through_f, through_r, through_u, through_o = self.gates["recurrent"](h_tangent).chunk(4, dim=-1)
        slope_f = (2 * r + 2 * (1 - 2 * r) * f) * f * (1 - f)
        slope_r = 2 * f * (1 - f) * r * (1 - r)
        g_tangent = slope_f[:, None] * through_f + slope_r[:, None] * through_r
        c_tangent = g[:, None] * c_tangent + (c - new)[:, None] * g_tangent
        c_tangent = c_tangent + ((1 - g) * tanh_slope(u))[:, None] * through_u
        h_tangent = (o * tanh_slope(next_c))[:, None] * c_tangent
        h_tangent = h_tangent + (o * (1 - o) * torch.tanh(next_c))[:, None] * through_o
        return torch.cat([o * torch.tanh(next_c), next_c], dim=-1), torch.cat([h_tangent, c_tangent], dim=-1)

    def read(self, state: Tensor) -> Tensor:
        """Return the affine readout of the h of last states."""
        return self.readout(state[:, : self.hidden_size])

    def __str__(self) -> str:
        sizes = f"{counted(self.input_size, 'input')}, {counted(self.hidden_size, 'unit')}"
        return f"UR-LSTM ({sizes}, state size {self.state_size})"

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Tensor], source: Mapping[str, str] | None = None) -> RefinedLSTM:
        """Return the network whose state dict `parameters` is; ValueError if they do not fit together."""
        try:
            weights = [parameters[name] for name in ("gates.input.weight", "gates.recurrent.weight", "readout.weight")]
            n_inputs, n_units, n_outputs = weights[0].shape[1], weights[1].shape[1], len(weights[2])
            model = cls(n_inputs, n_units, n_outputs, dtype=weights[0].dtype)
            model.load_state_dict({name: parameters[name] for name in model.state_dict() if name in parameters})
        except (KeyError, IndexError, RuntimeError) as error:
            raise ValueError(f"the parameters of a UR-LSTM do not fit together: {error}") from error
        model.source = dict(source or {})
        return model


def _refined(f: Tensor, r: Tensor) -> Tensor:
    return 2 * r * f + (1 - 2 * r) * f.square()
