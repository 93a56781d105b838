"""S4: a structured state space layer with HiPPO-LegS memory (Gu, Goel & Ré 2021)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from lyapkit.labels import counted
from lyapkit.models.network import Network

SLOWEST, FASTEST = 1e-3, 1e-1  # step sizes Δ at the start: log-uniform between them


class S4(Network):
    """One S4 layer: H linear state space models of order n, each with its own input, and a readout of what they give.

    Channel i gets u = (W_in x + b)_i and has the state s ← Ā s + B̄ u, with Ā = (1 − Δ/2 A)⁻¹ (1 + Δ/2 A) and
    B̄ = (1 − Δ/2 A)⁻¹ Δ B, the bilinear discretisation of ṡ = A s + B u with step Δ. A is the HiPPO-LegS matrix, by
    which s holds the coefficients of the past in Legendre polynomials. The output is an affine readout of GELU(C s) of
    all channels. Δ, B and C are trained, A is fixed. The state is linear in the inputs: its last value is one
    convolution, by which the outputs are computed; `step` is the recurrence, for the analysis.

    Coefficients are kept in descending order, the highest polynomial first. Then A is upper triangular, and the
    Lyapunov exponents, log-moduli of the eigenvalues (2 − Δ k) / (2 + Δ k), k = 1 … n, of the matrices Ā, are exact at
    any time.

    Parameters
    ----------
    input_size, hidden_size, output_size : int
        Number of input features, of channels H, and of outputs.
    order : int
        n. The state has H · n variables. Default 16.
    device, dtype : optional
        Of the weights. Default: PyTorch's.

    Raises
    ------
    ValueError
        If a size is not positive.

    Examples
    --------
    >>> import lyapkit as lk
    >>> import torch
    >>> lk.S4(1, 6, 3, order=4)(torch.zeros(4, 7, 1)).shape
    torch.Size([4, 3])
    """

    A: Tensor
    known_by = "log_step"
    recurrent_parameters = ("log_step",)
    readout_parameters = ("output_weight", "readout.weight", "readout.bias")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        order: int = 16,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if min(input_size, hidden_size, output_size, order) < 1:
            raise ValueError(
                f"sizes and order must be at least 1, got {input_size}, {hidden_size}, {output_size}, {order}"
            )
        options: dict[str, Any] = {"device": device, "dtype": dtype or torch.get_default_dtype()}
        self.input_size, self.output_size = input_size, output_size
        self.hidden_size, self.order, self.state_size = hidden_size, order, hidden_size * order
        self.source: dict[str, str] = {}
        A, B = hippo_legs(order)
        self.register_buffer("A", A.to(**options))
        self.input = nn.Linear(input_size, hidden_size, **options)
        self.input_weight = nn.Parameter(B.to(**options).repeat(hidden_size, 1))  # B of every channel, (H, n)
        self.output_weight = nn.Parameter(torch.randn(hidden_size, order, **options) / math.sqrt(order))  # C
        span = torch.rand(hidden_size, **options)
        self.log_step = nn.Parameter(math.log(SLOWEST) + span * math.log(FASTEST / SLOWEST))  # log Δ
        self.readout = nn.Linear(hidden_size, output_size, **options)

    def discretized(self) -> tuple[Tensor, Tensor]:
        """Return Ā (H, n, n) and B̄ (H, n)."""
        half = self.log_step.exp()[:, None, None] / 2 * self.A
        identity = torch.eye(self.order, dtype=half.dtype, device=half.device)
        right = torch.cat([identity + half, (self.log_step.exp()[:, None] * self.input_weight)[:, :, None]], dim=2)
        # a triangular solve, since A is triangular: never singular, and right for batches where LU on a CPU is not
        solved = torch.linalg.solve_triangular(identity - half, right, upper=True)
        return solved[:, :, : self.order], solved[:, :, self.order]

    def kernel(self, n_steps: int) -> Tensor:
        """Return Ā^t B̄ for t = 0 … n_steps − 1, (H, n_steps, n): by doubling, with O(log n_steps) products."""
        power, B = self.discretized()
        columns = B[:, None]
        while columns.shape[1] < n_steps:
            columns = torch.cat([columns, columns @ power.mT], dim=1)
            power = power @ power
        return columns[:, :n_steps]

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the readout, as every `Network` does; that of the last state by convolution."""
        if self.every_step or lengths is not None:
            return super().forward(inputs, lengths)
        self.check_inputs(inputs)
        kernel = (self.kernel(inputs.shape[1]) * self.output_weight[:, None]).sum(2).flip(1)  # (H, T)
        filtered = torch.einsum("ht,bti->bhi", kernel, inputs)
        signal = (filtered * self.input.weight).sum(2) + self.input.bias * kernel.sum(1)
        return self.readout(gelu(signal))

    def read(self, state: Tensor) -> Tensor:
        """Return the readout of last states."""
        return self.readout(gelu((state.unflatten(1, (self.hidden_size, self.order)) * self.output_weight).sum(2)))

    def step(self, state: Tensor, input: Tensor) -> Tensor:
        """Return the next state."""
        return self._next(state, input, *self.discretized())

    def states(self, inputs: Tensor) -> Iterator[Tensor]:
        """Yield the states h_1 … h_T."""
        discretized = self.discretized()
        state = self.start(inputs)
        for input in inputs.unbind(1):
            state = self._next(state, input, *discretized)
            yield state

    def push(self, state: Tensor, input: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next state and the tangent vectors carried along with it."""
        return self.push_along(state, input[:, None], tangent, 1)

    def push_along(self, state: Tensor, inputs: Tensor, tangent: Tensor, n_steps: int) -> tuple[Tensor, Tensor]:
        """Return state and tangent vectors after several steps."""
        discretized = self.discretized()
        for input in inputs.unbind(1):
            state = self._next(state, input, *discretized)
            tangent = self._through(tangent, discretized[0])
        return state, tangent

    def _next(self, state: Tensor, input: Tensor, A: Tensor, B: Tensor) -> Tensor:
        driven = self.input(input)[:, :, None] * B
        return self._through(state, A) + driven.flatten(1)

    def _through(self, vectors: Tensor, A: Tensor) -> Tensor:
        """Return each channel's matrix times its part of vectors (…, H · n)."""
        parts = vectors.unflatten(-1, (self.hidden_size, self.order))
        return torch.einsum("hij,...hj->...hi", A, parts).flatten(-2)

    @property
    def settings(self) -> dict[str, object]:
        """Sizes and order."""
        return {**super().settings, "order": self.order}

    def __str__(self) -> str:
        return f"S4 ({counted(self.input_size, 'input')}, {counted(self.hidden_size, 'channel')} of order {self.order})"

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Tensor], source: Mapping[str, str] | None = None) -> S4:
        """Return the network whose state dict `parameters` is; ValueError if they do not fit together."""
        try:
            (hidden_size, order), weight = parameters["input_weight"].shape, parameters["input.weight"]
            model = cls(weight.shape[1], hidden_size, len(parameters["readout.weight"]), order, dtype=weight.dtype)
            if not torch.allclose(parameters["A"].double(), model.A.double(), rtol=1e-6):
                raise ValueError("A is not the HiPPO-LegS matrix, highest polynomial first")
            model.load_state_dict({name: parameters[name] for name in model.state_dict() if name in parameters})
        except (KeyError, IndexError, ValueError, RuntimeError) as error:
            raise ValueError(f"the parameters of an S4 layer do not fit together: {error}") from error
        model.source = dict(source or {})
        return model


def hippo_legs(order: int) -> tuple[Tensor, Tensor]:
    """Return A (n, n) and B (n,) of HiPPO-LegS, the highest polynomial first, float64: A upper triangular.

    In ascending order of k = 0 … n − 1: A_kj = −√((2k + 1)(2j + 1)) for k > j, −(k + 1) for k = j, 0 else;
    B_k = √(2k + 1).
    """
    degree = torch.arange(order, dtype=torch.float64)
    root = (2 * degree + 1).sqrt()
    A = -torch.tril(torch.outer(root, root), diagonal=-1) - torch.diag(degree + 1)
    return A.flip(0, 1), root.flip(0)
