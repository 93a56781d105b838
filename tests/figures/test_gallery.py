"""The gallery: verdicts follow the data, what is missing is said, and the page names every figure."""

import re

import numpy as np
import pytest
import xarray as xr
from scripts import ROOT

import lyapkit as lk
from analyses import grid
from figures import claims, gallery, summary


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


def test_the_page_says_what_the_data_say():
    data = summary.data(ROOT / "data")
    text = (ROOT / "docs" / "paper.md").read_text()
    assert summary.inserted(text, data) == text, "run `python figures/gallery.py`"
    marks = [mark.format("trainings") for mark in (summary.BEGIN, summary.END)]
    assert summary.block("trainings", lambda needs: {}).splitlines() == marks
    with pytest.raises(ValueError, match="marks"):
        summary.inserted("no marks", data)


def test_sentences_are_of_the_data():
    ds = _sweep_of("radius", {0.9: 0.5, 0.99: 0.82, 1.01: 0.3}, [400, 150, np.nan])
    faster = _sweep_of("radius", {0.9: 0.5, 1.01: 0.3})
    faster["test_loss"] = faster.test_score.copy(data=[[[2.0, 9.0, 9.0]], [[2.0, 1.0, 2.5]]])
    text = summary.radii(ds, _sweep_of("radius", {0.9: 0.5, 1.0: 0.61}), faster)
    assert "400 iterations at r = 0.9, the smallest at which all networks find it, and 150 at r = 0.99" in text
    assert "from 0.50 to 0.82 at r = 0.99" in text
    assert "best at r = 1, 0.61" in text
    assert "At three times that learning rate 1 of 1 networks above 1 collapse." in text
    never = ds.where(ds.radius > 1)
    assert summary.radii(never, never, faster) == "No radius of the residual is learnt by all networks."
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
    drawn = []
    monkeypatch.setattr(gallery, "draw_all", lambda names: drawn.extend(names) or [])
    (tmp_path / "figures").mkdir()
    marks = [f"{gallery.summary.BEGIN} old {gallery.summary.END}".format(part, part) for part in gallery.summary.PARTS]
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "paper.md").write_text(f"before {' between '.join(marks)} after")
    monkeypatch.setattr("sys.argv", ["gallery.py", "--recompute"])
    gallery.main()
    assert [command[1] for command in commands] == [source.command.split()[1] for source in sources[:3]]
    assert drawn == [*gallery.FIGURES, *gallery.TABLES]
    assert (tmp_path / "figures" / "README.md").is_file()
    text = (tmp_path / "docs" / "paper.md").read_text()
    assert (text.startswith("before"), text.endswith("after"), "old" in text) == (True, True, False)


def test_drawing_says_what_failed(monkeypatch, tmp_path):
    (tmp_path / "figures").mkdir()
    for name, code in (("good", "print('said')"), ("bad", "raise SystemExit('no data')")):
        (tmp_path / "figures" / f"{name}.py").write_text(code)
    monkeypatch.setattr(gallery, "ROOT", tmp_path)
    monkeypatch.setattr("sys.argv", [])
    assert re.fullmatch(r"good: \d+\.\d s", gallery.draw("good"))
    assert re.fullmatch(r"bad: \d+\.\d s, SystemExit: no data", gallery.draw("bad"))


def test_what_is_recomputed():
    """Every dataset that is read, by commands that exist."""
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
    assert "| The maximal peak of sMNIST's power spectrum is at 2π/28 | [**seen**](#data-peak-at-their-rows) |" in text
    assert "- largest at 0.22440 rad per step" in text
    assert text.count("[**not yet at this scale**]") == len(claims.CLAIMS) + len(claims.WAITING) - 2
