"""Pictures and tables show the numbers of the dataset."""

import numpy as np
import pytest
import torch
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
    error = lk.ensemble_mean(few).standard_error
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


def _learning_problem():
    torch.manual_seed(0)
    model = lk.WCRNN(1, 8, 3, lk.residuals.rotation(8, 0.3, 0.95), 0.1)
    return model, torch.randn(6, 40, 1), torch.arange(6) % 3, torch.nn.functional.cross_entropy


def test_plot_gradient_norms():
    ds = lk.gradient_norms(*_learning_problem())
    ax = lk.plot_gradient_norms(ds)
    lines = {line.get_label(): line for line in ax.lines}
    assert len(ax.lines) == 6 + 3
    mean = next(line for label, line in lines.items() if label.startswith("geometric mean"))
    np.testing.assert_allclose(mean.get_ydata(), np.exp(np.log(ds.gradient_norm).mean("sample")))
    predicted = lines["residual alone (Eq. 15)"].get_ydata()
    np.testing.assert_allclose(np.diff(np.log(predicted)), -np.log(0.95), rtol=1e-9)
    assert ax.get_yscale() == "log"
    assert ax.get_xlabel() == "time t (steps)"


def test_plot_hessian_eigenvalues():
    problem = _learning_problem()
    ds = lk.hessian_eigenvalues(*problem, 4)
    drawn = lk.plot_hessian_eigenvalues(ds).containers[0].lines[0]
    np.testing.assert_array_equal(drawn.get_ydata(), ds.hessian_eigenvalue)
    full = lk.ggn_eigenvalues(*problem)
    ax = lk.plot_hessian_eigenvalues(full)
    np.testing.assert_array_equal(ax.containers[0].lines[0].get_ydata(), full.ggn_eigenvalue)
    assert "GGN" in ax.get_ylabel()
    series = lk.over_training(lk.hessian_eigenvalues, {0: problem[0], 7: problem[0]}, *problem[1:], k=2)
    ax = lk.plot_hessian_eigenvalues(series)
    np.testing.assert_array_equal(ax.lines[1].get_xdata(), [0, 7])
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), series.hessian_eigenvalue.sel(eigenvalue=2))


def test_eigenvalues_that_did_not_converge_are_marked():
    ds = lk.hessian_eigenvalues(*_learning_problem(), 4)
    ds["converged"][1] = False
    ax = lk.plot_hessian_eigenvalues(ds)
    marked = next(line for line in ax.lines if line.get_label() == "not converged").get_ydata()
    np.testing.assert_array_equal(np.isfinite(marked), [False, True, False, False])


def test_plot_modulation():
    ds = lk.learning_rate_modulation(*_learning_problem(), k=2, learning_rate=0.1)
    ax = lk.plot_modulation(ds)
    for line, curve in zip(ax.lines, 0.1 * ds.modulation.values, strict=False):
        np.testing.assert_allclose(line.get_ydata(), curve)
    assert f"sum {0.1 * float(ds.directional_curvature[0]):.3g}" in ax.get_legend().get_texts()[0].get_text()


def test_plot_hessian_density():
    ds = lk.hessian_density(*_learning_problem(), n_steps=10, n_vectors=3)
    ax = lk.plot_hessian_density(ds)
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), ds.value)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), ds.density)
    assert ax.get_yscale() == "log"
