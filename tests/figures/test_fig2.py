"""The analysis before training and Figure 2, on a few small networks."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from torch.nn.functional import cross_entropy

import lyapkit as lk
from analyses import before_training as analysis
from figures import fig2 as figure
from lyapkit.sweeps import join_cells, run_cells


@pytest.fixture(scope="module")
def ds(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setitem(analysis.SCALES, "quick", (12, 15, 5))
    cells = analysis.grid("quick", "digits", False)
    paths = run_cells(analysis.compute, cells, tmp_path_factory.mktemp("parts"), n_workers=1, progress=False)
    patch.undo()
    return join_cells(paths, analysis.DIMS).assign_attrs(scale="quick", coupling=0.01)


@pytest.fixture
def axes(ds):
    drawn = figure.make(ds)
    yield drawn.axes
    plt.close(drawn)


def test_one_cell_by_hand(ds):
    """Against calls of the library on a network that is built here."""
    torch.manual_seed(1)
    model = lk.WCRNN(1, 12, 10, lk.residuals.scaled_identity(12, 0.98), 0.01, dtype=torch.float64)
    inputs, labels = analysis.samples("digits", 15)
    one = ds.sel(radius=0.98, network=1)
    exponents = lk.lyapunov_spectrum(model, inputs[:5], reorthonormalize=2).lyapunov_exponent.mean("trajectory")
    np.testing.assert_allclose(one.lyapunov_exponent, exponents, atol=1e-12)
    np.testing.assert_allclose(one.running_exponent.isel(end_time=-1), one.lyapunov_exponent, atol=1e-6)
    norms = lk.gradient_norms(model, inputs, labels, cross_entropy)
    np.testing.assert_allclose(one.decay_rate, norms.decay_rate.mean(), rtol=1e-12)
    leading = lk.hessian_eigenvalues(model, inputs, labels, cross_entropy, 10, tolerance=1e-6)
    np.testing.assert_allclose(one.hessian_eigenvalue[0], leading.hessian_eigenvalue[0], rtol=1e-3)
    assert one.hessian_time > 0


def test_jacobian_eigenvalues(ds):
    """r + α eig(diag(σ') W): near r, within α ‖W‖."""
    parts = ds.jacobian_eigenvalue.sel(radius=1.02, network=0)
    eigenvalues = parts.sel(part="real").values + 1j * parts.sel(part="imaginary").values
    assert 0 < np.abs(eigenvalues - 1.02).max() < 0.02
    assert np.abs(eigenvalues.imag).max() > 0


def test_grid():
    cells = analysis.grid("paper", "mnist", False)
    propagation = [cell for cell in cells if cell["quantity"] == "propagation"]
    assert len(propagation) == 45
    assert len(cells) == 54
    assert len(analysis.grid("paper", "mnist", True)) == 90
    assert len({json.dumps(cell) for cell in cells}) == 54


def test_convergence_panel(ds, axes):
    means = {line.get_label(): line for line in axes[1].lines if line.get_label().startswith("r =")}
    np.testing.assert_allclose(means["r = 1.02"].get_xdata(), ds.end_time)
    expected = ds.running_exponent.sel(radius=1.02).mean(["network", "exponent"])
    np.testing.assert_allclose(means["r = 1.02"].get_ydata(), expected, rtol=1e-6)
    assert means["r = 1.02"].get_ydata()[-1] == pytest.approx(np.log(1.02), abs=1e-3)
    dashed = sorted(
        {float(line.get_ydata()[0]) for line in axes[1].lines if line.get_linestyle() == "--" and len(line.get_ydata())}
    )
    np.testing.assert_allclose(dashed, np.log([0.98, 1.0, 1.02]))


def test_hessian_panel(ds, axes):
    lines = {line.get_label(): line.get_ydata() for line in axes[2].lines}
    for radius in figure.REGIMES:
        expected = np.abs(ds.hessian_eigenvalue.sel(radius=radius)).mean("network")
        np.testing.assert_allclose(lines[f"r = {radius:g}"], expected)


def test_gradient_panel(ds, axes):
    lines = {line.get_label(): line.get_ydata() for line in axes[3].lines}
    for radius in figure.REGIMES:
        values = np.log(lines[f"r = {radius:g}"])
        assert values[-1] == 0
        rate = -(values[-1] - values[0]) / (ds.sizes["time"] - 1)
        assert -rate == pytest.approx(-np.log(radius), abs=2e-3)  # falls towards the past where r < 1


def test_numbers(ds):
    text = figure.numbers(ds)
    row = next(line for line in text.splitlines() if line.startswith("| 0.98 |"))
    assert f"{float(ds.decay_rate.sel(radius=0.98).mean()):+.5f}" in row
    grows = (np.abs(ds.hessian_eigenvalue[..., 0]).sortby("radius").diff("radius") > 0).all()
    assert ("does NOT grow" in text) != bool(grows)
    assert f"{len(ds.radius) * len(ds.network)} cells" in text


def test_other_data():
    with pytest.raises(SystemExit, match=r"not of analyses/before_training\.py"):
        figure.make(xr.Dataset(attrs={"title": "another"}))


def test_main(ds, tmp_path, monkeypatch, capsys):
    lk.save(ds, tmp_path / "b.nc")
    monkeypatch.setattr("sys.argv", ["fig2", "--data", str(tmp_path / "b.nc"), "--output", str(tmp_path / "out")])
    figure.main()
    assert (tmp_path / "out" / "fig2.png").stat().st_size > 10_000
    assert "scale: quick" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["fig2", "--data", str(tmp_path / "missing.nc")])
    with pytest.raises(
        SystemExit, match=r"before_training.nc is not computed yet: python analyses/before_training\.py"
    ):
        figure.main()
