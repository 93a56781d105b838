"""The analysis of learning-rate modulation and its figure, on a few small networks."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from analyses import modulation as analysis
from figures import modulation as figure
from lyapkit.sweeps import join_cells, run_cells


@pytest.fixture(scope="module")
def ds(tmp_path_factory):
    cells = [
        {"frequency": frequency, "network": network, "scale": "tiny", "dataset": "digits"}
        for network in range(2)
        for frequency in (0.0, 0.8)
    ]
    paths = run_cells(analysis.compute, cells, tmp_path_factory.mktemp("parts"), n_workers=1, progress=False)
    return join_cells(paths, analysis.DIMS).assign_attrs(scale="quick", n_samples=50)


def test_parts_and_shares(ds):
    np.testing.assert_allclose(ds.curvature_part + ds.ggn_part, ds.modulation, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(ds.modulation.sum("time"), ds.directional_curvature, rtol=1e-10)
    np.testing.assert_allclose(figure.shares(ds, "modulation").sum("time"), 1)
    assert (ds.time_taken > 0).all()


def test_panels(ds):
    drawn = figure.make(ds)
    axes = np.array(drawn.axes).reshape(2, 4)
    for row, frequency in zip(axes, (0.0, 0.8), strict=True):
        for ax, name in ((row[0], "modulation"), (row[2], "alignment")):
            curve = figure.shares(ds, name).sel(frequency=frequency).isel(network=0)
            np.testing.assert_allclose(ax.lines[-2].get_ydata(), curve)
    assert axes[1, 1].lines[-1].get_xdata()[0] == pytest.approx(1.6)
    assert axes[1, 3].lines[-1].get_xdata()[0] == pytest.approx(0.8)
    plt.close(drawn)


def test_spectrum_finds_a_frequency():
    time = np.arange(300)
    frequency, power = figure.spectrum(0.01 * time**2 + np.cos(0.7 * time))
    assert frequency[power.argmax()] == pytest.approx(0.7, abs=0.02)


def test_numbers_and_other_data(ds):
    assert "| 0.8000 |" in figure.numbers(ds)
    with pytest.raises(SystemExit, match=r"not of analyses/modulation\.py"):
        figure.make(xr.Dataset())
