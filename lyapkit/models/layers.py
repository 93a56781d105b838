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
Stage = Callable[[Tensor | None, State], State]


def tanh_slope(z: Tensor) -> Tensor:
    """Return 1 − tanh²(z) as 1/cosh²(z), which keeps its digits where tanh is close to ±1, and is never zero."""
    return torch.cosh(z).reciprocal().square().clamp_(min=torch.finfo(z.dtype).tiny)


def gate(z: Tensor) -> Tensor:
    """Return the logistic function of z, never zero."""
    return torch.sigmoid(z).clamp(min=torch.finfo(z.dtype).tiny)


def product(first: Tensor, second: Tensor) -> Tensor:
    """Return the product, which is zero only where a factor is: what underflows becomes the smallest number."""
    result, tiny = first * second, torch.finfo(first.dtype).tiny
    underflows = (result.abs() < tiny) & (first != 0) & (second != 0)
    return torch.where(underflows, torch.copysign(torch.full_like(first, tiny), result), result)


def logistic_slope(z: Tensor) -> Tensor:
    """Return σ(z) (1 − σ(z)) as σ(z) σ(−z), which keeps its digits where σ is close to 1, and is never zero."""
    return (torch.sigmoid(z) * torch.sigmoid(-z)).clamp_(min=torch.finfo(z.dtype).tiny)


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

    def push_all(self, input: Tensor, state: State, tangent: Tensor) -> tuple[State, Tensor]:
        """Return what `push` does of the only layer, perturbations (B, k, Σ sizes) in one piece."""
        output, pushed = self.push(input, state, None, tangent.split(self.sizes, dim=-1))
        return output, pushed[0] if len(pushed) == 1 else torch.cat(pushed, dim=-1)

    def push_along(self, inputs: Tensor, state: State, tangent: Tensor) -> tuple[State, Tensor]:
        """Return what `push_all` makes of several steps along inputs (B, T, I)."""
        for input in inputs.unbind(1):
            state, tangent = self.push_all(input, state, tangent)
        return state, tangent

    def stages(self, input: Tensor, state: State) -> tuple[State, list[Stage]]:
        """Return the next state, and factors of the tangent map between which perturbations may be made orthonormal.

        A factor takes the tangent of the layer below (None for data) and the layer's own, and returns the latter. The
        default is `push`, one factor: where units saturate, rows of the Jacobian shrink, and that is all.
        """

        def stage(input_tangent: Tensor | None, tangent: State) -> State:
            return self.push(input, state, input_tangent, tangent)[1]

        return self.step(input, state), [stage]

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
        n_perturbations, size = tangent.shape[1:]
        if 4 * n_perturbations < size:
            through = linear(tangent, weight.flatten(0, 1)).unflatten(-1, weight.shape[:2])
            return [sum(through[:, :, gate] * gain[:, None] for gate, gain in gains.items()) for gains in targets]
        combined = self._combined(weight.flatten(0, 1), targets)
        return list((tangent @ combined.flatten(1, 2).mT).chunk(len(targets), dim=-1))

    def _combined(self, weight: Tensor, targets: list[dict[int, Tensor]]) -> Tensor:
        """Return, for every target, Σ_g diag(gain_g) W_g: (B, targets, H, P)."""
        weight = weight.unflatten(0, (-1, self.hidden_size))
        n_trajectories = len(next(iter(targets[0].values())))
        combined = weight.new_empty(n_trajectories, len(targets), *weight.shape[1:])
        for matrix, gains in zip(combined.unbind(1), targets, strict=True):
            (first, gain), *others = gains.items()
            torch.mul(gain[:, :, None], weight[first], out=matrix)
            for gate, gain in others:
                matrix.addcmul_(gain[:, :, None], weight[gate])
        return combined


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

    def push_along(self, inputs: Tensor, state: State, tangent: Tensor) -> tuple[State, Tensor]:
        """Return what `push_all` makes of several steps: all states first, then all slopes at once."""
        (hidden,), z = state, linear(inputs, self.weight_ih, self.bias_ih + self.bias_hh)
        for pre_activation in z.unbind(1):
            hidden = self.activation(pre_activation.addmm_(hidden, self.weight_hh.mT))
        for slope in self.slope(z).unbind(1):
            tangent = linear(tangent, self.weight_hh).mul_(slope[:, None])
        return (hidden,), tangent


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

    def _pre_activations(self, input: Tensor, state: State) -> tuple[Tensor, ...]:
        """Return z_r, z_u, z_n and the recurrent part of z_n."""
        input_r, input_u, input_n = linear(input, self.weight_ih, self.bias_ih).chunk(3, -1)
        hidden_r, hidden_u, hidden_n = linear(state[0], self.weight_hh, self.bias_hh).chunk(3, -1)
        r = input_r + hidden_r
        return r, input_u + hidden_u, input_n + torch.sigmoid(r) * hidden_n, hidden_n

    def step(self, input: Tensor, state: State) -> State:
        """Return the next state."""
        _, u, z, _ = self._pre_activations(input, state)
        return (torch.lerp(torch.tanh(z), state[0], torch.sigmoid(u)),)

    def push(self, input: Tensor, state: State, input_tangent: Tensor | None, tangent: State) -> tuple[State, State]:
        """Return the next state and its tangent."""
        z_r, z_u, z, hidden_n = self._pre_activations(input, state)
        n, u = torch.tanh(z), gate(z_u)
        through_n = gate(-z_u) * tanh_slope(z)
        through_r = through_n * hidden_n * logistic_slope(z_r)
        through_u = (state[0] - n) * logistic_slope(z_u)
        gains = {0: through_r, 1: through_u, 2: through_n * gate(z_r)}
        (pushed,) = self._through_gates(tangent[0], self.weight_hh, [gains])
        pushed.addcmul_(tangent[0], u[:, None])
        if input_tangent is not None:
            pushed += self._through_gates(input_tangent, self.weight_ih, [gains | {2: through_n}])[0]
        return (torch.lerp(n, state[0], u),), (pushed,)


class ResetFirstGRULayer(Layer):
    """A GRU whose reset gate r multiplies h before the weights: n = tanh(W_n x + b_in + U_n (r h) + b_hn).

    This is the form of Cho et al. (2014), Keras' ``reset_after=False`` and ONNX' ``linear_before_reset=0``; PyTorch has
    the other one. What a perturbation does to z_n is U_n (r δh + h δr).
    """

    kind = "GRU (reset before weights)"
    n_gates = 3

    def _pre_activations(self, input: Tensor, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """Return z_r, z_u and z_n."""
        input_r, input_u, input_n = linear(input, self.weight_ih, self.bias_ih).chunk(3, -1)
        into_gates, into_new = self._recurrent_weights()
        bias = self.bias_hh.split([2 * self.hidden_size, self.hidden_size])
        hidden_r, hidden_u = linear(state[0], into_gates, bias[0]).chunk(2, -1)
        r = input_r + hidden_r
        return r, input_u + hidden_u, input_n + linear(torch.sigmoid(r) * state[0], into_new, bias[1])

    def _recurrent_weights(self) -> tuple[Tensor, Tensor]:
        """Return U_r on U_u, and U_n."""
        return self.weight_hh.split([2 * self.hidden_size, self.hidden_size])

    def step(self, input: Tensor, state: State) -> State:
        """Return the next state."""
        _, u, z = self._pre_activations(input, state)
        return (torch.lerp(torch.tanh(z), state[0], torch.sigmoid(u)),)

    def push(self, input: Tensor, state: State, input_tangent: Tensor | None, tangent: State) -> tuple[State, State]:
        """Return the next state and its tangent."""
        z_r, z_u, z = self._pre_activations(input, state)
        n, u = torch.tanh(z), gate(z_u)
        into_gates, into_new = self._recurrent_weights()
        pushed_r, pushed_u = linear(tangent[0], into_gates).chunk(2, -1)
        from_below = None if input_tangent is None else linear(input_tangent, self.weight_ih).chunk(3, -1)
        if from_below is not None:
            pushed_r, pushed_u = pushed_r + from_below[0], pushed_u + from_below[1]
        reset = tangent[0] * gate(z_r)[:, None] + pushed_r * (state[0] * logistic_slope(z_r))[:, None]
        pushed_n = linear(reset, into_new)
        if from_below is not None:
            pushed_n += from_below[2]
        pushed = tangent[0] * u[:, None]
        pushed.addcmul_(pushed_n, (gate(-z_u) * tanh_slope(z))[:, None])
        pushed.addcmul_(pushed_u, ((state[0] - n) * logistic_slope(z_u))[:, None])
        return (torch.lerp(n, state[0], u),), (pushed,)


class LSTMLayer(Layer):
    """i, f, o = sigmoids, g = tanh; c ← f c + i g; h ← o tanh(c), or W_hr of that with a projection.

    Along the trajectory δc ← f δc + G δh and δh ← a δc + b W_o δh, with the gains a = o tanh'(c), b = tanh(c) σ'(o) and
    G = g σ'(i) W_i + c σ'(f) W_f + i tanh'(g) W_g.
    """

    kind = "LSTM"
    n_gates = 4

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__(weights)
        self.weight_hr = weights.get("weight_hr")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of h and c."""
        return (self.weight_hh.shape[1], self.hidden_size)

    def _project(self, hidden: Tensor) -> Tensor:
        return hidden if self.weight_hr is None else linear(hidden, self.weight_hr)

    def _pre_activations(self, input: Tensor, state: State) -> tuple[Tensor, ...]:
        z = linear(input, self.weight_ih, self.bias_ih) + linear(state[0], self.weight_hh, self.bias_hh)
        return z.chunk(4, -1)

    def step(self, input: Tensor, state: State) -> State:
        """Return the next state."""
        i, f, z, o = self._pre_activations(input, state)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(z)
        return self._project(torch.sigmoid(o) * torch.tanh(c)), c

    def _gains(
        self, input: Tensor, state: State, multiply: Callable[[Tensor, Tensor], Tensor] = torch.mul
    ) -> tuple[State, Tensor, Tensor, dict[int, Tensor], dict[int, Tensor]]:
        """Return the next state; f and a; and what goes through which gate into δh, besides δc, and into δc."""
        z_i, z_f, z, z_o = self._pre_activations(input, state)
        i, f, o, g = gate(z_i), gate(z_f), gate(z_o), torch.tanh(z)
        c = f * state[1] + i * g
        tanh_c = torch.tanh(c)
        into_h = {3: multiply(tanh_c, logistic_slope(z_o))}
        into_c = {
            0: multiply(g, logistic_slope(z_i)),
            1: multiply(state[1], logistic_slope(z_f)),
            2: multiply(i, tanh_slope(z)),
        }
        return (self._project(o * tanh_c), c), f, multiply(o, tanh_slope(c)), into_h, into_c

    def push(self, input: Tensor, state: State, input_tangent: Tensor | None, tangent: State) -> tuple[State, State]:
        """Return the next state and its tangent."""
        output, f, a, into_h, into_c = self._gains(input, state)
        pushed_h, pushed_c = self._through_gates(tangent[0], self.weight_hh, [into_h, into_c])
        if input_tangent is not None:
            from_below = self._through_gates(input_tangent, self.weight_ih, [into_h, into_c])
            pushed_h += from_below[0]
            pushed_c += from_below[1]
        pushed_c.addcmul_(tangent[1], f[:, None])
        pushed_h.addcmul_(pushed_c, a[:, None])
        return output, (self._project(pushed_h), pushed_c)

    def push_all(self, input: Tensor, state: State, tangent: Tensor) -> tuple[State, Tensor]:
        """Return what `push` does of the only layer, perturbations (B, k, 2H) in one piece."""
        n = self.hidden_size
        if self.weight_hr is not None or 4 * tangent.shape[1] < n:
            return super().push_all(input, state, tangent)
        output, f, a, into_h, into_c = self._gains(input, state)
        combined = self._combined(self.weight_hh, [into_h, into_c])
        combined[:, 0].addcmul_(combined[:, 1], a[:, :, None])
        cells, pushed = tangent[:, :, n:], torch.empty_like(tangent)
        torch.mul(cells, f[:, None], out=pushed[:, :, n:])
        torch.mul(cells, (a * f)[:, None], out=pushed[:, :, :n])
        pushed.baddbmm_(tangent[:, :, :n], combined.flatten(1, 2).mT)
        return output, pushed

    def stages(self, input: Tensor, state: State) -> tuple[State, list[Stage]]:
        """Return the next state and two factors: through the gates, and the cells added to the output.

        Where an output gate is closed far tighter than a, what goes through it would drown in a δc; so that is added
        after perturbations were made well conditioned again.
        """
        output, f, a, into_h, into_c = self._gains(input, state, product)

        def through_gates(input_tangent: Tensor | None, tangent: State) -> State:
            hidden, cell = self._through_gates(tangent[0], self.weight_hh, [into_h, into_c])
            if input_tangent is not None:
                from_below = self._through_gates(input_tangent, self.weight_ih, [into_h, into_c])
                hidden, cell = hidden + from_below[0], cell + from_below[1]
            return hidden, cell.addcmul(tangent[1], f[:, None])

        def added(input_tangent: Tensor | None, tangent: State) -> State:
            return self._project(tangent[0].addcmul(tangent[1], a[:, None])), tangent[1]

        if self.weight_hr is not None:  # what is projected has another size in between
            return output, [lambda below, tangent: added(None, through_gates(below, tangent))]
        return output, [through_gates, added]
