"""The gallery: verdicts follow the data, what is missing is said, and the page names every figure."""

import importlib

import numpy as np
import pytest
import xarray as xr
from scripts import ROOT, script

import lyapkit as lk

gallery = script("figures", "gallery")
claims = importlib.import_module("claims")
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


def test_every_claim_has_a_verdict_on_the_committed_data():
    datasets, _ = script("figures", "drawing").read(claims.SOURCES, ROOT / "data")
    for claim in claims.CLAIMS:
        verdict, evidence = claim.verdict(datasets)
        assert verdict in (claims.SEEN, claims.NOT_SEEN, claims.NOT_YET)
        assert evidence
        assert "nan" not in evidence
        missing, what = claim.verdict({})
        assert (missing, what.startswith("missing: ")) == (claims.NOT_YET, True)


def test_page(tmp_path):
    (tmp_path / "data").mkdir()
    lk.save(lk.open(ROOT / "data" / "power_spectra.nc"), tmp_path / "data" / "power_spectra.nc")
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
