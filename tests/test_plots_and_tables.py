"""Pictures and tables show the numbers of the dataset."""

import numpy as np
import pytest
from torch import nn

import lyapkit as lk
from lyapkit.plots import save_figure


@pytest.fixture(scope="module")
def few():
    return lk.lyapunov_spectrum(lk.classical.henon(), n_steps=300, n_trajectories=4)


@pytest.fixture(scope="module")
def many():
    return lk.lyapunov_spectrum(lk.from_module(nn.LSTM(2, 15)), np.random.default_rng(0).normal(size=(3, 60, 2)))


def _line(ax, label):
    return next(line for line in ax.get_lines() if label in str(line.get_label()))


def test_spectrum_of_many_exponents(many):
    ax = lk.plot_spectrum(many)
    mean = many.lyapunov_exponent.mean("trajectory")
    np.testing.assert_allclose(_line(ax, "mean of 3").get_ydata(), mean)
    np.testing.assert_array_equal(_line(ax, "mean of 3").get_xdata(), np.arange(1, 31))
    np.testing.assert_allclose(_line(ax, "trajectories").get_ydata(), many.lyapunov_exponent[0])
    assert "nats per step" in ax.get_ylabel()
    assert ax.get_title(loc="left") == many.attrs["system"]
    assert any(np.allclose(line.get_ydata(), 0.0) for line in ax.get_lines())  # the zero line


def test_spectrum_of_few_exponents_has_error_bars(few):
    ax = lk.plot_spectrum(few)
    bars = ax.containers[0]
    points, _, (segments,) = bars
    np.testing.assert_allclose(points.get_ydata(), few.lyapunov_exponent.mean("trajectory"))
    extent = np.array([segment[:, 1] for segment in segments.get_segments()])
    error = few.lyapunov_exponent.std("trajectory", ddof=1) / 2
    np.testing.assert_allclose(np.diff(extent)[:, 0], 2 * error, rtol=1e-10)


def test_dead_directions_are_counted_not_drawn(many):
    changed = many.copy(deep=True)
    changed["lyapunov_exponent"][:, -2:] = -np.inf
    ax = lk.plot_spectrum(changed)
    assert "6 exponents of −∞ not shown" in [text.get_text() for text in ax.texts]


def test_convergence(many):
    ax = lk.plot_convergence(many, n_exponents=4)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["λ₁", "λ₁₁", "λ₂₀", "λ₃₀"]
    running = lk.running_exponents(many).mean("trajectory")
    np.testing.assert_allclose(_line(ax, "λ₃₀").get_ydata(), running[:, -1])
    np.testing.assert_allclose(_line(ax, "λ₃₀").get_xdata(), many.end_time)
    assert ax.get_xlabel() == "time (steps)"


def test_weak_coupling():
    model = lk.WCRNN(2, 9, 3, lk.residuals.heterogeneous(9, 0.9, 0.05, 0), 0.02)
    ds = lk.validate_weak_coupling(model, np.random.default_rng(0).normal(size=(3, 60, 2)))
    ax = lk.plot_weak_coupling(ds)
    np.testing.assert_allclose(_line(ax, "Eq. 13").get_ydata(), np.sort(np.log(model.residual.values.numpy()))[::-1])
    np.testing.assert_allclose(_line(ax, "averaged").get_ydata(), ds.averaged_exponent.mean("trajectory"))
    points = ax.containers[0][0]
    np.testing.assert_allclose(points.get_ydata(), ds.lyapunov_exponent.mean("trajectory"))
    band = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    expected = [ds.certificate_lower.mean(), ds.certificate_upper.mean()]
    np.testing.assert_allclose([band.y0, band.y1], expected)


def test_axes_can_be_given(few):
    ax = lk.plot_spectrum(few)
    assert lk.plot_convergence(few, ax=ax) is ax


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_saved_pictures_are_reproducible(few, tmp_path, suffix):
    paths = [save_figure(lk.plot_spectrum(few), tmp_path / f"{name}{suffix}") for name in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].stat().st_size > 1000


def test_unknown_picture_type(few, tmp_path):
    with pytest.raises(ValueError, match=r"unknown type '\.gif', expected \.png, \.pdf or \.svg"):
        save_figure(lk.plot_spectrum(few), tmp_path / "a.gif")


def test_diverged_trajectories_are_left_out_of_pictures_and_tables(tmp_path):
    with pytest.warns(lk.DivergenceWarning):
        ds = lk.lyapunov_spectrum(lk.classical.henon(), initial_state=[[0.1, 0.1], [9.0, 9.0]], n_steps=100)
    assert "1 of 2 trajectories diverged" in lk.spectrum_table(ds)
    for draw in (lk.plot_spectrum, lk.plot_convergence):
        save_figure(draw(ds), tmp_path / "a.png")


def test_table(few, many):
    table = lk.spectrum_table(few)
    assert f"{float(few.lyapunov_exponent[:, 0].mean()):.5f}" in table
    assert "nats/step" in table
    assert f"{few.attrs['n_reorthonormalizations']} re-orthonormalisations" in table
    long = lk.spectrum_table(many)
    assert "…" in long
    assert f"{float(many.lyapunov_exponent[:, -1].mean()):.5f}" in long
