"""Pictures and tables show the numbers of the dataset."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import lyapkit as lk
from lyapkit.plots import save_figure
from lyapkit.plots.exponents import _spread


@pytest.fixture(scope="module")
def few():
    return lk.lyapunov_spectrum(lk.classical.henon(), n_steps=300, n_trajectories=4)


@pytest.fixture(scope="module")
def many():
    return lk.lyapunov_spectrum(lk.from_module(nn.LSTM(2, 15)), np.random.default_rng(0).normal(size=(3, 60, 2)))


def _line(ax, label):
    return next(line for line in ax.get_lines() if label in str(line.get_label()))


def _legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.fixture(scope="module")
def bounded():
    """A tanh RNN whose units one large input saturates: it hides directions of two trajectories of three."""
    torch.manual_seed(0)
    inputs = np.random.default_rng(0).normal(size=(3, 60, 1))
    inputs[:2, 30] = 2000.0
    with pytest.warns(lk.LostDirectionWarning, match="upper bounds"):
        return lk.lyapunov_spectrum(lk.from_module(nn.RNN(1, 6, dtype=torch.float64)), inputs)


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
    assert "6 exponents of −∞ not shown" in _legend(ax)
    assert ax.get_xlim()[1] > 30  # all ranks have a place, drawn or not


def test_a_mean_of_minus_infinity_is_no_line_of_the_other_trajectories(many):
    changed = many.copy(deep=True)
    changed["lyapunov_exponent"][:2, -1] = -np.inf
    changed["log_growth"][:2, :, -1] = -np.inf
    assert _legend(lk.plot_convergence(changed, n_exponents=3))[-1] == "λ₃₀ = −∞ in 2 of 3"


def test_upper_bounds_are_open_markers(bounded):
    is_bound = bounded.is_bound.any("trajectory").values
    assert 0 < is_bound.sum() < 6
    marks = _line(lk.plot_spectrum(bounded), "upper bound")
    np.testing.assert_array_equal(marks.get_xdata(), bounded.exponent[is_bound])
    np.testing.assert_array_equal(marks.get_ydata(), lk.ensemble_mean(bounded).lyapunov_exponent[is_bound])
    assert marks.get_markerfacecolor() == "white"
    older = bounded.drop_vars("is_bound")
    assert "upper bound" not in _legend(lk.plot_spectrum(older))
    assert "upper bound" not in _legend(lk.plot_spectrum(bounded.isel(trajectory=[2])))


def test_upper_bounds_on_a_curve(many):
    ds = many.copy(deep=True)
    ds["is_bound"][1, [3, 28, 29]] = True
    ds["lyapunov_exponent"][0, 29] = -np.inf  # so is the mean
    np.testing.assert_array_equal(_line(lk.plot_spectrum(ds), "upper bound").get_xdata(), [4, 29])


def test_marks_on_long_curves_keep_apart():
    chosen = np.zeros(400, dtype=bool)
    chosen[[50, 201]] = chosen[250:] = True
    marked = np.flatnonzero(_spread(chosen, at_most=80))
    np.testing.assert_array_equal(marked, [50, 201, *range(250, 400, 5), 399])
    np.testing.assert_array_equal(_spread(chosen, at_most=400), chosen)


def test_upper_bounds_are_dashed_in_convergence(bounded):
    is_bound = bounded.is_bound.any("trajectory").values
    for ds, expected in ((bounded, is_bound), (bounded.drop_vars("is_bound"), [False] * 6)):
        ax = lk.plot_convergence(ds)
        lines = [_line(ax, name) for name in _legend(ax)]
        assert [line.get_linestyle() == "--" for line in lines] == list(expected)
        assert ["(upper bound)" in name for name in _legend(ax)] == list(expected)


def test_convergence(many):
    ax = lk.plot_convergence(many, n_exponents=4)
    assert _legend(ax) == ["λ₁", "λ₁₁", "λ₂₀", "λ₃₀"]
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
    assert "re-orthonormalisations" not in table
    assert f"{few.attrs['n_reorthonormalizations']} re-orthonormalisations" in lk.spectrum_table(few, verbose=True)
    long = lk.spectrum_table(many)
    assert "…" in long
    assert f"{float(many.lyapunov_exponent[:, -1].mean()):.5f}" in long


def _columns(table, rank):
    """Return mean, smallest, largest and memory of an exponent, as printed."""
    row = next(
        line for line in table.splitlines() if line.split()[:1] == [str(rank)] and "exponent" not in line
    ).split()
    return [row[1], row[4], row[5], row[3]]


def test_table_marks_upper_bounds(bounded):
    table = lk.spectrum_table(bounded)
    is_bound = bounded.is_bound.values
    for rank, bound in enumerate(is_bound.any(0), start=1):
        mean, smallest, largest, memory = _columns(table, rank)
        assert all(text.startswith("≤-" if bound else "-") for text in (mean, smallest))
        assert memory.startswith("≤") == bound
        assert largest.startswith("-")  # of the trajectory without bounds
    rows = [line for line in table.splitlines() if len(line.split()) == 6 and line.split()[0].isdigit()]
    assert len({len(line) for line in rows}) == 1
    count = f"{is_bound.sum()} of 18 exponents are upper bounds (≤): rounding hid the direction; float64 or inputs of "
    assert table.splitlines()[-1] == count + "a smaller scale resolve more"
    bounds_only = bounded.isel(trajectory=[0, 1])
    assert _columns(lk.spectrum_table(bounds_only), 6)[2].startswith("≤")
    assert "≤" not in lk.spectrum_table(bounded.isel(trajectory=[2]))
    assert "≤" not in lk.spectrum_table(bounded.drop_vars("is_bound"))


def test_what_is_minus_infinity_is_no_bound(bounded):
    ds = bounded.copy(deep=True)
    ds["lyapunov_exponent"][2, 5] = -np.inf
    table = lk.spectrum_table(ds)
    assert _columns(table, 6) == ["−inf", "−inf", f"≤{float(ds.lyapunov_exponent[:2, 5].max()):.5f}", "0"]
    assert "\n1 of 18 exponents belongs to a direction that was mapped to zero exactly: −inf\n" in table
    assert "-inf" not in table


def test_dimension_and_entropy_rate_of_upper_bounds(few):
    ds = few.copy(deep=True)
    ds["is_bound"][1, 1] = True
    assert f"Kaplan–Yorke dimension ≤{float(lk.kaplan_yorke_dimension(ds).mean()):.4g}, entropy rate 0" in (
        lk.spectrum_table(ds)
    )
    ds["is_bound"][1, 0] = True
    assert f"entropy rate ≤{float(lk.entropy_rate(ds).mean()):.4g} nats" in lk.spectrum_table(ds)


def test_table_says_what_its_means_leave_out():
    with pytest.warns(lk.DivergenceWarning):
        ds = lk.lyapunov_spectrum(lk.classical.henon(), initial_state=[[0.1, 0.1], [9.0, 9.0], [0, 0]], n_steps=100)
    ds["lyapunov_exponent"][2, 1] = np.nan
    table = lk.spectrum_table(ds)
    assert "1 of 3 trajectories diverged and is left out" in table
    assert "the mean of exponent 2 leaves out 1 other of 3 trajectories, whose exponents are not known (NaN)" in table
    nothing = lk.spectrum_table(ds.isel(trajectory=[1]))
    assert _columns(nothing, 1) == ["n/a"] * 4
    assert "nan" not in nothing.lower()


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


def _of_learning(analysis, **options):
    return getattr(lk, analysis)(*_learning_problem(), **options)


PICTURES = {
    "plot_spectrum": lambda few: few,
    "plot_convergence": lambda few: few,
    "plot_gradient_norms": lambda few: _of_learning("gradient_norms"),
    "plot_hessian_eigenvalues": lambda few: _of_learning("hessian_eigenvalues", k=3),
    "plot_modulation": lambda few: _of_learning("learning_rate_modulation", k=2, learning_rate=0.1),
    "plot_hessian_density": lambda few: _of_learning("hessian_density", n_steps=10, n_vectors=3),
    "plot_comparison": lambda few: lk.compare({"a": few, "b": few}),
    "plot_power_spectrum": lambda few: lk.power_spectrum(lk.task("add20"), n_samples=20),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_take_words_of_matplotlib_and_refuse_other_datasets(few, name):
    plot, ds = getattr(lk, name), PICTURES[name](few)
    ax = plt.subplots()[1]
    assert plot(ds, ax, label="mine", color="#123456", lw=3.5) is ax
    lines = [line for line in ax.lines if line.get_color() == "#123456"]
    assert any(line.get_linewidth() == 3.5 for line in lines)
    labels = ax.get_legend_handles_labels()[1]
    assert any(label.startswith("mine") for label in labels)
    with pytest.raises(ValueError, match=rf"{name} got a dataset of nothing_known, expected what lyapkit\."):
        plot(xr.Dataset({"nothing_known": 1.0}))
    with pytest.raises(AttributeError, match="no_such_word"):
        plot(ds, no_such_word=1)
