"""Functions of datasets: those of others are refused in words, means and trainings are understood."""

import numpy as np
import pytest
import torch
import xarray as xr

import lyapkit as lk
from lyapkit.tables.numbers import number

OF_A_SPECTRUM = (
    lk.table,
    lk.spectrum_table,
    lk.in_words,
    lk.ensemble_mean,
    lk.running_exponents,
    lambda ds: lk.coarsen(ds, 10),
    lambda ds: lk.finite_time_exponents(ds, 10),
    lk.kaplan_yorke_dimension,
    lk.entropy_rate,
    lk.memory_timescale,
    lk.plot_spectrum,
    lk.plot_convergence,
    lk.plot_comparison,
    lk.comparison_table,
    lk.covariant_table,
    lk.plot_covariant_vectors,
    lk.plot_angles,
    lk.plot_angle_histogram,
    lk.plot_directions,
    lk.plot_weak_coupling,
    lk.plot_gradient_norms,
    lk.plot_hessian_eigenvalues,
    lk.plot_hessian_density,
    lk.plot_modulation,
    lk.plot_learning_curves,
    lk.plot_scores,
    lk.plot_sweep,
)


def _henon(n_trajectories=3):
    return lk.lyapunov_spectrum(lk.classical.henon(), n_steps=200, n_trajectories=n_trajectories)


@pytest.fixture(scope="module")
def spectra():
    """Of a training: spectra of a linear map that grows."""
    factors = {0: (0.5, 0.2), 10: (0.9, 0.4), 20: (0.7, 0.3)}

    def system(step):
        matrix = torch.diag(torch.tensor(factors[step], dtype=torch.float64))
        return lk.Map(lambda state: matrix @ state, 2, initial_state=np.zeros(2))

    parts = [lk.lyapunov_spectrum(system(step), n_steps=64).expand_dims(step=[step]) for step in factors]

    return xr.concat(parts, "step", combine_attrs="override"), factors


@pytest.mark.parametrize("function", OF_A_SPECTRUM)
@pytest.mark.parametrize("wrong", ["power", "array", "number"])
def test_other_datasets_are_refused(function, wrong):
    power = lk.power_spectrum(lk.task("digits"), n_samples=5)
    given = {"power": power, "array": power.power, "number": 3.0}[wrong]
    with pytest.raises(ValueError, match=r"got (a dataset of power|DataArray|float).*expected"):
        function(given)


def test_a_mean_is_tabulated_drawn_and_put_into_words():
    ds = _henon()
    mean = lk.ensemble_mean(ds)
    lines = lk.spectrum_table(mean).splitlines()
    assert lines[:2] == ["Hénon map (a=1.4, b=0.3)", "mean of 3 trajectories, 2 exponents"]
    for row in range(2):
        value, error = float(mean.lyapunov_exponent[row]), float(mean.standard_error[row])
        assert lines[5 + row].split()[:3] == [str(row + 1), number(value), number(error)]
        assert lines[5 + row].split()[:3] == lk.spectrum_table(ds).splitlines()[5 + row].split()[:3]
    assert lk.in_words(mean) == lk.in_words(ds)
    drawn, whole = (lk.plot_spectrum(one).containers[0].lines[0].get_ydata() for one in (mean, ds))
    np.testing.assert_array_equal(drawn, whole)
    with pytest.raises(ValueError, match="without a dimension trajectory"):
        lk.ensemble_mean(mean)


def test_spectra_over_a_training(spectra):
    ds, factors = spectra
    table = lk.comparison_table(ds).splitlines()
    assert [line.split()[:2] for line in table[2:]] == [["step", str(step)] for step in factors]
    for line, (largest, _) in zip(table[2:], factors.values(), strict=True):
        assert f"{np.log(largest):.4g}" in line
    drawn = {line.get_label(): line.get_ydata() for line in lk.plot_comparison(ds).get_lines()}
    for step, pair in factors.items():
        np.testing.assert_allclose(drawn[f"step {step}"], np.log(pair), atol=1e-12)
    assert lk.in_words(ds).startswith("Perturbations last longest in step 10 (λ₁ = -0.1054) and shortest in step 0 (")
    for function in (lk.spectrum_table, lk.plot_spectrum, lk.plot_convergence):
        with pytest.raises(
            ValueError, match=r"got 3 checkpoints, .*expected one, ds.sel\(step=20\); .*plot_comparison"
        ):
            function(ds)
    assert lk.spectrum_table(ds.sel(step=10)).splitlines()[5].split()[1] == number(np.log(0.9))


def test_a_sweep_is_no_spectrum():
    ds = lk.sweep(lk.classical.henon, {"a": [1.0, 1.4], "b": [0.2, 0.3]}, n_steps=50)
    for function in (lk.spectrum_table, lk.plot_spectrum):
        for part in (ds, ds.sel(a=1.0, b=0.2)):
            with pytest.raises(ValueError, match=r"got a sweep, expected a spectrum; lyapkit\.table"):
                function(part)
    assert "exponent" in lk.spectrum_table(lk.ensemble_mean(ds).sel(a=1.4, b=0.3))


def test_every_dataset_has_a_table(spectra):
    """That of its kind, with its numbers: `table` finds out which."""
    henon = lk.classical.henon()
    ds = _henon()
    assert lk.table(ds) == lk.spectrum_table(ds)
    assert lk.table(lk.ensemble_mean(ds)) == lk.spectrum_table(lk.ensemble_mean(ds))
    several, _ = spectra
    assert lk.table(several) == lk.comparison_table(several)
    compared = lk.compare({"one": ds, "other": ds.isel(trajectory=[0])})
    assert lk.table(compared) == lk.comparison_table(compared)
    vectors = lk.covariant_vectors(henon, n_steps=100, n_transient=50, n_backward_transient=50)
    assert lk.table(vectors) == lk.covariant_table(vectors)
    swept = lk.sweep(lk.classical.henon, {"a": [1.2, 1.3]}, n_steps=200)
    row = lk.table(swept).splitlines()[5].split()
    expected = swept.lyapunov_exponent.isel(a=1).mean("trajectory").values
    assert row[:3] == ["1.3", *map(number, expected)]
    network = lk.build_network("wcrnn", 1, 4, 10, seed=0)
    trained = lk.train([network], lk.task("digits"), 2, batch_size=4, n_test_samples=20).metrics
    assert lk.table(trained).splitlines()[-1].split()[1] == number(float(trained.test_score[0, -1]))
    problem = network, torch.randn(3, 6, 1), torch.arange(3), torch.nn.functional.cross_entropy
    rates = lk.gradient_norms(*problem)
    assert number(float(rates.decay_rate.mean())) in lk.table(rates)
    for curved in (lk.hessian_eigenvalues(*problem, 2), lk.ggn_eigenvalues(*problem)):
        values = curved[next(name for name in ("hessian_eigenvalue", "ggn_eigenvalue") if name in curved)].values
        rows = [line.split() for line in lk.table(curved).splitlines()[5:]]
        assert [row[1] for row in rows[:2]] == [f"{value:.5g}" for value in values[:2]]
    of_steps = xr.concat([curved, 2 * curved], xr.DataArray([0, 5], dims="step"), combine_attrs="override")
    assert lk.table(of_steps).splitlines()[0] == "step 5, the last"


def test_parts_of_sweeps():
    ds = lk.sweep(lk.classical.henon, {"a": [1.0, 1.4], "b": [0.2, 0.3]}, n_steps=50)
    expected = [number(value) for value in ds.lyapunov_exponent.sel(a=1.4, b=0.3).mean("trajectory").values]
    along = lk.table(ds.sel(b=0.3)).splitlines()
    assert along[0] == "henon, b = 0.3"
    assert along[-1].split()[:3] == ["1.4", *expected]
    assert lk.table(ds.sel(a=1.4, b=0.3)).splitlines()[-1].split()[1:3] == expected
    assert "a = 1.4" in lk.in_words(ds.sel(a=1.4, b=0.3))
    assert lk.plot_sweep(ds.sel(b=0.3)).get_xlabel().startswith("a")


def test_a_swept_parameter_may_be_called_as_a_column_is():
    ds = lk.sweep(lambda dimension: lk.classical.lorenz96(int(dimension)), {"dimension": [5, 6]}, n_steps=40)
    assert lk.table(ds).splitlines()[-1].split()[0] == "6"


def test_bounds_of_sweeps_are_marked():
    def hidden(second):
        matrix = torch.diag(torch.tensor([1.5, 10.0**-second], dtype=torch.float64))
        rotation = torch.linalg.qr(torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=torch.float64))[0]
        return lk.Map(lambda state: rotation @ (matrix @ (rotation.mT @ state)), 2, initial_state=[0.0, 0.0])

    with pytest.warns(lk.ReliabilityWarning, match="1 of 2 cells came with warnings"):
        ds = lk.sweep(hidden, {"second": [1, 25]}, n_steps=40)
    first, second, *_, last = lk.table(ds).splitlines()[4:]
    assert "≤" not in first
    assert second.split()[2].startswith("≤")
    assert last == "in 1 of 2 cells rounding hid directions: ≤ marks upper bounds"


def test_some_exponents_are_not_taken_for_the_first():
    ds = lk.lyapunov_spectrum(lk.classical.lorenz(), n_steps=100)
    for function in (lk.table, lk.in_words, lk.spectrum_table, lk.kaplan_yorke_dimension, lk.entropy_rate):
        for part, shown in ((ds.isel(exponent=[0, 2]), "1, 3"), (ds.isel(exponent=[1]), "2")):
            with pytest.raises(ValueError, match=rf"needs the largest exponents, .* and got {shown}: select"):
                function(part)
    with pytest.raises(ValueError, match="comparison_table needs the largest exponents"):
        lk.comparison_table(lk.compare({"a": ds}).isel(exponent=[1]))
    for part in (ds.isel(trajectory=0), ds.isel(exponent=0)):
        with pytest.raises(ValueError, match=r"without its dimension (trajectory|exponent): keep it"):
            lk.table(part)


def test_a_step_of_a_training_has_its_own_facts():
    networks = {step: lk.build_network("wcrnn", 1, 4, 10, seed=step, coupling=0.1 + step) for step in (0, 2)}
    inputs, labels = lk.task("digits").test_samples(10)
    loss = torch.nn.functional.cross_entropy
    ds = lk.over_training(lk.hessian_eigenvalues, networks, inputs, labels, loss, 2)
    validated = lk.over_training(lk.validate_weak_coupling, networks, inputs[:2])
    for step, network in networks.items():
        alone = lk.hessian_eigenvalues(network, inputs, labels, loss, 2)
        for part in (ds.sel(step=step), ds.sel(step=[step])):
            assert lk.table(part).endswith(lk.table(alone))
        assert lk.in_words(validated.sel(step=step)) == lk.in_words(lk.validate_weak_coupling(network, inputs[:2]))
