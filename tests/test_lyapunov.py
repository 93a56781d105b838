"""The one call: its arguments, its dataset, and what it says about bad input."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import lyapkit as lk

GRU = lk.from_module(nn.GRU(3, 4))
HENON = lk.classical.henon()


def _inputs(*shape):
    return np.random.default_rng(0).normal(size=shape)


def test_dataset_is_labelled():
    ds = lk.lyapunov_spectrum(GRU, _inputs(2, 40, 3), n_transient=10)
    assert ds.lyapunov_exponent.dims == ("trajectory", "exponent")
    assert dict(ds.sizes) == {"trajectory": 2, "exponent": 4, "interval": ds.sizes["interval"]}
    assert set(ds.sizes) <= set(ds.coords)
    for variable in ds.variables.values():
        assert {"units", "long_name"} <= set(variable.attrs)
    assert ds.lyapunov_exponent.units == "nats per step"
    assert int(ds.duration.sum()) == 30
    assert (np.diff(ds.lyapunov_exponent) <= 0).all()
    assert ds.attrs["system"] == "GRU (3 inputs, 4 units, state size 4)"
    parameters = json.loads(ds.attrs["parameters"])
    assert parameters["n_transient"] == 10
    assert parameters["n_steps"] == 30
    assert len(ds.attrs["inputs_sha256"]) == 64
    assert all(isinstance(value, str | int | float) for value in ds.attrs.values())


def test_exponents_are_the_time_average_of_the_log_growth():
    ds = lk.lyapunov_spectrum(lk.classical.lorenz(), n_steps=500)
    rate = ds.log_growth.sum("interval") / (500 * 0.01)
    np.testing.assert_allclose(ds.lyapunov_exponent, rate, rtol=1e-13)


@pytest.mark.parametrize(
    "convert", [np.asarray, torch.from_numpy, lambda a: a.astype(np.float32), lambda a: a.tolist()]
)
def test_inputs_of_any_kind(convert):
    inputs = np.round(_inputs(2, 15, 3), 2)
    expected = lk.lyapunov_spectrum(GRU, inputs).lyapunov_exponent
    np.testing.assert_allclose(lk.lyapunov_spectrum(GRU, convert(inputs)).lyapunov_exponent, expected, atol=1e-6)


def test_data_array_in_any_order_of_dimensions():
    array = xr.DataArray(_inputs(2, 15, 3), dims=("trajectory", "time", "feature"))
    expected = lk.lyapunov_spectrum(GRU, array.values)
    turned = lk.lyapunov_spectrum(GRU, array.transpose("feature", "trajectory", "time"))
    np.testing.assert_array_equal(turned.lyapunov_exponent, expected.lyapunov_exponent)
    assert turned.attrs["inputs_sha256"] == expected.attrs["inputs_sha256"]


def test_each_trajectory_has_its_own_inputs_and_start():
    inputs, start = _inputs(3, 30, 3), _inputs(3, 4)
    together = lk.lyapunov_spectrum(GRU, inputs, initial_state=start)
    for row in range(3):
        alone = lk.lyapunov_spectrum(GRU, inputs[row : row + 1], initial_state=start[row])
        np.testing.assert_allclose(together.lyapunov_exponent[row], alone.lyapunov_exponent[0], atol=1e-12)
    assert float(together.lyapunov_exponent.std("trajectory").max()) > 1e-4


def test_one_start_serves_all_trajectories():
    ds = lk.lyapunov_spectrum(HENON, initial_state=[0.1, 0.1], n_steps=50, n_trajectories=3)
    np.testing.assert_array_equal(ds.lyapunov_exponent[0], ds.lyapunov_exponent[2])


def test_seed_decides():
    spectra = [lk.lyapunov_spectrum(HENON, n_steps=50, seed=seed).lyapunov_exponent.values for seed in (1, 1, 2)]
    np.testing.assert_array_equal(spectra[0], spectra[1])
    assert not np.array_equal(spectra[0], spectra[2])


def test_progress_bar_is_shown_on_request(capsys):
    lk.lyapunov_spectrum(HENON, n_steps=50)
    assert capsys.readouterr().err == ""
    lk.lyapunov_spectrum(HENON, n_steps=50, progress=True)
    assert "50" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("system", "arguments", "message"),
    [
        (GRU, {}, r"needs inputs \(trajectory, time, 3\)"),
        (GRU, {"inputs": _inputs(2, 9, 5)}, "inputs have 5 features, GRU .* takes 3"),
        (GRU, {"inputs": _inputs(9, 3)}, r"shape \(9, 3\), expected \(trajectory, time, feature\); .* inputs\[None\]"),
        (GRU, {"inputs": _inputs(1, 2, 9, 3)}, r"shape \(1, 2, 9, 3\), expected"),
        (GRU, {"inputs": _inputs(2, 0, 3)}, "inputs are empty"),
        (GRU, {"inputs": _inputs(0, 9, 3)}, "inputs are empty"),
        (GRU, {"inputs": np.full((1, 9, 3), "a")}, "expected numbers"),
        (
            GRU,
            {"inputs": np.where(np.arange(54).reshape(2, 9, 3) == 40, np.nan, 1.0)},
            "trajectory 1, time 4, feature 1",
        ),
        (GRU, {"inputs": xr.DataArray(_inputs(2, 9, 3), dims=("b", "t", "f"))}, "dimensions"),
        (
            GRU,
            {"inputs": _inputs(2, 9, 3), "n_transient": 9},
            "n_transient=9 leaves no step to count: the inputs have 9",
        ),
        (GRU, {"inputs": _inputs(2, 9, 3), "n_transient": -1}, "must not be negative"),
        (GRU, {"inputs": _inputs(2, 9, 3), "n_transient": 4, "n_steps": 6}, "need 10 inputs, only 9 are given"),
        (GRU, {"inputs": _inputs(2, 9, 3), "initial_state": np.zeros((3, 4))}, "inputs 2, initial_state 3"),
        (GRU, {"inputs": _inputs(2, 9, 3), "initial_state": np.zeros(5)}, r"shape \(5,\), expected \(4,\) or \(2, 4\)"),
        (GRU, {"inputs": _inputs(2, 9, 3), "initial_state": np.full(4, np.inf)}, "not finite"),
        (GRU, {"inputs": _inputs(2, 9, 3), "n_exponents": 5}, "between 1 and the state size 4, got 5"),
        (GRU, {"inputs": _inputs(2, 9, 3), "n_exponents": 0}, "between 1 and the state size 4, got 0"),
        (GRU, {"inputs": _inputs(2, 9, 3), "dtype": "int32"}, "dtype must be 'float64' or 'float32', got 'int32'"),
        (GRU, {"inputs": _inputs(2, 9, 3), "reorthonormalize": 0}, "reorthonormalize must be"),
        (GRU, {"inputs": _inputs(2, 9, 3), "reorthonormalize": "often"}, "reorthonormalize must be"),
        (GRU, {"inputs": _inputs(2, 9, 3), "accuracy": 0.0}, "accuracy must be between"),
        (GRU, {"inputs": _inputs(2, 9, 3), "accuracy": 2.0}, "accuracy must be between"),
        (GRU, {"inputs": _inputs(2, 9, 3), "on_divergence": "ignore"}, "on_divergence must be"),
        (HENON, {}, "n_steps is needed"),
        (HENON, {"n_steps": 0}, "n_steps must be at least 1"),
        (HENON, {"n_steps": 5, "n_trajectories": 0}, "number of trajectories must be at least 1"),
        (HENON, {"n_steps": 5, "inputs": _inputs(1, 5, 1)}, "autonomous and takes no inputs"),
    ],
)
def test_bad_arguments(system, arguments, message):
    with pytest.raises(ValueError, match=message):
        lk.lyapunov_spectrum(system, **arguments)


def test_something_that_is_no_system():
    with pytest.raises(TypeError, match="wrap a function in Map or Flow"):
        lk.lyapunov_spectrum(lambda state: state, n_steps=3)


@pytest.mark.parametrize("function", [lk.lyapunov_spectrum, lk.covariant_vectors])
def test_numbers_of_steps(function):
    henon = lk.classical.henon()
    assert function(henon, n_steps=2e1, n_trajectories=np.float64(2.0)).sizes["trajectory"] == 2
    for options in ({"n_steps": "20"}, {"n_steps": 20.5}, {"n_steps": True}, {"n_steps": 20, "seed": 1.5}):
        name, value = list(options.items())[-1]
        with pytest.raises(ValueError, match=f"{name} must be a whole number, got {value!r}"):
            function(henon, **options)


def test_a_system_without_an_attractor_says_so():
    with pytest.raises(ValueError, match=r"that Hénon map \(a=9, b=0.3\) chooses for itself left the finite numbers"):
        lk.lyapunov_spectrum(lk.classical.henon(9), n_steps=20)
