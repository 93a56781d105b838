"""The GRU whose reset gate comes before the recurrent weights, against its equations written down once more."""

import numpy as np
import pytest
import torch
from checkpoint_table import autograd_exponents

import lyapkit as lk
from lyapkit.models.recurrent import Recurrent
from lyapkit.testing import check_system


def _parameters(n_inputs, *sizes):
    parameters, below = {}, n_inputs
    for index, size in enumerate(sizes):
        shapes = {"weight_ih": (3 * size, below), "weight_hh": (3 * size, size), "bias_ih": (3 * size,)}
        for name, shape in (shapes | {"bias_hh": (3 * size,)}).items():
            parameters[f"{name}_l{index}"] = 0.8 * torch.randn(shape)
        below = size
    return parameters


def _one_step(parameters, sizes):
    """One step of the stack, gate by gate; r multiplies h before U_n."""

    def step(state, input):
        signal, outputs = input, []
        for index, h in enumerate(state.split(list(sizes))):
            w, u, b, c = (parameters[f"{name}_l{index}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
            (w_r, w_u, w_n), (u_r, u_u, u_n) = w.chunk(3), u.chunk(3)
            (b_r, b_u, b_n), (c_r, c_u, c_n) = b.chunk(3), c.chunk(3)
            r = 1 / (1 + torch.exp(-(w_r @ signal + b_r + u_r @ h + c_r)))
            update = 1 / (1 + torch.exp(-(w_u @ signal + b_u + u_u @ h + c_u)))
            n = torch.tanh(w_n @ signal + b_n + u_n @ (r * h) + c_n)
            signal = (1 - update) * n + update * h
            outputs.append(signal)
        return torch.cat(outputs)

    return step


@pytest.mark.parametrize("sizes", [(5,), (4, 3)])
def test_conformance(sizes):
    check_system(Recurrent.from_parameters(_parameters(3, *sizes), reset_after=False))


@pytest.mark.parametrize("sizes", [(5,), (4, 3)])
def test_exponents_equal_those_of_autograd(sizes):
    parameters = _parameters(3, *sizes)
    system = Recurrent.from_parameters(parameters, reset_after=False)
    inputs = torch.randn(60, 3).numpy()
    expected = autograd_exponents(_one_step(parameters, sizes), sum(sizes))(inputs)
    got = lk.lyapunov_spectrum(system, inputs[None]).lyapunov_exponent[0].values
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)
    other = lk.lyapunov_spectrum(Recurrent.from_parameters(parameters), inputs[None]).lyapunov_exponent[0].values
    assert np.abs(other - expected).max() > 1e-2  # PyTorch's form is another system
    assert "reset before weights" in str(system)
