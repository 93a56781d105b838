"""The analysis and the figure of Eq. 13, on a grid small enough for a test."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr

import lyapkit as lk
from analyses import eq13 as analysis
from figures import eq13 as figure
from figures.eq13_run import LABELS, LINEAR, slope
from lyapkit.sweeps import join_cells, run_cells

COUPLINGS = [1e-4, 1e-3, 1e-2]


def _cell(model, inputs, radius, network, couplings):
    values = [model, inputs, 8, radius, network, "digits", couplings]
    return dict(zip([*analysis.DIMS, "dataset", "couplings"], values, strict=True))


@pytest.fixture(scope="module")
def ds(tmp_path_factory):
    cells = [
        _cell(model, "digit", radius, network, COUPLINGS)
        for model in analysis.MODELS
        for radius in ((0.9, 0.98, 1.02) if model in ("identity", "type A") else (0.98,))
        for network in range(2)
    ] + [_cell("identity", "digits in a row", 0.98, network, [0.01, 0.1]) for network in range(2)]
    cells += [
        _cell(model, analysis.UNCOUPLED, 0.98, network, [0.0])
        for model in (*analysis.LINEAR, analysis.NOT_NORMAL)
        for network in range(2)
    ]
    paths = run_cells(analysis.compute, cells, tmp_path_factory.mktemp("parts"), n_workers=1, progress=False)
    joined = join_cells(paths, analysis.DIMS)
    joined["predicted_exponent"] = joined["predicted_exponent"].max(["inputs", "coupling"])
    return joined.assign_attrs(scale="quick", title="a test")


@pytest.fixture
def axes(ds):
    drawn = figure.make(ds)
    yield drawn.axes
    plt.close(drawn)


@pytest.fixture
def supplement(ds):
    drawn = figure.make_supplement(ds)
    yield drawn.axes
    plt.close(drawn)


def test_panels(axes, supplement):
    assert (len(axes), len(supplement)) == (3, 6)
    titles = [ax.get_title(loc="left") for ax in (*axes, *supplement)]
    assert [title[5] for title in titles] == list("ABCABCDEF")


def _line(ax, label):
    return next(line for line in ax.get_lines() if label in str(line.get_label()))


@pytest.mark.parametrize("model", ["heterogeneous", "type B"])
def test_a_cell_is_what_validation_says(ds, model):
    sequences, _ = analysis.driving("digit", "digits", 1)
    torch.manual_seed(1)
    residual = analysis.residual(model, 8, 0.98, 1)
    kind = "B" if model == "type B" else "linear"
    wcrnn = lk.WCRNN(1, 8, 10, residual, 1e-2, kind, dtype=torch.float64)
    expected = lk.validate_weak_coupling(wcrnn, sequences)
    part = ds.sel(model=model, inputs="digit", radius=0.98, network=1, coupling=1e-2).isel(hidden_size=0)
    np.testing.assert_allclose(part.lyapunov_exponent, expected.lyapunov_exponent.mean("trajectory"), rtol=1e-6)
    np.testing.assert_allclose(part.predicted_exponent, expected.predicted_exponent, rtol=1e-13)
    np.testing.assert_allclose(part.largest_deviation, expected.largest_deviation, rtol=1e-12)
    left = np.abs(expected.lyapunov_exponent - expected.averaged_exponent).max("exponent")
    np.testing.assert_allclose(part.averaged_remainder, left, rtol=1e-9, atol=1e-15)
    assert float(part.n_steps) == sequences.shape[1] == 64


def test_long_runs_last_sixty_coupling_times_after_as_many(ds):
    long = ds.sel(inputs="digits in a row", model="identity", radius=0.98).isel(hidden_size=0, network=0)
    np.testing.assert_allclose(long.n_steps.dropna("coupling"), [6000, 600])
    assert long.largest_deviation.sel(coupling=[1e-4, 1e-3]).isnull().all()
    assert long.fixed_time_remainder.isnull().all()


def test_driving_digits_in_a_row():
    row, _ = analysis.driving("digits in a row", "digits", 3, 150)
    assert row.shape == (1, 150, 1)
    first, _ = analysis.driving("digit", "digits", 3)
    other, _ = analysis.driving("digit", "digits", 4)
    assert first.shape == other.shape == (2, 64, 1)
    assert np.abs(first - other).max() > 0.5


def test_slopes_of_power_laws():
    couplings, exponents = np.array([1e-4, 1e-3, 1e-2]), np.array([0.9, 1.0, 1.1])
    values = xr.DataArray(
        np.stack([couplings**p for p in exponents])[:, :, None],
        {"network": range(3), "coupling": couplings},
        ("network", "coupling", "trajectory"),
    )
    mean, error = slope(xr.Dataset({"x": values}), "x", couplings)
    assert mean == pytest.approx(1.0, abs=1e-12)
    assert error == pytest.approx(4.302653 * 0.1 / np.sqrt(3), rel=1e-5)


def test_deviation_panel(ds, axes):
    for model in LINEAR:
        drawn = _line(axes[0], LABELS.get(model, model)).get_ydata()
        at = ds.largest_deviation.sel(model=model, inputs="digit", radius=0.98, coupling=COUPLINGS).isel(hidden_size=0)
        np.testing.assert_allclose(drawn, at.max("trajectory").mean("network"))
    assert "slope" in str(_line(axes[0], "αT = 60").get_label())


def test_remainder_panel(ds, supplement):
    at = ds.sel(model="identity", inputs="digit", radius=0.98, coupling=COUPLINGS).isel(hidden_size=0)
    for label, name in (("short time", "fixed_time"), ("long", "long_time"), ("averaged", "averaged")):
        expected = at[f"{name}_remainder"].max("trajectory").mean("network")
        np.testing.assert_allclose(_line(supplement[0], label).get_ydata(), expected)


def test_spectrum_panel_shows_measured_over_predicted(ds, supplement):
    at = ds.sel(model="heterogeneous", inputs="digit", radius=0.98, network=0, coupling=1e-2).isel(hidden_size=0)
    line = _line(supplement[1], "0.01")
    np.testing.assert_allclose(line.get_xdata(), at.predicted_exponent)
    np.testing.assert_allclose(line.get_ydata(), at.lyapunov_exponent)


def test_convergence_panel_shows_the_residual_that_is_not_normal(ds, supplement):
    at = ds.running_deviation.sel(model=analysis.NOT_NORMAL, inputs=analysis.UNCOUPLED, radius=0.98, coupling=0.0)
    line = _line(supplement[3], analysis.NOT_NORMAL)
    np.testing.assert_allclose(line.get_ydata(), at.isel(hidden_size=0).mean("network"), rtol=1e-6)
    assert float(line.get_ydata()[0]) > 1e-4


def test_panel_of_where_weak_coupling_ends(ds, axes):
    at = ds.largest_deviation.sel(model="type A", inputs="digit", radius=0.9, coupling=COUPLINGS).isel(hidden_size=0)
    expected = at.max("trajectory").mean("network") / -np.log(0.9)
    assert any(
        len(line.get_ydata()) == 3 and np.allclose(line.get_ydata(), expected, rtol=1e-9)
        for line in axes[2].get_lines()
    )


def test_numbers(ds):
    text = figure.numbers(ds)
    at = ds.sel(model="identity", inputs="digit", radius=0.98).isel(hidden_size=0)
    slopes = [
        np.diff(np.log(at.fixed_time_remainder.max("trajectory").sel(network=n, coupling=[1e-4, 1e-3])))[0] / np.log(10)
        for n in range(2)
    ]
    assert f"identity, r = 0.98: remainder ∝ α^({np.mean(slopes):.3f} ±" in text
    assert "74 cells (144 trajectories), 0 violations" in text
    (deviation,) = re.findall(r"α = 0: largest deviation of any normal residual (\S+)", text)
    assert float(deviation) < 1e-13
    assert "trajectories that left the finite numbers: 0" in text
    broken = ds.copy(deep=True)
    place = {"model": "identity", "inputs": "digit", "radius": 0.98, "network": 0, "coupling": 1e-2, "trajectory": 1}
    broken["largest_exponent"].loc[place] = 9.0
    assert "1 violations" in figure.numbers(broken)


def test_other_data_are_refused():
    with pytest.raises(SystemExit, match="not of analyses/eq13"):
        figure.make(xr.Dataset(attrs={"title": "something else"}))
