"""One recurrent layer each: the step of an Elman, GRU or LSTM layer and its tangent map, as PyTorch defines them.

A layer computes gate pre-activations z = W_ih x + b_ih + W_hh h + b_hh. A tangent vector goes through the same
weights, so a push is a product of the weights with the perturbations and elementwise gains.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear

State = tuple[Tensor, ...]  # (hidden,) or (hidden, cell), each (B, size); their tangents have a k in the middle


def tanh_slope(z: Tensor) -> Tensor:
    """Return 1 − tanh²(z) as 1/cosh²(z), which keeps its digits where tanh is close to ±1."""
    return torch.cosh(z).reciprocal().square()


def tanh_curvature(z: Tensor) -> Tensor:
    """Return the second derivative of tanh, −2 tanh(z) (1 − tanh²(z))."""
    return torch.tanh(z).mul_(tanh_slope(z)).mul_(-2)


class Layer(ABC):
    """The weights of one recurrent layer, by the names that PyTorch gives them.

    Parameters
    ----------
    weights : dict
        `weight_ih` (gates · H, I) and `weight_hh` (gates · H, P), where P is H unless there is a projection;
        optionally `bias_ih`, `bias_hh` (gates · H) and, for LSTMs, `weight_hr` (P, H).
    """

    kind: str
    n_gates: int

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights
        self.weight_ih = weights["weight_ih"]
        self.weight_hh = weights["weight_hh"]
        self.hidden_size = len(self.weight_hh) // self.n_gates
        self.input_size = self.weight_ih.shape[1]
        zero = torch.zeros_like(self.weight_hh[:, 0])
        self.bias_ih = weights.get("bias_ih", zero)
        self.bias_hh = weights.get("bias_hh", zero)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of what the layer remembers: (hidden,), or (hidden, cell) for an LSTM. The first is its output."""
        return (self.hidden_size,)

    @abstractmethod
    def step(self, input: Tensor, state: State) -> State:
        """Return the next state."""

    @abstractmethod
    def push(self, input: Tensor, state: State, input_tangent: Tensor | None, tangent: State) -> tuple[State, State]:
        """Return the next state and its tangent; `input_tangent` is that of the layer below, None for data."""

    def converted(self, dtype: torch.dtype, device: torch.device) -> Layer:
        """Return this layer with its weights in `dtype` on `device`."""
        return type(self)({name: weight.to(device, dtype) for name, weight in self.weights.items()})

    def _through_gates(self, tangent: Tensor, weight: Tensor, targets: list[dict[int, Tensor]]) -> list[Tensor]:
        """Return, for every target, Σ_g gain_g ⊙ (tangent W_gᵀ): perturbations (B, k, P) sent through gates.

        A target is a mapping of gates g to gains (B, H); `weight` (G·H, P) holds the weights W_g one below the other.
        The sum is taken in the cheaper order: few perturbations go through the weights, which all trajectories share,
        and are then weighted; for many, the weights are combined first, into one matrix per trajectory and target
        that is at most four times as large as the perturbations it is applied to.
        """
        weight = weight.unflatten(0, (-1, self.hidden_size))
        n_trajectories, n_perturbations, size = tangent.shape
        if 4 * n_perturbations < size:
            through = linear(tangent, weight.flatten(0, 1)).unflatten(-1, weight.shape[:2])
            return [sum(through[:, :, gate] * gain[:, None] for gate, gain in gains.items()) for gains in targets]
        combined = tangent.new_zeros(n_trajectories, len(targets), self.hidden_size, size)
        for matrix, gains in zip(combined.unbind(1), targets, strict=True):
            for gate, gain in gains.items():
                matrix.addcmul_(gain[:, :, None], weight[gate])
        return list((tangent @ combined.flatten(1, 2).mT).chunk(len(targets), dim=-1))


class ElmanLayer(Layer):
    """h ← σ(z), with the activation function σ that a subclass names."""

    n_gates = 1
    activation: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]

    def _pre_activation(self, input: Tensor, state: State) -> Tensor:
        return linear(input, self.weight_ih, self.bias_ih) + linear(state[0], self.weight_hh, self.bias_hh)

    def step(self, input: Tensor, state: State) -> State:
        """Return the next state."""
        return (self.activation(self._pre_activation(input, state)),)

    def push(self, input: Tensor, state: State, input_tangent: Tensor | None, tangent: State) -> tuple[State, State]:
        """Return the next state and its tangent."""
        z = self._pre_activation(input, state)
        pushed = linear(tangent[0], self.weight_hh)
        if input_tangent is not None:
            pushed += linear(input_tangent, self.weight_ih)
        return (self.activation(z),), (pushed.mul_(self.slope(z)[:, None]),)


class TanhLayer(ElmanLayer):
    """h ← tanh(z)."""

    kind = "tanh RNN"
    activation = staticmethod(torch.tanh)
    slope = staticmethod(tanh_slope)


class ReluLayer(ElmanLayer):
    """h ← max(z, 0). The slope at 0 is 0, as in PyTorch."""

    kind = "relu RNN"
    activation = staticmethod(torch.relu)
    slope = staticmethod(lambda z: (z > 0).to(z))


class GRULayer(Layer):
    """r, u = sigmoid(z_r), sigmoid(z_u); n = tanh(z_n), its recurrent part times r; h ← (1 − u) n + u h."""

    kind = "GRU"
    n_gates = 3

    def _gates(self, input: Tensor, state: State) -> tuple[Tensor, ...]:
        """Return the gates r, u, the pre-activation of n and its recurrent part."""
        input_r, input_u, input_n = linear(input, self.weight_ih, self.bias_ih).chunk(3, -1)
        hidden_r, hidden_u, hidden_n = linear(state[0], self.weight_hh, self.bias_hh).chunk(3, -1)
        r = torch.sigmoid(input_r + hidden_r)
        return r, torch.sigmoid(input_u + hidden_u), input_n + r * hidden_n, hidden_n

    def step(self, input: Tensor, state: State) -> State:
        """Return the next state."""
        _, u, z, _ = self._gates(input, state)
        return (torch.lerp(torch.tanh(z), state[0], u),)

    def push(self, input: Tensor, state: State, input_tangent: Tensor | None, tangent: State) -> tuple[State, State]:
        """Return the next state and its tangent."""
        r, u, z, hidden_n = self._gates(input, state)
        n = torch.tanh(z)
        through_n = (1 - u) * tanh_slope(z)
        through_r = through_n * hidden_n * r * (1 - r)
        through_u = (state[0] - n) * u * (1 - u)
        gains = {0: through_r, 1: through_u, 2: through_n * r}
        (pushed,) = self._through_gates(tangent[0], self.weight_hh, [gains])
        pushed.addcmul_(tangent[0], u[:, None])
        if input_tangent is not None:
            pushed += self._through_gates(input_tangent, self.weight_ih, [gains | {2: through_n}])[0]
        return (torch.lerp(n, state[0], u),), (pushed,)


class LSTMLayer(Layer):
    """i, f, o = sigmoids, g = tanh; c ← f c + i g; h ← o tanh(c), or W_hr of that with a projection."""

    kind = "LSTM"
    n_gates = 4

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__(weights)
        self.weight_hr = weights.get("weight_hr")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of h and c."""
        return (self.weight_hh.shape[1], self.hidden_size)

    def _gates(self, input: Tensor, state: State) -> tuple[Tensor, ...]:
        """Return the gates i, f, o, the pre-activation of g, and the next cell state."""
        z = linear(input, self.weight_ih, self.bias_ih) + linear(state[0], self.weight_hh, self.bias_hh)
        i, f, z, o = z.chunk(4, -1)
        i, f, o = torch.sigmoid(i), torch.sigmoid(f), torch.sigmoid(o)
        return i, f, o, z, f * state[1] + i * torch.tanh(z)

    def _project(self, hidden: Tensor) -> Tensor:
        return hidden if self.weight_hr is None else linear(hidden, self.weight_hr)

    def step(self, input: Tensor, state: State) -> State:
        """Return the next state."""
        _, _, o, _, c = self._gates(input, state)
        return self._project(o * torch.tanh(c)), c

    def push(self, input: Tensor, state: State, input_tangent: Tensor | None, tangent: State) -> tuple[State, State]:
        """Return the next state and its tangent."""
        i, f, o, z, c = self._gates(input, state)
        g = torch.tanh(z)
        tanh_c = torch.tanh(c)
        into_h = {3: tanh_c * o * (1 - o)}
        into_c = {0: g * i * (1 - i), 1: state[1] * f * (1 - f), 2: i * tanh_slope(z)}
        pushed_h, pushed_c = self._through_gates(tangent[0], self.weight_hh, [into_h, into_c])
        if input_tangent is not None:
            from_below = self._through_gates(input_tangent, self.weight_ih, [into_h, into_c])
            pushed_h += from_below[0]
            pushed_c += from_below[1]
        pushed_c.addcmul_(tangent[1], f[:, None])
        pushed_h.addcmul_(pushed_c, (o * tanh_slope(c))[:, None])
        return (self._project(o * tanh_c), c), (self._project(pushed_h), pushed_c)
