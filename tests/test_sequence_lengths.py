"""Inputs: sequences of different lengths, constant and no input, tokens, and what is doubtful or wrong about them."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import lyapkit as lk
from lyapkit.arguments import as_sequences

LENGTHS = [300, 40, 40, 3, 9]


def _padded(size=2):
    values = np.random.default_rng(0).standard_normal((len(LENGTHS), 300, size))
    for sequence, length in zip(values, LENGTHS, strict=True):
        sequence[length:] = np.nan
    return values


@pytest.mark.parametrize("frame", ["identity", "random"])
@pytest.mark.parametrize("as_list", [False, True])
def test_each_trajectory_is_as_if_computed_alone(frame, as_list):
    system, values = lk.from_module(nn.LSTM(2, 3)), _padded()
    options = {"n_transient": 2, "initial_frame": frame}
    if as_list:
        given = [torch.from_numpy(row[:length]) for row, length in zip(values, LENGTHS, strict=True)]
        ds = lk.lyapunov_spectrum(system, given, **options)
    else:
        ds = lk.lyapunov_spectrum(system, values, lengths=LENGTHS, **options)
    assert ds["n_steps"].values.tolist() == [298, 38, 38, 1, 7]
    assert ds["trajectory"].values.tolist() == [0, 1, 2, 3, 4]
    for index, length in enumerate(LENGTHS):
        alone = lk.lyapunov_spectrum(system, values[index : index + 1, :length], **options)
        n = alone.sizes["interval"]
        for name in ("lyapunov_exponent", "standard_error", "direction", "is_bound", "log_growth", "end_time"):
            here, expected = ds[name].isel(trajectory=index), alone[name].values
            if "interval" in ds[name].dims:
                assert np.isnan(here.values[n:]).all()
                here = here.isel(interval=slice(n))
            np.testing.assert_allclose(
                here.values, np.atleast_2d(expected)[0] if name == "end_time" else expected[0], atol=1e-12
            )


def test_results_of_different_lengths_go_on(tmp_path):
    ds = lk.lyapunov_spectrum(nn.GRU(2, 3), _padded(), lengths=LENGTHS)
    assert "5 trajectories of 3 to 300 steps" in lk.spectrum_table(ds)
    xr.testing.assert_identical(lk.load(lk.save(ds, tmp_path / "ragged.nc")), ds)
    running = lk.running_exponents(ds).isel(trajectory=1)
    last = int(np.isfinite(ds["end_time"].values[1]).sum()) - 1
    np.testing.assert_allclose(running.values[last], ds["lyapunov_exponent"].values[1], atol=1e-12)
    lk.plot_convergence(ds)
    with pytest.raises(ValueError, match="differ in length"):
        lk.coarsen(ds, 10)
    coarse = lk.coarsen(ds.isel(trajectory=ds["n_steps"].values == 40), 20)
    assert coarse["duration"].values.tolist() == [20.0, 20.0]


def test_warnings_name_the_trajectory():
    system = lk.Map(lambda s, x: s * s + 0.5 * s + x, 1, input_size=1, initial_state=[0.1])
    inputs = [np.zeros((30, 1)), np.full((12, 1), 9.0)]
    with pytest.warns(lk.DivergenceWarning, match="of trajectory 1: "):
        ds = lk.lyapunov_spectrum(system, inputs)
    assert np.isfinite(ds["divergence_step"].values).tolist() == [False, True]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lengths": [300, 40, 40, 3]}, "4 lengths for inputs of shape"),
        ({"lengths": [300, 0, 40, 3, 9]}, "trajectory 1 has length 0: expected at least 1"),
        ({"lengths": [301, 40, 40, 3, 9]}, "trajectory 0 has length 301, its inputs have 300"),
        ({"lengths": [300, 40, 41, 3, 9]}, "nan at trajectory 2, time 40"),
        ({"lengths": LENGTHS, "n_transient": 3}, "trajectory 3 has length 3: n_transient=3 leaves no step"),
        ({"lengths": LENGTHS, "n_steps": 3}, "not both"),
        ({"lengths": [1.5, 40, 40, 3, 9]}, "whole numbers"),
        ({}, "give the lengths"),
    ],
)
def test_lengths_that_do_not_fit(options, words):
    with pytest.raises(ValueError, match=words):
        lk.lyapunov_spectrum(nn.GRU(2, 3), _padded(), **options)


def test_constant_and_no_input():
    gru = nn.GRU(2, 4)
    for given, value, said in ((None, [0.0, 0.0], "none: zero"), ([0.5, -1.0], [0.5, -1.0], "constant, [0.5, -1.0]")):
        ds = lk.lyapunov_spectrum(gru, given, n_steps=50, n_transient=3)
        expected = lk.lyapunov_spectrum(gru, np.tile(value, (1, 53, 1)), n_transient=3)
        np.testing.assert_array_equal(ds["lyapunov_exponent"].values, expected["lyapunov_exponent"].values)
        assert ds.attrs["inputs"] == said


TOKENS = nn.Sequential(nn.Embedding(7, 2), nn.GRU(2, 3))


@pytest.mark.parametrize(
    ("module", "inputs", "words"),
    [
        (nn.GRU(2, 3), np.zeros(9), r"inputs\[None, :, None\]"),
        (nn.GRU(2, 3), np.zeros(2), "for a constant input give n_steps="),
        (nn.GRU(2, 3), np.zeros((9, 2)), r"for one trajectory use inputs\[None\]"),
        (nn.GRU(2, 3), np.zeros((5, 9)), "embedding in front"),
        (nn.GRU(2, 3), np.zeros((5, 1, 9, 2)), "--rows"),
        (nn.GRU(1, 3), np.zeros((5, 8, 8)), "--pixels"),
        (nn.GRU(2, 3), None, "n_steps= for inputs that are zero"),
        (nn.GRU(2, 3), [np.zeros((4, 2)), np.zeros((4, 3))], "differ in more than their length"),
        (nn.GRU(2, 3), [], "no sequences"),
        (TOKENS, np.array([[0, 1, 7]]), "hold 7, expected tokens, whole numbers from 0 to 6"),
        (TOKENS, np.array([[0, 1, 0.5]]), "hold 0.5, expected tokens"),
        (TOKENS, np.array([0, 1]), r"for one trajectory use inputs\[None\]"),
    ],
)
def test_inputs_that_do_not_fit(module, inputs, words):
    with pytest.raises(ValueError, match=words):
        lk.lyapunov_spectrum(lk.from_module(module), inputs)


def test_doubtful_inputs_are_said():
    rng = np.random.default_rng(0)
    gru = nn.GRU(1, 3)
    with pytest.warns(lk.ReliabilityWarning, match="taken as 40 trajectories of 6 steps; if time comes first"):
        lk.lyapunov_spectrum(gru, rng.standard_normal((40, 6, 1)))
    lk.lyapunov_spectrum(gru, xr.DataArray(rng.standard_normal((40, 6, 1)), dims=("trajectory", "time", "feature")))
    with pytest.warns(lk.ReliabilityWarning, match="whole numbers from 0 to 255 and are taken as they are: raw pixels"):
        lk.lyapunov_spectrum(gru, np.arange(256.0).reshape(1, 256, 1))
    linear = lk.Map(lambda s, x: 0.5 * s + x, 1, input_size=1, initial_state=[0.1])
    with pytest.warns(lk.ReliabilityWarning, match="on the scale on which"):
        lk.lyapunov_spectrum(linear, 200 + rng.standard_normal((1, 20, 1)))


def test_images_become_sequences():
    images = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    np.testing.assert_array_equal(as_sequences(images, "rows"), images)
    np.testing.assert_array_equal(as_sequences(images, "pixels")[1, :, 0], np.arange(12, 24))
    colour = np.arange(2 * 3 * 5 * 6).reshape(2, 3, 5, 6)
    np.testing.assert_array_equal(as_sequences(colour, "pixels")[1, 7], colour[1, :, 1, 1])
    np.testing.assert_array_equal(as_sequences(colour.transpose(0, 2, 3, 1), "rows"), as_sequences(colour, "rows"))
    with pytest.raises(ValueError, match="not clear"):
        as_sequences(np.zeros((2, 3, 5, 3)), "rows")
