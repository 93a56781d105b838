"""The gallery: verdicts follow the data, what is missing is said, and the page names every figure."""

import importlib

import numpy as np
import pytest
import xarray as xr
from scripts import ROOT, script

import lyapkit as lk

gallery = script("figures", "gallery")
claims = importlib.import_module("claims")
script("analyses", "grid")  # makes its folder known
RADII = [0.95, 0.99, 1.0, 1.01]


def _radius(best, reached, task="smnist/2", falls=(0.0, 0.0, 0.0, 0.0)):
    """A sweep of radii with these best scores, iterations to minimal performance, and largest falls of the score."""
    curves = np.array([[[0.1, value, value - fall]] for value, fall in zip(best, falls, strict=True)])
    dims = ("radius", "network")
    return xr.Dataset(
        {
            "test_score": ((*dims, "iteration"), curves),
            "best_score": (dims, np.array(best)[:, None]),
            "iterations_to_minimal_performance": (dims, np.array(reached, dtype=float)[:, None]),
        },
        {"radius": RADII, "network": [0], "iteration": [0, 100, 200]},
        {"task": task, "score": "accuracy", "n_steps": 196},
    )


@pytest.mark.parametrize(
    ("reached", "verdict"), [([150, 100, 50, 200], claims.SEEN), ([50, 100, 150, 200], claims.NOT_SEEN)]
)
def test_subcritical_is_slow(reached, verdict):
    found, evidence = claims.radii.subcritical_is_slow(_radius([0.5] * 4, reached))
    assert found == verdict
    assert f"{reached[0]} at r = 0.95" in evidence


def test_supercritical_is_unstable():
    steady = _radius([0.5] * 4, [100] * 4)
    falling = _radius([0.5] * 4, [100] * 4, falls=(0.0, 0.1, 0.1, 0.3))
    failing = _radius([0.5] * 4, [100, 100, 100, np.nan])
    assert claims.radii.supercritical_is_unstable(steady)[0] == claims.NOT_SEEN
    assert claims.radii.supercritical_is_unstable(falling)[0] == claims.SEEN
    assert claims.radii.supercritical_is_unstable(failing)[0] == claims.SEEN
    assert claims.radii.supercritical_is_unstable(failing, steady)[0] == claims.NOT_SEEN


def test_where_networks_are_best():
    best, worse = [0.5, 0.8, 0.6, 0.1], [0.9, 0.8, 0.6, 0.1]
    assert claims.radii.near_critical_is_best(_radius(best, [100] * 4))[0] == claims.SEEN
    assert claims.radii.near_critical_is_best(_radius(best, [100] * 4), _radius(worse, [100] * 4))[0] == claims.NOT_SEEN
    above = _radius([0.1, 0.2, 0.3, 0.9], [100] * 4)
    below, at_one = _radius([0.2] * 4, [100, 50, 200, 200]), _radius([0.2] * 4, [100, 100, 50, 200])
    assert claims.radii.best_radius_by_task(above, above, below)[0] == claims.SEEN
    assert claims.radii.best_radius_by_task(above, above, at_one)[0] == claims.NOT_SEEN


@pytest.mark.parametrize(
    ("best", "verdict"),
    [([0.7, 0.75, 0.9], claims.SEEN), ([0.9, 0.75, 0.7], claims.NOT_SEEN), ([0.7, 0.9, 0.8], claims.NOT_SEEN)],
)
def test_best_frequency(best, verdict):
    own = 2 * np.pi / 14
    ds = xr.Dataset(
        {"best_score": (("frequency", "network"), np.array(best)[:, None])},
        {"frequency": [0.0, 0.5 * own, 2 * own], "network": [0]},
        {"n_steps": 196},
    )
    assert claims.rotations.best_frequency(ds)[0] == verdict


def _sweep_of(dim, best, reached=None, task="smnist/2", falls=None):
    """A sweep of one network with these best scores, iterations to minimal performance, and falls of the score."""
    values, scores = list(best), np.array(list(best.values()))
    falls = np.zeros(len(values)) if falls is None else np.array(falls)
    reached = np.full(len(values), 100.0) if reached is None else np.array(reached, dtype=float)
    dims = (dim, "network")
    return xr.Dataset(
        {
            "test_score": ((*dims, "iteration"), np.stack([0 * scores, scores, scores - falls], axis=-1)[:, None]),
            "best_score": (dims, scores[:, None]),
            "iterations_to_minimal_performance": (dims, reached[:, None]),
        },
        {dim: values, "network": [0], "iteration": [0, 100, 200]},
        {"task": task, "score": "accuracy", "n_steps": 196},
    )


def _seen(verdict):
    return verdict[0] == claims.SEEN


def test_clipping_steadies():
    wild = _sweep_of("radius", {0.99: 0.5, 1.01: 0.5}, falls=[0.4, 0.3])
    tame, wilder = (_sweep_of("radius", {1.01: 0.5}, falls=[fall]) for fall in (0.1, 0.35))
    assert _seen(claims.radii.clipping_steadies(tame, wild))
    assert not _seen(claims.radii.clipping_steadies(wilder, wild))


@pytest.mark.parametrize(
    ("reached", "is_seen"), [([200, 100, 50, np.nan], True), ([100, 150, 50, 60], False), ([50, 60, 70, 80], False)]
)
def test_coupling_is_a_rate(reached, is_seen):
    ds = _sweep_of("coupling", dict.fromkeys((0.001, 0.01, 0.03, 0.1), 0.5), reached)
    assert _seen(claims.radii.coupling_is_a_rate(ds)) == is_seen


def test_gradients_are_straight_lines_of_slope_log_r():
    time = np.arange(50.0)

    def before(rates, bend=0.0):
        logs = np.array(rates)[:, None, None] * -time + bend * np.sin(time / 8)
        per_radius = (("radius", "network"), np.array(rates)[:, None])
        return xr.Dataset(
            {
                "log_gradient_norm": (("radius", "network", "time"), logs),
                "decay_rate": per_radius,
                "averaged_decay_rate": per_radius,
            },
            {"radius": [0.9, 1.0], "network": [0], "time": time},
        )

    rate, radii = np.log(0.9), claims.radii
    assert _seen(radii.gradients_are_exponential(before([rate, 0.0])))
    assert _seen(radii.gradients_are_exponential(before([1.05 * rate, 0.0])))
    assert not _seen(radii.gradients_are_exponential(before([rate, 0.0], bend=1.0)))
    assert _seen(radii.gradients_have_the_rate_of_the_residual(before([1.01 * rate, 0.0])))
    assert not _seen(radii.gradients_have_the_rate_of_the_residual(before([1.05 * rate, 0.0])))


def test_longer_tasks_are_closer_to_criticality():
    short = _sweep_of("radius", {0.9: 0.2, 0.98: 0.2, 1.0: 0.2}, [50, 100, 100], task="add50")
    middle = _sweep_of("radius", {0.9: 0.2, 0.98: 0.2, 1.0: 0.2}, [100, 50, 100], task="add100")
    long = _sweep_of("radius", {0.9: 0.2, 0.98: 0.2, 1.0: 0.2}, [100, 50, 40], task="add200")
    never = _sweep_of("radius", {0.9: 0.4, 0.98: 0.4}, [np.nan, np.nan], task="add200")
    judge = claims.radii.longer_is_closer
    assert _seen(judge(short, middle, long))
    for sweeps in ((long, middle, short), (short, short, long), (short, long, middle)):
        assert not _seen(judge(*sweeps))
    verdict, evidence = judge(short, middle, never)
    assert verdict == claims.SEEN
    assert "add200: learnt at no r in 200 iterations" in evidence
    assert judge(short, never, never)[0] == claims.NOT_YET


def test_long_training_is_similar():
    short = _sweep_of("frequency", {0.0: 0.5, 0.3: 0.4, 0.45: 0.8})
    alike, other = _sweep_of("frequency", {0.0: 0.8, 0.45: 0.9}), _sweep_of("frequency", {0.0: 0.9, 0.45: 0.8})
    assert _seen(claims.rotations.long_training_is_similar(alike, short))
    assert not _seen(claims.rotations.long_training_is_similar(other, short))


@pytest.mark.parametrize("amplitude", [0.0, 0.3])
def test_modulation_oscillates(amplitude):
    """Shares of layers of a bump with a wave on it, at ω, and one at the data's own frequency."""
    time = np.arange(784)
    base = np.sin(np.pi * time / 800) + 0.2 * np.sin(2 * np.pi * time / 28)
    curves = np.stack([base, base + amplitude * np.sin(0.112 * time)])[:, None]
    dims = ("frequency", "network", "time")
    ds = xr.Dataset({"alignment": (dims, curves), "modulation": (dims, curves)}, {"frequency": [0.0, 0.112]})
    assert _seen(claims.rotations.modulation_oscillates(ds)) == (amplitude > 0)


def test_heterogeneity():
    helps = claims.heterogeneity.moderate_spread_helps
    assert _seen(helps(_sweep_of("spread", {0.0: 0.5, 0.01: 0.52, 0.05: 0.3})))
    assert not _seen(helps(_sweep_of("spread", {0.0: 0.5, 0.01: 0.505, 0.05: 0.3})))
    assert not _seen(helps(_sweep_of("spread", {0.0: 0.5, 0.01: 0.52, 0.05: 0.6})))
    gaining = _sweep_of("spread", {0.0: 0.5, 0.01: 0.6, 0.02: 0.55, 0.05: 0.9})
    losing = _sweep_of("spread", {0.0: 0.7, 0.01: 0.6, 0.02: 0.55})
    assert _seen(claims.heterogeneity.spread_helps_less_near_criticality(losing, gaining))
    assert not _seen(claims.heterogeneity.spread_helps_less_near_criticality(gaining, losing))
    mixed = _sweep_of("residual", {"homogeneous": 0.5, "heterogeneous": 0.85})
    radius, frequency = _sweep_of("radius", {1.0: 0.8}), _sweep_of("frequency", {0.0: 0.7, 0.5: 0.86})
    better = _sweep_of("frequency", {0.0: 0.7, 0.5: 0.9})
    compare = claims.heterogeneity.heterogeneous_is_like_the_best
    assert _seen(compare(mixed, mixed, radius, frequency, radius, frequency))
    assert not _seen(compare(mixed, mixed, radius, frequency, radius, better))
    assert not _seen(compare(mixed, mixed, better.rename(frequency="radius"), frequency, radius, frequency))


def test_types_a_and_b():
    below, above = _sweep_of("radius", {0.99: 0.8, 1.01: 0.5}), _sweep_of("radius", {0.99: 0.5, 1.01: 0.8})
    module, own = claims.architectures, 2 * np.pi / 14
    assert _seen(module.types_differ_in_the_best_radius(below, above))
    assert not _seen(module.types_differ_in_the_best_radius(above, below))
    flat, peaked = (_sweep_of("frequency", {0.0: 0.5, own: top, 1.5 * own: 0.5}) for top in (0.6, 0.9))
    off = _sweep_of("frequency", {0.0: 0.5, own: 0.6, 1.5 * own: 0.7})
    assert _seen(module.types_have_peaks(flat, peaked))
    assert not _seen(module.types_have_peaks(flat, off))
    assert _seen(module.type_b_is_more_sensitive(flat, peaked))
    assert not _seen(module.type_b_is_more_sensitive(peaked, flat))
    mixed = _sweep_of("residual", {"homogeneous": 0.5, "heterogeneous": 0.85})
    assert _seen(module.types_gain_by_heterogeneity(mixed, mixed, below, above, flat, flat))
    assert not _seen(module.types_gain_by_heterogeneity(mixed, mixed, below, above, flat, peaked))


def test_architectures():
    names = ("wcrnn", "wcrnn-b", "wcrnn-identity", "elman-residual", "lstm", "ur-lstm", "s4")
    good = _sweep_of("architecture", dict(zip(names, (0.8, 0.7, 0.5, 0.1, 0.2, 0.9, 0.6), strict=True)))
    good["iterations_to_minimal_performance"][3] = np.nan
    module = claims.architectures
    assert _seen(module.elman_fails(good, good))
    learning = good.copy(deep=True)
    learning["iterations_to_minimal_performance"][3] = 100
    assert not _seen(module.elman_fails(good, learning))
    assert _seen(module.nonlinearity_matters(good))
    worse = good.copy(deep=True)
    worse["best_score"][0] = 0.4
    assert not _seen(module.nonlinearity_matters(good, worse))
    errors = good.assign_attrs(score="RMS error")  # of which less is better
    assert not _seen(module.nonlinearity_matters(errors))
    assert _seen(module.nonlinearity_matters(good, worse.assign_attrs(score="RMS error")))
    mixed, slow = (_sweep_of("residual", {"heterogeneous": best}) for best in (0.88, 0.8))
    assert _seen(module.heterogeneous_competes(mixed, good))
    assert not _seen(module.heterogeneous_competes(slow, good))
    late = mixed.assign_coords(iteration=[0, 300, 400])  # reached only after the others' training
    assert not _seen(module.heterogeneous_competes(late, good))
    assert _seen(module.heterogeneous_competes(slow, good, mixed, good))  # on some tasks
    assert not _seen(module.heterogeneous_competes(slow, good, slow, good))


def test_every_claim_has_a_verdict_on_the_committed_data():
    datasets, _ = script("figures", "drawing").read(claims.SOURCES, ROOT / "data")
    for claim in claims.CLAIMS:
        verdict, evidence = claim.verdict(datasets)
        assert verdict in (claims.SEEN, claims.NOT_SEEN, claims.NOT_YET)
        assert evidence
        assert "nan" not in evidence
        missing, what = claim.verdict({})
        assert (missing, what.startswith("missing: ")) == (claims.NOT_YET, True)


def test_the_page_says_what_the_data_say():
    summary = importlib.import_module("summary")
    datasets, _ = script("figures", "drawing").read(summary.SOURCES, ROOT / "data")
    text = (ROOT / "docs" / "paper.md").read_text()
    assert summary.inserted(text, datasets) == text, "run `python figures/gallery.py`"
    assert summary.block("trainings", {}).splitlines() == [m.format("trainings") for m in (summary.BEGIN, summary.END)]
    with pytest.raises(ValueError, match="marks"):
        summary.inserted("no marks", datasets)


def test_sentences_are_of_the_data():
    summary = importlib.import_module("summary")
    ds = _sweep_of("radius", {0.9: 0.5, 0.99: 0.82, 1.01: 0.3}, [400, 150, np.nan])
    text = summary.radii(ds, _sweep_of("radius", {0.9: 0.5, 1.0: 0.61}))
    assert "400 iterations at r = 0.9 and 150 at r = 0.99" in text
    assert "from 0.50 to 0.82 at r = 0.99; of 1 networks above 1, 1 never" in text
    assert "best at r = 1, 0.61" in text
    before = xr.Dataset(
        {
            "lyapunov_exponent": (("radius", "network", "exponent"), np.log([[[0.99, 0.97]], [[1.01, 1.01]]])),
            "decay_rate": (("radius", "network"), np.log([[0.98], [1.01]]) + 0.004),
            "averaged_decay_rate": (("radius", "network"), np.log([[0.98], [1.01]]) + 0.003),
            "hessian_eigenvalue": (("radius", "network", "eigenvalue"), [[[-3.0, 2.0]], [[50.0, 1.0]]]),
        },
        {"radius": [0.98, 1.01], "network": [0]},
    )
    before = xr.concat([before, before.isel(radius=[1]).assign_coords(radius=[1.02])], "radius")
    assert "0.0103 from it (0.0099 at r = 1.02)" in summary.exponents(before)
    assert "0.0040 above log r at r = 0.98, or 20%" in summary.gradients(before)
    assert "at least 75.0% of the difference for r < 1" in summary.gradients(before)
    assert "3 at r = 0.98, 50 at r = 1.01" in summary.curvature(before)
    learnt = _sweep_of("radius", {0.9: 0.2, 0.98: 0.2, 1.0: 0.2}, [120, 50, 80]).assign_attrs(n_steps=50)
    never = _sweep_of("radius", {0.9: 0.4, 0.98: 0.4}, [np.nan] * 2).assign_attrs(n_steps=100)
    text = summary.adding(learnt, never)
    assert "of 50 steps it is found after 50 iterations at r = 0.98 and 120 at r = 0.9, 80 at r = 1 (1 network" in text
    assert "of 100 steps it is found at no r within 200 (1 network each)" in text
    own = 2 * np.pi / 14
    text = summary.rotations(*[_sweep_of("frequency", {0.0: 0.4, own: 0.8, 2 * own: 0.7})] * 2)
    assert "0.80 at 1, 0.70 at 2, against 0.40 without. On psMNIST (1 network each) 0.70 to 0.80 with rotations" in text
    names = dict.fromkeys(("homogeneous", "orthogonal", "heterogeneous frequencies"), 0.5) | {"heterogeneous": 0.9}
    assert "reach 0.90 on sMNIST" in summary.residuals(*[_sweep_of("residual", names)] * 2)
    three = _sweep_of("architecture", {"lstm": 0.2, "gru": 0.9, "s4": 0.1}, [300, 200, np.nan]).assign_attrs(
        n_steps=196
    )
    assert "in 200 iterations (1 network each): GRU 0.90; LSTM 0.20; S4 0.10." in summary.architectures(three)
    assert "GRU 200; LSTM 300; not within 200: S4." in summary.architectures_adding(three)
    exponents = xr.Dataset(
        {"lyapunov_exponent": (("task", "architecture", "network", "exponent"), [[[[-0.02]], [[-0.5]], [[0.04]]]])},
        {"task": ["smnist"], "architecture": ["s4", "lstm", "elman-residual"], "network": [0], "exponent": [1]},
    )
    text = summary.forgetting(exponents)
    assert "in steps: LSTM 2; S4 50; and growth, in nats per step: Elman, identity residual 0.040" in text
    full = _sweep_of("radius", {0.995: 0.91}).assign_coords(iteration=[0, 468, 936])
    assert "passes 0.9 after 1.0 epochs; its best accuracy in 2 epochs is 0.910" in summary.full_length(full)


def test_recompute(monkeypatch, capsys, tmp_path):
    """All data, each command once; then all figures and tables, and the page."""
    commands = []

    class Done:
        returncode, stdout, stderr = 0, "", ""

    monkeypatch.setattr("subprocess.run", lambda command, **options: commands.append(command) or Done)
    monkeypatch.setattr(gallery, "ROOT", tmp_path)
    sources = list(claims.SOURCES.values())
    monkeypatch.setattr(gallery, "all_sources", lambda: [*sources[:3], sources[0]])
    monkeypatch.setattr(gallery, "sources_of", lambda name: sources[:1])
    (tmp_path / "figures").mkdir()
    marks = [f"{gallery.summary.BEGIN} old {gallery.summary.END}".format(part, part) for part in gallery.summary.PARTS]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "paper.md").write_text(f"before {' between '.join(marks)} after")
    monkeypatch.setattr("sys.argv", ["gallery.py", "--recompute"])
    gallery.main()
    computed = [command[1] for command in commands[:3]]
    assert computed == [source.command.split()[1] for source in sources[:3]]
    assert len(commands) == 3 + len(gallery.FIGURES) + len(gallery.TABLES)
    assert (tmp_path / "figures" / "README.md").is_file()
    text = (tmp_path / "docs" / "paper.md").read_text()
    assert (text.startswith("before"), text.endswith("after"), "old" in text) == (True, True, False)


def test_what_is_recomputed():
    """Every dataset that is read, by commands that exist."""
    grid = importlib.import_module("grid")
    sources = gallery.all_sources()
    paths = {source.path for source in sources}
    assert {"eq13.nc", "expressivity/quick/smnist_spread-critical.nc", "heterogeneous.nc"} < paths
    assert "expressivity/full-length/smnist_radius.nc" in paths
    for source in sources:
        command = source.command.split()
        assert (ROOT / command[1]).is_file()
        if command[1].endswith("expressivity.py"):
            asked = dict(zip(command[2::2], command[3::2], strict=True))
            assert (asked["--sweep"], asked["--task"]) in grid.ORDER
            assert asked["--task"] in grid.SETTINGS[asked["--scale"]]
            assert source.path == f"expressivity/{asked['--scale']}/{asked['--task']}_{asked['--sweep']}.nc"


def test_page(tmp_path):
    (tmp_path / "data").mkdir()
    lk.save(lk.load(ROOT / "data" / "power_spectra.nc"), tmp_path / "data" / "power_spectra.nc")
    (tmp_path / "fig3.png").write_bytes(b"")
    text = gallery.page(tmp_path, tmp_path / "data")
    for name in (*gallery.FIGURES, *gallery.TABLES):
        assert f"python figures/{name}.py" in text
        assert (ROOT / "figures" / f"{name}.py").is_file()
    assert "![fig3](output/fig3.png)" in text
    assert "![fig4]" not in text
    assert "| `power_spectra.nc` | `python analyses/power_spectra.py` | half a minute |" in text
    assert "smnist_radius.nc` (not computed yet)" in text
    assert "**seen** | largest at 0.22440 rad per step" in text
    assert text.count("**not yet at this scale**") == len(claims.CLAIMS) - 1
