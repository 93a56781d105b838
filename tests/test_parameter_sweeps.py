"""Sweeps of parameters: each cell where it belongs, what fails marked, what was stopped gone on with."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import lyapkit as lk
from lyapkit.sweeps.systems import named_system, values_of

BUILT = []


def diagonal(a, b=0.5):
    """Exponents log a and log b."""
    BUILT.append((a, b))
    if a == 7:
        raise ValueError("a must not be 7")
    if a == 8:
        raise KeyboardInterrupt
    matrix = np.diag([a, b])
    return lk.Map(lambda x: matrix @ x, 2, lambda x: matrix, initial_state=[0.0, 0.0])


def adding(a):
    return lk.Map(lambda x: x + a, 1, lambda x: np.eye(1), initial_state=[1.0])


@pytest.fixture(autouse=True)
def _fresh():
    BUILT.clear()


def test_one_parameter_against_the_closed_form():
    mu = np.array([1.9, 1.2, 1.5])
    ds = lk.sweep(lk.classical.tent, {"mu": mu}, n_steps=40, n_transient=3, n_orbit=5)
    np.testing.assert_array_equal(ds["mu"], np.sort(mu))
    assert ds["lyapunov_exponent"].dims == ("mu", "trajectory", "exponent")
    np.testing.assert_allclose(ds["lyapunov_exponent"][:, 0, 0], np.log(np.sort(mu)), atol=1e-12)
    assert ds["orbit"].dims == ("mu", "orbit_step", "state")
    x = ds["orbit"].values[:, :, 0]
    np.testing.assert_allclose(x[:, 1:], np.sort(mu)[:, None] * np.minimum(x, 1 - x)[:, :-1], atol=1e-12)


def test_two_parameters_are_not_exchanged():
    a, b = [2.0, 3.0, 4.0], [0.1, 0.2]
    ds = lk.sweep(diagonal, {"a": a, "b": b}, n_steps=5, n_transient=0)
    assert ds["lyapunov_exponent"].dims == ("a", "b", "trajectory", "exponent")
    for i, j in np.ndindex(3, 2):
        np.testing.assert_allclose(ds["lyapunov_exponent"][i, j, 0], np.log([a[i], b[j]]), atol=1e-12)


def test_orbits_are_those_after_the_transient():
    ds = lk.sweep(lk.classical.logistic, {"r": [3.2]}, n_steps=50, n_transient=400, n_orbit=20)
    points = (4.2 + np.array([-1, 1]) * np.sqrt(4.2 * 0.2)) / 6.4  # the cycle of period 2
    np.testing.assert_allclose(np.sort(ds["orbit"].values[0, :, 0]), np.repeat(points, 10), atol=1e-9)


def pendulum(k):
    return lk.Map(lambda s: np.array([s[0] + s[1] + k * np.sin(s[0]), s[1] + k * np.sin(s[0])]), 2)


def rk4(k):
    return lk.Flow(lambda s: np.array([s[1], -k * s[0]]), 2, 0.1)


@pytest.mark.parametrize("n_exponents", [1, 2])
def test_compiled_orbits_are_those_of_the_function(n_exponents):
    from lyapkit.compiled import compiled_orbit
    from lyapkit.sweeps.spectra import _followed

    start = torch.tensor([[0.3, 0.1], [0.5, -0.2]], dtype=torch.float64)
    for system in (pendulum(0.4), rk4(1.3)):
        running = system.prepared(start, None)
        got = compiled_orbit(running, start, n_exponents, 9, 3, 4)
        for mine, plain in zip(got, _followed(running, start, 9, 3, 4), strict=True):
            np.testing.assert_allclose(mine, plain, rtol=1e-14)
    hidden = lk.Map(lambda s: np.interp(s, [-9, 9], [-9, 9]), 2, lambda s: np.eye(2)).prepared(start, None)
    assert compiled_orbit(hidden, start, None, 9, 3, 4) is None


def test_cells_that_diverge_or_fail_are_marked_and_the_others_go_on():
    with pytest.warns(lk.DivergenceWarning, match="1 of 3 cells diverged or failed and are NaN; first at a=7: a must"):
        ds = lk.sweep(diagonal, {"a": [7.0, 2.0, 3.0]}, n_steps=5, n_transient=0)
    np.testing.assert_allclose(ds["lyapunov_exponent"][:2, 0, 0], np.log([2, 3]), atol=1e-12)
    assert ds["lyapunov_exponent"][2].isnull().all()
    assert not ds["is_bound"].any()
    assert list(ds["remark"].values) == ["", "", "a must not be 7"]
    start = [0.1, 0.1]
    with pytest.warns(lk.DivergenceWarning, match="1 of 2 cells"):
        ds = lk.sweep(lk.classical.henon, {"a": [1.4, 3.0]}, n_steps=50, n_transient=50, initial_state=start)
    alone = lk.lyapunov_spectrum(lk.classical.henon(), n_steps=50, n_transient=50, initial_state=start)
    np.testing.assert_array_equal(ds["lyapunov_exponent"][0], alone["lyapunov_exponent"])
    assert ds["divergence_step"].notnull().values.tolist() == [[False], [True]]
    with pytest.raises(ValueError, match="all 1 cells diverged or failed; at a=7: a must not be 7"):
        lk.sweep(diagonal, {"a": [7.0]}, n_steps=5)


def test_a_sweep_that_was_stopped_goes_on(tmp_path):
    values = [*np.linspace(1.0, 2.0, 20), 8.0]
    options = {"n_steps": 4, "n_transient": 0, "folder": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        lk.sweep(diagonal, {"a": values}, **options)
    assert len(BUILT) == 21
    BUILT.clear()
    with pytest.raises(KeyboardInterrupt):
        lk.sweep(diagonal, {"a": values}, **options)
    assert len(BUILT) == 5  # the first 16 are in a file
    BUILT.clear()
    first, again = (lk.sweep(diagonal, {"a": values[:16]}, **options) for _ in range(2))
    assert not BUILT or len(BUILT) == 16
    xr.testing.assert_equal(first, again)
    BUILT.clear()
    lk.sweep(diagonal, {"a": values[:16]}, **(options | {"n_steps": 5}))
    assert len(BUILT) == 16


def test_continued_cells_start_where_the_one_before_ended():
    ds = lk.sweep(adding, {"a": [1.0, 10.0]}, n_steps=7, n_transient=3, n_orbit=2, continued=True)
    np.testing.assert_array_equal(ds["orbit"].values[0, :, 0], [1 + 4, 1 + 5])
    np.testing.assert_array_equal(ds["orbit"].values[1, :, 0], [1 + 10 + 40, 1 + 10 + 50])
    anew = lk.sweep(adding, {"a": [1.0, 10.0]}, n_steps=7, n_transient=3, n_orbit=2)
    np.testing.assert_array_equal(anew["orbit"].values[1, :, 0], [1 + 40, 1 + 50])


def adding_complex(a):
    """z ← z + i a."""
    return lk.Map(lambda z: z + 1j * a, 1, lambda z: np.eye(1), initial_state=[1.0])


def test_continued_complex_states_and_several_trajectories():
    options = {"n_steps": 4, "n_transient": 2, "n_orbit": 1, "continued": True}
    ds = lk.sweep(adding_complex, {"a": [1.0, 10.0]}, initial_state=np.array([[1 + 0j], [2 + 0j]]), **options)
    assert list(ds["remark"].values) == ["", ""]
    assert ds.sizes["trajectory"] == 2
    np.testing.assert_array_equal(ds["orbit"].values[:, 0], [[1, 3], [1, 6 + 30]])
    ds = lk.sweep(adding, {"a": [1.0, 10.0]}, initial_state=[3.0], n_trajectories=3, **options)
    assert ds.sizes["trajectory"] == 3
    np.testing.assert_array_equal(ds["orbit"].values[:, 0, 0], [3 + 3, 3 + 6 + 30])


def test_a_transient_of_driven_systems_is_the_one_given():
    inputs = np.random.default_rng(0).normal(size=(1, 1010, 2))
    ds = lk.sweep(_network, {"gain": [2.0]}, inputs=inputs, n_transient=1000, n_exponents=1)
    expected = lk.lyapunov_spectrum(_network(2.0), inputs, n_transient=1000, n_exponents=1)["lyapunov_exponent"]
    np.testing.assert_array_equal(ds["lyapunov_exponent"][0], expected)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the cluster's, when it ends
def test_a_dask_scheduler_gives_what_one_process_gives(tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:
        options = {"n_steps": 50, "folder": tmp_path, "executor": cluster.scheduler_address}
        ds = lk.sweep(lk.classical.henon, {"a": [1.2, 1.4], "b": [0.2, 0.3]}, **options)
    xr.testing.assert_equal(ds, lk.sweep(lk.classical.henon, {"a": [1.2, 1.4], "b": [0.2, 0.3]}, n_steps=50))


def _network(gain):
    module = nn.RNN(2, 4)
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    with torch.no_grad():
        module.weight_hh_l0.mul_(gain)
    return lk.from_module(module)


def test_driven_networks_and_trajectories():
    inputs = np.random.default_rng(0).normal(size=(3, 30, 2))
    ds = lk.sweep(_network, {"gain": [0.5, 2.0]}, inputs=inputs, n_exponents=2)
    assert dict(ds["lyapunov_exponent"].sizes) == {"gain": 2, "trajectory": 3, "exponent": 2}
    expected = lk.lyapunov_spectrum(_network(2.0), inputs, n_exponents=2)["lyapunov_exponent"]
    np.testing.assert_array_equal(ds["lyapunov_exponent"].sel(gain=2.0), expected)
    assert "orbit" not in ds


@pytest.mark.slow
def test_a_command_that_is_killed_goes_on(tmp_path):
    command = [sys.executable, "-P", "-m", "lyapkit", "sweep", "henon", "a=1:1.4:96", "-q", "--steps", "20000"]
    command += ["--folder", str(tmp_path / "cells"), "--output", str(tmp_path / "ds.nc"), "--workers", "2"]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)

    def done():
        return {path: path.stat().st_mtime_ns for path in (tmp_path / "cells").glob("[!.]*.nc")}

    while len(done()) < 2:
        assert running.poll() is None
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    before = done()
    assert not (tmp_path / "ds.nc").exists()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert len(done()) == 6
    assert before.items() < done().items()
    whole = lk.sweep(lk.classical.henon, {"a": np.linspace(1, 1.4, 96)}, n_steps=20_000)
    xr.testing.assert_equal(lk.load(tmp_path / "ds.nc"), whole)


@pytest.mark.slow
def test_processes_give_what_one_gives():
    one, two = (
        lk.sweep(lk.classical.henon, {"a": [1.2, 1.4], "b": [0.2, 0.3]}, n_steps=50, n_workers=n) for n in (1, 2)
    )
    xr.testing.assert_equal(one, two)


def _linear(gain, weights):
    return lk.Map(lambda state: gain * (weights @ state), len(weights), initial_state=np.zeros(len(weights)))


def test_other_weights_are_another_sweep(tmp_path):
    """Whether a function encloses them or has them as an argument, and however alike they look."""
    one, other = torch.eye(40, dtype=torch.float64), torch.eye(40, dtype=torch.float64)
    other[20, 20] += 1e-7
    found = []
    for weights in (one, other, one):
        for build in (partial(_linear, weights=weights), lambda gain, weights=weights: _linear(gain, weights)):
            ds = lk.sweep(build, {"gain": [0.5, 2.0]}, n_steps=20, n_transient=0, folder=tmp_path)
            found.append(float(ds.lyapunov_exponent.max()))
    np.testing.assert_allclose(found, np.log([2, 2, 2 + 2e-7, 2 + 2e-7, 2, 2]), rtol=0, atol=1e-12)
    assert found[0] != found[2]
    assert len(list(tmp_path.iterdir())) == 4


def test_another_checkpoint_of_the_same_name_is_another_sweep(tmp_path, run):
    np.save(tmp_path / "inputs.npy", np.random.default_rng(0).normal(size=(1, 30, 2)))
    path, outputs = tmp_path / "net.pt", []
    for seed in (0, 1):
        torch.manual_seed(seed)
        torch.save(torch.nn.RNN(2, 3).state_dict(), path)
        options = ["--inputs", tmp_path / "inputs.npy", "--folder", tmp_path / "kept", "--nonlinearity", "tanh", "-q"]
        code, out, err = run("sweep", path, "--scale", "recurrent=0.5,1", *options)
        assert code == 0, err
        outputs.append(out)
    assert outputs[0] != outputs[1]


def test_whatever_a_cell_raises_the_others_go_on():
    def fails(a):
        if a > 1.35:
            raise RuntimeError("too large")
        return lk.classical.henon(a)

    with pytest.warns(lk.DivergenceWarning, match=r"1 of 3 cells .* first at a=1.4: RuntimeError: too large"):
        ds = lk.sweep(fails, {"a": [1.0, 1.2, 1.4]}, n_steps=50)
    assert ds.lyapunov_exponent.isnull().any(["trajectory", "exponent"]).values.tolist() == [False, False, True]


def test_how_libraries_are_used_is_no_remark():
    def built(a):
        warnings.warn("some library is used in an old way", FutureWarning, stacklevel=2)
        return lk.classical.henon(a)

    ds = lk.sweep(built, {"a": [1.0, 1.2]}, n_steps=50)
    assert set(ds.remark.values.tolist()) == {""}


def test_whole_numbers_stay_whole(run):
    code, out, err = run("sweep", "lorenz96", "n=5:7:3", "--steps", "40", "-q")
    assert code == 0, err
    assert out.splitlines()[6].split()[0] == "7"
    code, _, err = run("sweep", "lorenz96", "n=5.5,6.5", "--steps", "40", "-q")
    assert "at n=5.5: n must be a whole number, got 5.5" in err


def test_what_builds_no_systems_is_refused():
    for given, shown in (
        (lk.classical.henon(), r"the system Hénon map \(a=1.4, b=0.3\)"),
        (lk.build_network("lstm", 1, 4, 2), "the system LSTM"),
        ("henon", "'henon'"),
    ):
        with pytest.raises(ValueError, match=f"give a function such as lyapkit.classical.henon, got {shown}"):
            lk.sweep(given, {"a": [1.2]}, n_steps=10)


@pytest.mark.parametrize(
    ("parameters", "options", "message"),
    [
        ({}, {}, "nothing to sweep"),
        ({"a": []}, {}, "values of a must be finite numbers"),
        ({"a": [1.0, np.nan]}, {}, "values of a must be finite numbers"),
        ({"a": ["x"]}, {}, "values of a must be finite numbers"),
        ({"a": [1.0, 1.0]}, {}, "must differ from each other"),
        ({"state": [1.0]}, {}, "cannot be called state"),
        ({"remark": [1.0]}, {}, "cannot be called remark"),
        ([1.0], {}, "parameters must be a mapping, {name: values}, got list"),
        ({"a": [1.0]}, {"n_steps": "5"}, "n_steps must be a whole number, got '5'"),
        ({"a": [1.0]}, {"n_orbit": -1}, "n_orbit must be at least 0, got -1"),
        ({"a": [1.0]}, {"n_workers": 0}, "n_workers must be at least 1, got 0"),
        ({"a": [1.0]}, {"executor": "tcp://host:8786"}, "give folder="),
        ({"a": [1.0]}, {"progress_": 1}, "progress_"),
        ({"a": [1.0]}, {"on_divergence": "raise"}, "a sweep sets these itself"),
        ({"a": [1.0]}, {"inputs": np.zeros((1, 5, 2)), "continued": True}, "follows an attractor"),
    ],
)
def test_bad_arguments_are_refused(parameters, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        lk.sweep(diagonal, parameters, **{"n_steps": 5} | options)


def test_what_cannot_be_sent_to_other_processes_is_refused():
    with pytest.raises(ValueError, match="cannot be sent to other processes"):
        lk.sweep(lambda a: diagonal(a), {"a": [1.0]}, n_steps=5, n_workers=2)


def test_pictures():
    ds = lk.sweep(lk.classical.tent, {"mu": [1.2, 1.5]}, n_steps=20, n_transient=3, n_orbit=4)
    ax = lk.plot_sweep(ds)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), np.log([1.2, 1.5]), atol=1e-12)
    above = next(other for other in ax.figure.axes if other is not ax)
    np.testing.assert_array_equal(above.lines[0].get_ydata(), ds["orbit"].values.ravel())
    np.testing.assert_array_equal(above.lines[0].get_xdata(), np.repeat([1.2, 1.5], 4))
    two = lk.sweep(diagonal, {"a": [2.0, 3.0, 4.0], "b": [0.1, 0.2]}, n_steps=5, n_transient=0)
    (mesh,) = lk.plot_sweep(two).collections
    np.testing.assert_allclose(mesh.get_array(), np.tile(np.log([2, 3, 4]), (2, 1)), atol=1e-12)


def test_pictures_show_the_errors_of_means():
    ds = lk.sweep(lk.classical.logistic, {"r": [3.8, 4.0]}, n_steps=50, n_trajectories=5)
    for r, place in ((3.8, 0), (4.0, 1)):
        alone = lk.ensemble_mean(ds.sel(r=r))
        (band,) = lk.plot_sweep(ds).collections
        low, high = np.sort(np.unique([y for x, y in band.get_paths()[0].vertices if x == r]))[[0, -1]]
        assert (high - low) / 2 == pytest.approx(float(alone["standard_error"][0]), rel=1e-12)
        assert (high + low) / 2 == pytest.approx(float(alone["lyapunov_exponent"][0]), rel=1e-12)
        assert float(lk.ensemble_mean(ds)["standard_error"][place, 0]) == float(alone["standard_error"][0])


def test_the_command(run, tmp_path):
    output, plot = tmp_path / "tent.nc", tmp_path / "tent.png"
    code, out, err = run(
        "sweep", "tent", "mu=1.2:1.8:3", "--steps", 30, "--transient", 5, "-q", "--output", output, "--plot", plot
    )
    assert code == 0, err
    assert "0.40547" in out  # log 1.5
    np.testing.assert_allclose(lk.load(output)["mu"], [1.2, 1.5, 1.8])
    assert plot.is_file()
    assert run("plot", output)[0] == 0
    assert (tmp_path / "tent_sweep.png").read_bytes() == plot.read_bytes()
    network = ["data/digits_rows_lstm.safetensors", "--scale", "recurrent=0,1", "-k", "2", "--transient", "0"]
    code, out, err = run("sweep", *network, "--steps", 12, "-q", "--output", output)
    assert code == 0, err
    ds = lk.load(output)
    plain = lk.lyapunov_spectrum("data/digits_rows_lstm.safetensors", n_steps=12, n_exponents=2)
    np.testing.assert_allclose(ds["lyapunov_exponent"].sel(recurrent=1.0), plain["lyapunov_exponent"], atol=1e-6)
    assert not np.allclose(ds["lyapunov_exponent"][0], ds["lyapunov_exponent"][1])
    assert json.loads(ds.attrs["parameters"])["n_steps"] == 12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["henon"], "give one or two parameters"),
        (["henon", "a=1:2"], "expected NAME=FIRST:LAST:NUMBER"),
        (["henon", "c=1:2:3"], "henon has no parameter c: it has a, b"),
        (["enon", "a=1:2:3"], "enon is no file and no system of lyapkit.classical: those are"),
        (["henon", "a=1:2:3", "a=1"], "a parameter is given twice"),
        (["data/digits_rows_lstm.safetensors", "a=1:2:3"], "of a checkpoint --scale recurrent"),
    ],
)
def test_bad_commands_are_one_line(run, arguments, message):
    code, out, err = run("sweep", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_values():
    assert values_of("a=0:1:3") == ("a", [0.0, 0.5, 1.0])
    assert values_of("a=1,-2.5") == ("a", [1.0, -2.5])
    assert named_system("henon", ["a"]) is lk.classical.henon
    for text in ("a", "a=", "=1", "a=1:2", "a=1:2:0", "a=x", "a=nan", "a=1:2:3:4"):
        with pytest.raises(ValueError, match="expected NAME=FIRST:LAST:NUMBER"):
            values_of(text)
