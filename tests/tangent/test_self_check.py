"""Every run computes its beginning twice: planted errors are found, and nothing else is."""

import numpy as np
import pytest
import torch
from torch import nn

import lyapkit as lk
from lyapkit.models.recurrent import Recurrent
from lyapkit.systems.classical import RandomNetwork
from lyapkit.tangent import factorizations, lapack


def _network(cls=Recurrent, n=12):
    torch.manual_seed(0)
    return cls(lk.from_module(nn.RNN(2, n)).layers)


INPUTS = torch.randn(3, 300, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class WrongPush(Recurrent):
    """With the transposed tangent map."""

    def push(self, state, input, tangent):
        next_state, _ = super().push(state, input, tangent)
        slope = 1 - next_state**2
        return next_state, (tangent * slope[:, None]) @ self.layers[0].weight_hh


class WrongPushAlong(Recurrent):
    """Which forgets the last step of every stretch but the shortest."""

    def push_along(self, state, inputs, tangent, n_steps):
        state, tangent = super().push_along(state, inputs[:, : n_steps - 1], tangent, n_steps - 1)
        new_state, pushed = self.push(state, inputs[:, -1], tangent)
        return new_state, pushed if n_steps == 1 else tangent


def test_wrong_push_is_found():
    with pytest.raises(lk.SelfCheckError, match=r"push carries a perturbation to .* finite differences of step give"):
        lk.lyapunov_spectrum(_network(WrongPush), INPUTS)
    lk.lyapunov_spectrum(_network(WrongPush), INPUTS, check=False)


def test_wrong_push_along_is_found():
    with pytest.raises(
        lk.SelfCheckError, match=r"log-growth of direction .* of trajectory 1 in steps .* one QR per step"
    ):
        lk.lyapunov_spectrum(_network(WrongPushAlong), INPUTS)
    with pytest.raises(ArithmeticError):
        lk.lyapunov_spectrum(_network(WrongPushAlong), INPUTS, dtype="float32")


@pytest.mark.parametrize("name", ["PivotedLU", "HouseholderQR"])
@pytest.mark.parametrize("part", ["diagonal", "new_frame"])
def test_wrong_factorization_is_found(monkeypatch, name, part):
    """One that is off by a thousandth in one entry of its diagonal, or by a thousandth in one row of its frame."""
    cls = getattr(factorizations, name)
    if part == "diagonal":
        right = cls.__init__

        def wrong(self, *arguments):
            right(self, *arguments)
            self.diagonal = self.diagonal.clone()
            self.diagonal[:, 3] *= 1.001

        monkeypatch.setattr(cls, "__init__", wrong)
    else:
        right = cls.new_frame

        def wrong(self):
            frame = right(self).clone()
            frame[:, 3] += 0.001 * frame[:, 4]
            return frame

        monkeypatch.setattr(cls, "new_frame", wrong)
    with pytest.raises(lk.SelfCheckError, match=r"one QR per step|a QR of that frame alone"):
        lk.lyapunov_spectrum(_network(n=40), INPUTS)  # of a frame that is large enough for an LU


def test_wrong_lapack_is_found(monkeypatch):
    right = lapack.lu

    def wrong(frame):
        factors, pivots, info = right(frame)
        return factors.roll(1, dims=-1), pivots, info

    monkeypatch.setattr(lapack, "lu", wrong)
    with pytest.raises(lk.SelfCheckError):
        lk.lyapunov_spectrum(_network(n=40), INPUTS)


@pytest.mark.filterwarnings("ignore::lyapkit.DivergenceWarning")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("reorthonormalize", ["adaptive", 1, 5])
@pytest.mark.parametrize("seeds", [[0], pytest.param([1, 2], marks=pytest.mark.slow)])
def test_nothing_is_found_where_all_is_right(dtype, reorthonormalize, seeds):
    options = {"dtype": dtype, "reorthonormalize": reorthonormalize}
    for seed in seeds:
        torch.manual_seed(seed)
        inputs = torch.randn(2, 70, 3)
        for module in (nn.RNN(3, 20), nn.LSTM(3, 8), nn.GRU(3, 9, 2), lk.RefinedLSTM(3, 7, 1), lk.S4(3, 4, 1)):
            system = lk.from_module(module)
            lk.lyapunov_spectrum(system, inputs, **options)
            lk.lyapunov_spectrum(system, inputs, n_exponents=3, n_transient=10, **options)
        lk.lyapunov_spectrum(RandomNetwork(20, 4.0, seed), n_steps=200, n_trajectories=2, **options)
        for system in (lk.classical.henon(), lk.classical.cat(), lk.classical.lorenz(), lk.classical.standard(20.0)):
            lk.lyapunov_spectrum(system, n_steps=100, n_trajectories=2, seed=seed, **options)


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
def test_variables_of_different_sizes(size):
    """A variable may be 10⁹ times as large as the others, or as small; a wrong derivative of any is found."""

    def step(s):
        return torch.stack([torch.cos(3 * s[0]) + s[1], 0.3 * s[0], 0.5 * s[2] + size * torch.sin(s[0])])

    def jacobian(s):
        zero = torch.zeros_like(s[0])
        rows = [[-3 * torch.sin(3 * s[0]), zero + 1, zero], [zero + 0.3, zero, zero]]
        return torch.stack([torch.stack(row) for row in (*rows, [size * torch.cos(s[0]), zero, zero + 0.5])])

    options = {"initial_state": [0.1, 0.1, 2 * size], "n_steps": 200, "progress": False}
    exponents = lk.lyapunov_spectrum(lk.Map(step, 3, jacobian), **options).lyapunov_exponent.values[0]
    assert exponents.sum() == pytest.approx(np.log(0.3 * 0.5), abs=1e-9)  # the determinant is constant
    for row, column in ((0, 0), (0, 1), (1, 0), (2, 2)):

        def wrong(s, row=row, column=column):
            matrix = jacobian(s).clone()
            matrix[row, column] = 1.1 * matrix[row, column] + 0.01
            return matrix

        with pytest.raises((lk.SelfCheckError, ValueError)):
            lk.lyapunov_spectrum(lk.Map(step, 3, wrong), **options)
