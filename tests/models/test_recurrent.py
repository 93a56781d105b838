"""Recurrent adapters against the modules they are made from, by ways that share no code with them."""

import mpmath
import numpy as np
import pytest
import torch
from networks import separated
from torch import nn

import lyapkit as lk
from lyapkit.tangent import propagate

KINDS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def _split(module, state):
    """Return a flat state (N,) as the arguments of a module: (h_0,) or (h_0, c_0), each (layers, 1, size)."""
    layers = module.num_layers
    if not isinstance(module, nn.LSTM):
        return state.reshape(layers, 1, -1)
    hidden_size = module.proj_size or module.hidden_size
    return (
        state[: layers * hidden_size].reshape(layers, 1, hidden_size),
        state[layers * hidden_size :].reshape(layers, 1, module.hidden_size),
    )


def _module_step(module, input):
    """Return the real module's own step as a function of the flat state."""

    def step(state):
        _, end = module(input.reshape(1, 1, -1), _split(module, state))
        return torch.cat([part.flatten() for part in (end if isinstance(end, tuple) else (end,))])

    return step


def _jacobians(module, inputs, state):
    """Return the Jacobians (T, N, N) of the real module along one trajectory, by autograd, row by row."""
    jacobians = []
    for input in inputs:
        step = _module_step(module, input)
        jacobians.append(torch.autograd.functional.jacobian(step, state))
        state = step(state).detach()
    return torch.stack(jacobians), state


@pytest.mark.parametrize("proj_size", [0, 5])
@pytest.mark.parametrize("batch_first", [True, False])
def test_state_is_that_of_the_module(batch_first, proj_size):
    for kind in KINDS.values():
        if proj_size and kind is not nn.LSTM:
            continue
        options = {"proj_size": proj_size} if proj_size else {}
        module = kind(3, 7, 2, batch_first=batch_first, dropout=0.4, **options)
        system = lk.from_module(module)
        inputs = torch.randn(4, 20, 3)
        module.eval()
        _, end = module(inputs if batch_first else inputs.transpose(0, 1))
        expected = torch.cat([part.transpose(0, 1).flatten(1) for part in (end if kind is nn.LSTM else (end,))], dim=1)
        state = torch.zeros(4, system.state_size)
        for t in range(20):
            state = system.step(state, inputs[:, t])
        torch.testing.assert_close(state, expected, rtol=0, atol=1e-13)
        assert module.training is False
        assert next(module.parameters()).requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_exponents_equal_those_of_autograd_jacobians(kind, agrees):
    """Two layers, H=12, T=300: every exponent, against the real module's Jacobians with one QR per step, to 1e-9."""
    module = separated(KINDS[kind](3, 12, 2))
    inputs = torch.randn(300, 3)
    system = lk.from_module(module)
    n = system.state_size
    jacobians, end = _jacobians(module, inputs, torch.zeros(n))
    first = torch.linalg.qr(torch.randn(n, n))[0]
    frame, growth = first, torch.zeros(n)
    for jacobian in jacobians:
        frame, upper = torch.linalg.qr(jacobian @ frame)
        growth += upper.diagonal().abs().log()
    expected = growth / 300

    term = propagate(system, torch.zeros(1, n), first.mT[None].contiguous(), inputs[None], n_steps=300)
    assert len(term.steps) < 150
    agrees(term.log_growth[0].sum(0) / 300, expected, "modules", within=1e-9)
    torch.testing.assert_close(term.state[0], end, rtol=0, atol=1e-13)
    # the frames span the same subspaces, row by row up to sign
    torch.testing.assert_close((term.frame[0] @ frame).abs(), torch.eye(n), rtol=0, atol=1e-6)
    assert expected.max() > -0.3
    assert expected.min() < -2.4
    # a transposed push, or the cell state left out, would be far off
    transposed, wrong = first, torch.zeros(n)
    for jacobian in jacobians:
        transposed, upper = torch.linalg.qr(jacobian.mT @ transposed)
        wrong += upper.diagonal().abs().log()
    assert (wrong / 300 - expected).abs().max() > 1e-4


@pytest.mark.parametrize(("kind", "hidden_size", "layers"), [("rnn", 3, 2), ("gru", 3, 2), ("lstm", 3, 1)])
@pytest.mark.parametrize("reorthonormalize", ["adaptive", 1])
def test_factors_equal_those_of_the_exact_product(kind, hidden_size, layers, reorthonormalize):
    """N=6, T=40: R of the product of the real module's Jacobians, multiplied and factored with 80 digits."""
    module = separated(KINDS[kind](2, hidden_size, layers))
    inputs = torch.randn(40, 2)
    system = lk.from_module(module)
    jacobians, _ = _jacobians(module, inputs, torch.zeros(6))
    with mpmath.workdps(80):
        product = mpmath.eye(6)
        for jacobian in jacobians:
            product = mpmath.matrix(jacobian.tolist()) * product
        _, upper = mpmath.qr(product)
        exact = [float(mpmath.log(abs(upper[i, i]))) for i in range(6)]
    term = propagate(
        system,
        torch.zeros(1, 6),
        torch.eye(6)[None],
        inputs[None],
        n_steps=40,
        reorthonormalize=reorthonormalize,
    )
    np.testing.assert_allclose(term.log_growth[0].sum(0), exact, rtol=0, atol=40 * 1e-9)


def test_relu_exponents_equal_those_of_autograd_jacobians(agrees):
    """All units active: positive weights and inputs."""
    module = nn.RNN(2, 5, nonlinearity="relu")
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.abs_()
    inputs = torch.rand(50, 2)
    jacobians, _ = _jacobians(module, inputs, torch.zeros(5))
    frame, growth = torch.eye(5), torch.zeros(5)
    for jacobian in jacobians:
        frame, upper = torch.linalg.qr(jacobian @ frame)
        growth += upper.diagonal().abs().log()
    ds = lk.lyapunov_spectrum(lk.from_module(module), inputs[None])
    agrees(ds.lyapunov_exponent[0], np.sort((growth / 50).numpy())[::-1], "modules", within=1e-10)


@pytest.mark.filterwarnings("ignore:inputs are whole numbers from:lyapkit.ReliabilityWarning")
def test_saturated_tanh_keeps_its_digits():
    """Far from zero 1 − tanh² is exactly 0 in float64; the slope is 4 exp(−2|z|)."""
    module = nn.RNN(1, 1)
    with torch.no_grad():
        module.weight_ih_l0.fill_(1.0)
        module.weight_hh_l0.fill_(1.0)
        module.bias_ih_l0.zero_()
        module.bias_hh_l0.zero_()
    ds = lk.lyapunov_spectrum(lk.from_module(module), np.full((1, 100, 1), 40.0), n_transient=1)
    assert float(ds.lyapunov_exponent[0, 0]) == pytest.approx(np.log(4) - 2 * 41.0, abs=1e-10)


def test_cell_and_single_layer_agree():
    for kind, cell_kind in ((nn.RNN, nn.RNNCell), (nn.GRU, nn.GRUCell), (nn.LSTM, nn.LSTMCell)):
        module, cell = kind(3, 6), cell_kind(3, 6)
        cell.load_state_dict({name.removesuffix("_l0"): value for name, value in module.state_dict().items()})
        inputs = torch.randn(2, 30, 3)
        spectra = [lk.lyapunov_spectrum(lk.from_module(m), inputs).lyapunov_exponent for m in (module, cell)]
        np.testing.assert_array_equal(*spectra)


def test_own_cell_through_forward_mode_equals_the_adapter():
    cell = nn.LSTMCell(3, 4)
    inputs = torch.randn(2, 25, 3)
    structured = lk.lyapunov_spectrum(lk.from_module(cell), inputs)
    automatic = lk.lyapunov_spectrum(lk.from_module(cell, state_size=(4, 4)), inputs)
    np.testing.assert_allclose(structured.lyapunov_exponent, automatic.lyapunov_exponent, atol=1e-10)


def test_float32_module_is_computed_in_float64():
    module = nn.GRU(3, 6).float()
    ds = lk.lyapunov_spectrum(lk.from_module(module), torch.randn(1, 30, 3).float())
    assert ds.lyapunov_exponent.dtype == np.float64
    assert module.weight_hh_l0.dtype == torch.float32
    double = lk.lyapunov_spectrum(lk.from_module(module.double()), torch.randn(1, 30, 3))
    assert double.lyapunov_exponent.shape == (1, 6)


def test_module_inside_a_model_is_found():
    class Model(nn.Module):
        def __init__(self, n):
            super().__init__()
            self.encoders = nn.ModuleList(nn.GRU(3, 4) for _ in range(n))
            self.readout = nn.Linear(4, 2)

    assert lk.from_module(Model(1)).state_size == 4
    with pytest.raises(ValueError, match=r"several recurrent modules, encoders.0, encoders.1"):
        lk.from_module(Model(2))
    with pytest.raises(ValueError, match="contains no nn"):
        lk.from_module(nn.Linear(3, 3))


def test_bidirectional_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="bidirectional: its backward half reads the sequence from its end"):
        lk.from_module(nn.LSTM(3, 4, bidirectional=True))


def test_own_cell_with_another_output_is_refused():
    class Cell(nn.Module):
        def forward(self, input, state):
            return input, state

    with pytest.raises(ValueError, match="give input_size="):
        lk.from_module(Cell(), state_size=3)
    with pytest.raises(ValueError, match=r"wrap it so that forward\(input, state\) returns the state alone"):
        lk.lyapunov_spectrum(lk.from_module(Cell(), state_size=3, input_size=2), torch.randn(1, 5, 2))
