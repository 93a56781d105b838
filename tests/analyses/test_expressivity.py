"""The grid of trainings: cells are what they say, are done once, and go into one file; costs and learning rates."""

import dataclasses
import shutil
import sys

import numpy as np
import pytest
import torch
import xarray as xr

import lyapkit as lk
from analyses import expressivity as script
from analyses import grid, learning_rate, swept, trainings
from lyapkit.training import train

TINY = {"n_iterations": 6, "batch_size": 16, "learning_rate": 0.1, "evaluate_every": 3, "n_test_samples": 50}


@pytest.fixture
def expressivity(monkeypatch):
    module = script
    settings = grid.Settings("digits", **TINY, hidden_size=6)
    adding = dataclasses.replace(settings, task="add10")
    monkeypatch.setitem(grid.SETTINGS, "quick", {"smnist": settings, "add100": adding})
    monkeypatch.setitem(grid.N_NETWORKS, "quick", 2)
    monkeypatch.setattr(grid, "MEASURED", (("radius", "digits"),))
    monkeypatch.setitem(grid.N_MEASURED, "quick", (20, 3))
    _choose_radii(monkeypatch, 0.9, 1.0)
    torch.set_default_dtype(torch.float32)  # as in a script
    return module


def _choose_radii(monkeypatch, *radii):
    for name, sweep in swept.SWEEPS.items():
        if sweep.dim == "radius":
            monkeypatch.setitem(swept.SWEEPS, name, dataclasses.replace(sweep, values={"quick": radii}))


def _run(module, monkeypatch, folder, *arguments):
    command = ["expressivity.py", "--folder", str(folder / "out"), "--workers", "1", *arguments]
    monkeypatch.setattr(sys, "argv", command)
    module.main()


def test_a_sweep(expressivity, monkeypatch, tmp_path, capsys):
    _run(expressivity, monkeypatch, tmp_path, "--task", "smnist", "--sweep", "radius")
    ds = lk.load(tmp_path / "out" / "quick" / "smnist_radius.nc")
    assert dict(ds.sizes) == {
        "radius": 2,
        "network": 2,
        "iteration": 3,
        "checkpoint": 2,
        "exponent": 6,
        "eigenvalue": 5,
        "time": 64,
    }
    assert ds.attrs["scale"] == "quick"
    assert ds.attrs["n_cells"] == ds.attrs["n_cells_wanted"] == 4
    for variable in ds.variables.values():
        assert variable.attrs["units"]
        assert variable.attrs["long_name"]
    settings = grid.SETTINGS["quick"]["smnist"]
    network = grid.build("radius", 1.0, 1, settings)
    options = grid.options_of("radius", 1.0, settings)
    expected = train([network], grid.cached_task("digits"), **options).metrics
    np.testing.assert_array_equal(ds.test_score.sel(radius=1.0, network=1), expected.test_score[0])
    # the first network's exponents at its checkpoints, before any training close to log r
    exponents = ds.lyapunov_exponent.sel(network=0, checkpoint=0)
    np.testing.assert_allclose(exponents.sel(radius=0.9), np.log(0.9), atol=0.01)
    assert bool(ds.lyapunov_exponent.sel(network=1).isnull().all())
    assert "0.9:" in capsys.readouterr().out

    # done cells are not done again
    folder = tmp_path / "out" / "quick" / "smnist_radius.parts"
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*.nc")}
    assert len(times) == 4
    _run(expressivity, monkeypatch, tmp_path, "--task", "smnist", "--sweep", "radius")
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.nc")} == times


def test_no_time_leaves_the_rest_for_another_run(expressivity, monkeypatch, tmp_path):
    arguments = ["--task", "smnist", "--sweep", "coupling"]
    _run(expressivity, monkeypatch, tmp_path, *arguments, "--value", "0.01", "--seeds", "1")
    path = tmp_path / "out" / "quick" / "smnist_coupling.nc"
    assert lk.load(path).sizes["coupling"] == 1
    _run(expressivity, monkeypatch, tmp_path, *arguments, "--time-budget", "0")
    ds = lk.load(path)
    assert (ds.attrs["n_cells"], ds.attrs["n_cells_wanted"]) == (1, 10)


def test_raised_iterations_go_on(expressivity, monkeypatch, tmp_path):
    """A network that is to be trained for longer goes on from its last state, and comes out the same."""
    arguments = ["--task", "smnist", "--sweep", "coupling", "--value", "0.01", "--seeds", "1"]
    _run(expressivity, monkeypatch, tmp_path / "raised", *arguments)
    settings = dataclasses.replace(grid.SETTINGS["quick"]["smnist"], n_iterations=12)
    monkeypatch.setitem(grid.SETTINGS["quick"], "smnist", settings)
    batches = []
    batch = grid.cached_task("digits").__class__.batch
    monkeypatch.setattr(
        grid.cached_task("digits").__class__,
        "batch",
        lambda self, index, *rest: batches.append(index) or batch(self, index, *rest),
    )
    _run(expressivity, monkeypatch, tmp_path / "raised", *arguments)
    assert batches[-6:] == [6, 7, 8, 9, 10, 11]
    assert not set(batches[-6:]) & set(batches[:-6])
    _run(expressivity, monkeypatch, tmp_path / "whole", *arguments)
    raised, whole = (lk.load(tmp_path / way / "out" / "quick" / "smnist_coupling.nc") for way in ("raised", "whole"))
    np.testing.assert_array_equal(raised.test_score, whole.test_score)
    assert raised.iteration.values.tolist() == [0, 3, 6, 9, 12]


def test_architectures_have_learning_rates_of_their_own(expressivity, monkeypatch, tmp_path):
    monkeypatch.setattr(grid, "OWN_RATES", {("digits", "gru"): 0.7})
    arguments = ["--task", "smnist", "--sweep", "architecture", "--seeds", "1", "--value", "gru", "--value", "lstm"]
    _run(expressivity, monkeypatch, tmp_path, *arguments)
    ds = lk.load(tmp_path / "out" / "quick" / "smnist_architecture.nc")
    assert float(ds.learning_rate.sel(architecture="gru")) == 0.7
    assert float(ds.learning_rate.sel(architecture="lstm")) == 0.1
    settings = dataclasses.replace(grid.settings_of("quick", "smnist", "architecture"), learning_rate=0.7)
    options = grid.options_of("architecture", "gru", settings)
    assert options["learning_rate"] == 0.7
    expected = train([grid.build("architecture", "gru", 0, settings)], grid.cached_task("digits"), **options)
    np.testing.assert_array_equal(ds.test_score.sel(architecture="gru", network=0), expected.metrics.test_score[0])


def test_together_is_as_one_by_one(expressivity, monkeypatch, tmp_path):
    """As on a GPU: all cells of a sweep as one ensemble, each in its own file."""
    settings = grid.SETTINGS["quick"]["add100"]
    cells = grid.cells_of("architecture", settings, "quick")
    assert len(cells) == 18
    chosen = [cell for cell in cells if cell["value"] in ("wcrnn", "gru")]
    folder = tmp_path / "together"
    folder.mkdir()
    expressivity.compute_together(chosen, folder, "cpu", 0.0)  # no time: nothing is done
    assert not list(folder.glob("*.nc"))
    expressivity.compute_together(chosen, folder, "cpu", None)
    for cell in chosen:
        alone = expressivity.compute(**cell, folder=tmp_path / "alone")
        ds = lk.load(expressivity.cell_path(folder, cell))
        np.testing.assert_allclose(ds.test_score, alone.test_score, rtol=1e-4)


def test_what_the_file_of_a_sweep_holds_is_not_trained_again(expressivity, monkeypatch, tmp_path):
    arguments = ["--task", "smnist", "--sweep", "radius"]
    _run(expressivity, monkeypatch, tmp_path, *arguments, "--seeds", "1")
    path = tmp_path / "out" / "quick" / "smnist_radius.nc"
    before = lk.load(path).load()
    shutil.rmtree(path.with_suffix(".parts"))
    trained = []
    learn = expressivity.learn
    monkeypatch.setattr(
        expressivity, "learn", lambda cells, *rest, **kw: trained.extend(cells) or learn(cells, *rest, **kw)
    )
    _run(expressivity, monkeypatch, tmp_path, *arguments)
    assert [(cell["value"], cell["network"]) for cell in trained] == [(0.9, 1), (1.0, 1)]
    after = lk.load(path).load()
    assert after.sizes["network"] == 2
    xr.testing.assert_identical(after.sel(network=[0]).drop_attrs(), before.drop_attrs())
    assert after.attrs["git_commit"] == before.attrs["git_commit"]

    # networks that learnt otherwise are no substitute
    shutil.rmtree(path.with_suffix(".parts"))
    settings = dataclasses.replace(grid.SETTINGS["quick"]["smnist"], learning_rate=0.2)
    monkeypatch.setitem(grid.SETTINGS["quick"], "smnist", settings)
    trained.clear()
    _run(expressivity, monkeypatch, tmp_path, *arguments)
    assert len(trained) == 4


def test_a_file_with_more_cells_is_kept(expressivity, monkeypatch, tmp_path, capsys):
    arguments = ["--task", "smnist", "--sweep", "coupling", "--value", "0.01"]
    _run(expressivity, monkeypatch, tmp_path, *arguments)
    path = tmp_path / "out" / "quick" / "smnist_coupling.nc"
    kept = path.read_bytes()
    shutil.rmtree(path.with_suffix(".parts"))
    _run(expressivity, monkeypatch, tmp_path, *arguments, "--seeds", "1")
    assert path.read_bytes() == kept
    assert "holds more than the 1 cells" in capsys.readouterr().out


@pytest.mark.parametrize(
    "sweep",
    [
        "radius",
        "radius-a",
        "radius-b",
        "radius-clipped",
        "frequency",
        "frequency-long",
        "spread",
        "spread-critical",
        "coupling",
        "residual",
        "residual-a",
    ],
)
def test_networks_are_what_their_cells_say(expressivity, monkeypatch, sweep):
    if sweep.startswith("radius"):
        _choose_radii(monkeypatch, *(radius for radius in (0.9, 1.0, 1.01) if radius > 1 or "clipped" not in sweep))
    settings = dataclasses.replace(grid.SETTINGS["quick"]["smnist"], radius=0.97)
    values = grid.values(sweep, settings, "quick")
    assert len(values) == 1 if sweep == "radius-clipped" else len(values) > 1
    for value in values:
        model = grid.build(sweep, value, 3, settings)
        moduli, phases = np.abs(model.residual.eigenvalues), np.angle(model.residual.eigenvalues)
        assert model.kind == {"a": "A", "b": "B"}.get(sweep.partition("-")[2], "linear")
        clips = grid.options_of(sweep, value, settings)["clip_norm"]
        assert clips == (1.0 if sweep == "radius-clipped" else None)
        coupling = value if sweep == "coupling" else 0.01
        if value != "heterogeneous":
            assert float(model.coupling) == pytest.approx(coupling)
        if sweep.startswith("radius"):
            np.testing.assert_allclose(moduli, value)
            assert value > 1 or sweep != "radius-clipped"
        elif sweep.startswith("frequency"):
            np.testing.assert_allclose(moduli, 0.97, rtol=1e-6)
            np.testing.assert_allclose(np.abs(phases), abs((value + np.pi) % (2 * np.pi) - np.pi), atol=1e-4)
        elif sweep.startswith("spread"):
            assert np.all(np.abs(moduli - (1.0 if sweep == "spread-critical" else 0.98)) <= value + 1e-6)
            assert (np.ptp(moduli) > value) == (value > 0)
        elif value == "homogeneous":
            np.testing.assert_allclose(moduli, 0.97)
        elif value == "heterogeneous":
            assert model.coupling.shape == (6,)
            assert 0.001 <= float(model.coupling.min()) < float(model.coupling.max()) <= 0.02


def test_a_sweep_together(expressivity, monkeypatch, tmp_path):
    """The same numbers, analyses at checkpoints included."""
    arguments = ["--task", "smnist", "--sweep", "radius"]
    _run(expressivity, monkeypatch, tmp_path / "one", *arguments)
    _run(expressivity, monkeypatch, tmp_path / "all", *arguments, "--together")
    one, together = (lk.load(tmp_path / way / "out" / "quick" / "smnist_radius.nc") for way in ("one", "all"))
    for name in ("test_score", "lyapunov_exponent", "hessian_eigenvalue"):
        np.testing.assert_allclose(together[name], one[name], rtol=1e-2, atol=1e-5)


def test_queue_and_costs(expressivity, monkeypatch, tmp_path, capsys):
    _run(expressivity, monkeypatch, tmp_path, "--dry-run")
    printed = capsys.readouterr().out
    assert "core hours in all" in printed
    assert "0 of 18" in printed
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit, match="2"):
        _run(expressivity, monkeypatch, tmp_path, "--task", "mnist")
    assert "no such cells" in capsys.readouterr().err


def test_learning_rates(expressivity, monkeypatch, tmp_path, capsys):
    module = learning_rate
    monkeypatch.setattr(module, "N_ITERATIONS", {"image": 6, "add": 6})
    command = ["learning_rate.py", "--task", "smnist", "--rate", "0.1", "--rate", "0.03", "--workers", "1"]
    command += ["--folder", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    module.main()
    ds = lk.load(tmp_path / "quick" / "smnist_radius.nc")
    assert dict(ds.sizes) == {"learning_rate": 2, "radius": 3, "iteration": 3}
    assert "learning rate" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*command, "--sweep", "architecture", "--value", "gru"])
    module.main()
    gated = lk.load(tmp_path / "quick" / "smnist_architecture.nc")
    assert dict(gated.sizes) == {"learning_rate": 2, "architecture": 1, "iteration": 3}
    assert "gru" in capsys.readouterr().out


@pytest.mark.needs_data
def test_the_page_of_trainings_is_of_this_grid():
    assert (trainings.ROOT / "docs" / "trainings.md").read_text() == trainings.text(), "run analyses/trainings.py"
