"""Exponents of recurrent networks in hundreds of digits: network, Jacobian by dual numbers, and QR, in mpmath."""

import mpmath
import numpy as np


class Dual:
    """A number and its derivatives with respect to the N state variables."""

    def __init__(self, value, slopes):
        self.value, self.slopes = value, slopes

    def __add__(self, other):
        if isinstance(other, Dual):
            return Dual(self.value + other.value, [a + b for a, b in zip(self.slopes, other.slopes, strict=True)])
        return Dual(self.value + other, self.slopes)

    __radd__ = __add__

    def __mul__(self, other):
        if isinstance(other, Dual):
            pairs = zip(self.slopes, other.slopes, strict=True)
            return Dual(self.value * other.value, [a * other.value + b * self.value for a, b in pairs])
        return Dual(self.value * other, [a * other for a in self.slopes])

    __rmul__ = __mul__


def tanh(x):
    slope = 1 / mpmath.cosh(x.value) ** 2
    return Dual(mpmath.tanh(x.value), [slope * a for a in x.slopes])


def sigmoid(x):
    value = 1 / (1 + mpmath.exp(-x.value))
    slope = value / (1 + mpmath.exp(x.value))
    return Dual(value, [slope * a for a in x.slopes])


def exact(array):
    return np.vectorize(mpmath.mpf, otypes=[object])(np.asarray(array, dtype=float))


def _layers(module):
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    for layer in range(module.num_layers):
        yield [exact(getattr(module, f"{name}_l{layer}").detach().numpy()) for name in names]


def recurrent_step(module):
    """Return (state, input) -> next state of an nn.RNN (tanh), nn.GRU or nn.LSTM, on arrays of duals."""
    layers, kind, n_layers = list(_layers(module)), type(module).__name__, module.num_layers

    def step(state, signal):
        parts = np.split(np.array(state, dtype=object), n_layers * (2 if kind == "LSTM" else 1))
        hidden, cells = [], []
        for index, (w_ih, w_hh, b_ih, b_hh) in enumerate(layers):
            h = parts[index]
            from_input, from_state = w_ih @ signal + b_ih, w_hh @ h + b_hh
            if kind == "RNN":
                h = [tanh(a + b) for a, b in zip(from_input, from_state, strict=True)]
            elif kind == "GRU":
                r_i, u_i, n_i = np.split(from_input, 3)
                r_h, u_h, n_h = np.split(from_state, 3)
                r, u = ([sigmoid(a + b) for a, b in zip(x, y, strict=True)] for x, y in ((r_i, r_h), (u_i, u_h)))
                n = [tanh(a + g * b) for a, b, g in zip(n_i, n_h, r, strict=True)]
                h = [a + g * (b + -1 * a) for a, b, g in zip(n, h, u, strict=True)]
            else:
                i, f, g, o = np.split(from_input + from_state, 4)
                new = [
                    sigmoid(b) * c + sigmoid(a) * tanh(d)
                    for a, b, c, d in zip(i, f, parts[n_layers + index], g, strict=True)
                ]
                h = [sigmoid(a) * tanh(c) for a, c in zip(o, new, strict=True)]
                cells.append(new)
            hidden.append(h)
            signal = np.array(h, dtype=object)
        return [x for part in hidden + cells for x in part]

    return step


def wcrnn_step(model):
    """Return the step of a WCRNN of any kind."""
    matrix, weight, inputs, bias = (
        exact(x.detach().numpy())
        for x in (model.residual.matrix, model.recurrent.weight, model.input.weight, model.recurrent.bias)
    )
    alpha = exact(np.broadcast_to(model.coupling.numpy(), model.state_size))

    def step(state, signal):
        state = np.array(state, dtype=object)
        kept, z = matrix @ state, weight @ state + inputs @ signal + bias
        if model.kind == "B":
            return [tanh(a + s * b) for a, s, b in zip(kept, alpha, z, strict=True)]
        return [(tanh(a) if model.kind == "A" else a) + s * tanh(b) for a, s, b in zip(kept, alpha, z, strict=True)]

    return step


def exponents(step, n, inputs, digits, first_frame=None):
    """Return the exponents of one trajectory from zero: (n,), descending, and those of the textbook loop in float64."""
    with mpmath.workdps(digits):
        state = [mpmath.mpf(0)] * n
        textbook = np.eye(n) if first_frame is None else np.asarray(first_frame).T
        frame, log_growth, rough = mpmath.matrix(textbook.tolist()), [mpmath.mpf(0)] * n, np.zeros(n)
        for signal in inputs:
            unit = [[mpmath.mpf(int(i == j)) for j in range(n)] for i in range(n)]
            duals = step([Dual(x, slopes) for x, slopes in zip(state, unit, strict=True)], exact(signal))
            state = [x.value for x in duals]
            jacobian = mpmath.matrix([x.slopes for x in duals])
            frame, upper = mpmath.qr(jacobian * frame)
            log_growth = [a + mpmath.log(abs(upper[i, i])) for i, a in enumerate(log_growth)]
            textbook, plain = np.linalg.qr(np.array(jacobian.tolist(), dtype=float) @ textbook)
            with np.errstate(divide="ignore"):
                rough += np.log(np.abs(np.diag(plain)))
        return np.sort([float(a / len(inputs)) for a in log_growth])[::-1], np.sort(rough / len(inputs))[::-1]
