"""Networks that input spikes saturate: every exponent against hundreds of digits."""

import numpy as np
import pytest
import torch
from extended_precision import exponents, recurrent_step, wcrnn_step
from torch import nn

import lyapkit as lk

pytestmark = pytest.mark.filterwarnings("ignore:inputs are (whole )?numbers from:lyapkit.ReliabilityWarning")

KINDS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def _spiked(n_steps, spikes, rng):
    inputs = rng.uniform(-0.5, 0.5, (n_steps, 1))
    for time, size in spikes:
        inputs[time] = size
    return inputs


def _wild(module, rng):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.from_numpy(0.9 * rng.normal(size=parameter.shape)))
    return module


SPIKES = {
    "two": ((15, 60.0), (22, -80.0)),
    "first": ((0, 100.0),),
    "last": ((29, 100.0),),
    "always": [(t, 40.0) for t in range(30)],
}


@pytest.mark.parametrize("spikes", SPIKES)
@pytest.mark.parametrize(("kind", "n"), [("rnn", 6), ("gru", 5), ("lstm", 4)])
@pytest.mark.parametrize("seed", range(2))
def test_every_exponent_of_a_spiked_network(kind, n, spikes, seed, agrees):
    rng = np.random.default_rng(seed)
    module = _wild(KINDS[kind](1, n), rng)
    inputs = _spiked(30, SPIKES[spikes], rng)
    exact, _ = exponents(recurrent_step(module), n * (2 if kind == "lstm" else 1), inputs, 500)
    ds = lk.lyapunov_spectrum(lk.from_module(module), inputs[None])
    assert not ds.is_bound.any()
    scale = np.maximum(1.0, np.abs(exact))
    agrees(ds.lyapunov_exponent[0] / scale, exact / scale, "spiked modules", within=1e-9)


@pytest.mark.parametrize("kind", ["linear", "A", "B"])
def test_every_exponent_of_a_spiked_wcrnn(kind, agrees):
    rng = np.random.default_rng(3)
    model = lk.WCRNN(1, 6, 2, lk.residuals.rotation(6, 0.3, rng.uniform(0.5, 1.0, 6)), 0.4, kind)
    with torch.no_grad():
        model.input.weight.mul_(3.0)
    inputs = _spiked(30, SPIKES["two"], rng)
    exact, textbook = exponents(wcrnn_step(model), 6, inputs, 500)
    ds = lk.lyapunov_spectrum(model, inputs[None])
    assert not ds.is_bound.any()
    agrees(ds.lyapunov_exponent[0], exact, "spiked wcrnn", within=1e-9)
    if kind == "B":  # whose saturated units lose everything
        assert np.abs(textbook - exact).max() > 1


@pytest.mark.parametrize("kind", KINDS)
def test_stacked_networks(kind):
    """From a random frame; where directions change order, rounding is magnified whatever one does."""
    rng = np.random.default_rng(2)
    module = _wild(KINDS[kind](1, 3, 2), rng)
    inputs = _spiked(30, SPIKES["two"], rng)
    system = lk.from_module(module)
    frame = np.linalg.qr(rng.normal(size=2 * (system.state_size,)))[0]
    exact, _ = exponents(recurrent_step(module), system.state_size, inputs, 500, frame)
    ds = lk.lyapunov_spectrum(system, inputs[None], initial_frame=frame)
    np.testing.assert_allclose(ds.lyapunov_exponent[0], exact, rtol=0, atol=1e-6)


def test_the_textbook_loop_does_not_resolve_them():
    """What peers run, QR of the dense Jacobian at every step, is off by nats per step."""
    rng = np.random.default_rng(0)
    module = _wild(nn.RNN(1, 6), rng)
    exact, textbook = exponents(recurrent_step(module), 6, _spiked(30, SPIKES["two"], rng), 500)
    assert not np.abs(textbook - exact).max() < 0.3


def test_what_underflows_is_a_bound():
    """Slopes of e^-1000 are no floating-point numbers: the smallest one is an upper bound, and labelled."""
    rng = np.random.default_rng(0)
    module = _wild(nn.RNN(1, 4), rng)
    inputs = _spiked(20, ((10, 2000.0),), rng)
    exact, _ = exponents(recurrent_step(module), 4, inputs, 3000)
    with pytest.warns(lk.LostDirectionWarning, match="fell below rounding in up to 1 step each"):
        ds = lk.lyapunov_spectrum(lk.from_module(module), inputs[None])
    measured, is_bound = ds.lyapunov_exponent[0].values, ds.is_bound[0].values
    assert is_bound.any()
    np.testing.assert_allclose(measured[~is_bound], exact[~is_bound], rtol=0, atol=1e-9)
    assert (measured[is_bound] > exact[is_bound]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_float32_turns_to_float64_where_it_must(kind):
    torch.manual_seed(0)
    module = KINDS[kind](8, 32).float()
    inputs = np.random.default_rng(0).normal(size=(2, 100, 8))
    inputs[1, 50] *= 50
    double = lk.lyapunov_spectrum(lk.from_module(module), inputs)
    single = lk.lyapunov_spectrum(lk.from_module(module), inputs, dtype="float32")
    assert not single.is_bound.any()
    np.testing.assert_allclose(single.lyapunov_exponent, double.lyapunov_exponent, rtol=0, atol=2e-3)


def test_one_outlier_leaves_the_others_alone():
    torch.manual_seed(0)
    system = lk.from_module(nn.LSTM(4, 16))
    inputs = np.random.default_rng(0).standard_normal((10, 300, 4))
    quiet = lk.lyapunov_spectrum(system, inputs)
    inputs[3, 100] *= 100
    loud = lk.lyapunov_spectrum(system, inputs)
    others = np.arange(10) != 3
    np.testing.assert_allclose(loud.lyapunov_exponent[others], quiet.lyapunov_exponent[others], rtol=0, atol=1e-9)
    assert np.isfinite(loud.lyapunov_exponent).all()
    assert not loud.is_bound.any()
    assert abs(loud.attrs["n_reconditionings"] - quiet.attrs["n_reconditionings"]) < 30


@pytest.mark.filterwarnings("ignore::lyapkit.LostDirectionWarning")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("seed", "n_inputs"), [(9, 1), (15, 1), (4, 3)])
def test_raw_pixels(seed, n_inputs, dtype):
    """A default LSTM on values up to 255: right, or a bound, place by place, also of directions lost together."""
    torch.manual_seed(seed)
    module = nn.LSTM(n_inputs, 4).float().double()  # weights that float32 holds
    inputs = np.random.default_rng(seed).integers(0, 256, (30, n_inputs)).astype(float)
    exact, _ = exponents(recurrent_step(module), 8, inputs, 600)
    ds = lk.lyapunov_spectrum(lk.from_module(module), inputs[None], dtype=dtype)
    measured, is_bound = ds.lyapunov_exponent[0].values, ds.is_bound[0].values
    tolerance = {"float64": 1e-9, "float32": 1e-4}[dtype]
    np.testing.assert_allclose(measured[~is_bound], exact[~is_bound], rtol=0, atol=tolerance)
    assert (measured[is_bound] > exact[is_bound] - tolerance).all()
    assert (np.diff(is_bound.astype(int)) >= 0).all()  # behind a bound there are only bounds
