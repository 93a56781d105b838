"""A spectrum continued is that of a run that was never stopped."""

import os
import signal

import numpy as np
import pytest
import torch
from torch import nn

import lyapkit as lk
from lyapkit.tangent import propagation

CONTRACTING = lk.Map(lambda s: torch.stack([0.5 * torch.sin(s[0] + s[1]), 0.3 * torch.cos(s[0]) * s[1]]), 2)
PLAIN = {"n_transient": 20, "initial_state": np.array([[0.2, 0.5], [1.0, -0.3]])}


def _inputs(n_trajectories, n_steps):
    return np.random.default_rng(0).normal(size=(n_trajectories, n_steps, 3))


def _same(extended, whole, rtol=1e-9):
    for name in ("lyapunov_exponent", "final_state", "next_state"):
        np.testing.assert_allclose(extended[name], whole[name], rtol=rtol, atol=rtol)
    cosine = (extended["final_frame"] * whole["final_frame"]).sum("state")  # the signs of vectors mean nothing
    np.testing.assert_allclose(np.abs(cosine), 1, rtol=rtol)
    np.testing.assert_array_equal(extended["direction"], whole["direction"])
    np.testing.assert_allclose(extended["duration"].sum(), whole["duration"].sum(), rtol=1e-12)
    np.testing.assert_allclose(extended["end_time"], np.cumsum(extended["duration"].values), rtol=1e-12)
    total = extended["log_growth"].sum("interval") / extended["duration"].sum()
    np.testing.assert_allclose(total, extended["lyapunov_exponent"], rtol=1e-12)
    for name in ("interrupted", "parameters", "inputs_sha256", "seen_inputs_sha256", "system", "state_size"):
        assert extended.attrs.get(name) == whole.attrs.get(name)


@pytest.mark.parametrize("options", [{}, {"reorthonormalize": 5}, {"n_exponents": 1}])
def test_a_map(options, tmp_path):
    options = PLAIN | options | {"keep_state": True}
    ds = lk.lyapunov_spectrum(CONTRACTING, n_steps=40, **options)
    whole = lk.lyapunov_spectrum(CONTRACTING, n_steps=100, **options)
    _same(lk.extend(ds, CONTRACTING, n_steps=60), whole)
    lk.save(ds, tmp_path / "a.nc")
    twice = lk.extend(lk.extend(lk.load(tmp_path / "a.nc"), CONTRACTING, n_steps=25), CONTRACTING, n_steps=35)
    _same(twice, whole)


def test_directions_that_are_not_in_order():
    system = lk.Map(lambda s: torch.stack([0.2 * torch.sin(s[0]), 0.9 * torch.sin(s[1])]), 2, initial_state=[1.0, 1.0])
    ds = lk.lyapunov_spectrum(system, n_steps=40, keep_state=True)
    extended = lk.extend(ds, system, n_steps=60)
    _same(extended, lk.lyapunov_spectrum(system, n_steps=100, keep_state=True))
    np.testing.assert_array_equal(extended["direction"], [[1, 0]])


def test_a_network_along_inputs():
    system, inputs = lk.from_module(nn.LSTM(3, 4)), _inputs(2, 90)
    ds = lk.lyapunov_spectrum(system, inputs[:, :50], n_transient=10, keep_state=True)
    whole = lk.lyapunov_spectrum(system, inputs, n_transient=10, keep_state=True)
    _same(lk.extend(ds, system, inputs), whole)
    zero = lk.lyapunov_spectrum(system, n_steps=30, keep_state=True)
    _same(lk.extend(zero, system, n_steps=20), lk.lyapunov_spectrum(system, n_steps=50, keep_state=True))


def test_a_flow_and_single_precision():
    flow = lk.Flow(lambda s: torch.stack([s[1], -torch.sin(s[0]) - 0.2 * s[1]]), 2, time_step=0.05)
    options = {"initial_state": [1.0, 0.0], "keep_state": True}
    ds = lk.lyapunov_spectrum(flow, n_steps=100, **options)
    _same(lk.extend(ds, flow, n_steps=50), lk.lyapunov_spectrum(flow, n_steps=150, **options))
    options = PLAIN | {"keep_state": True, "dtype": "float32"}
    ds = lk.lyapunov_spectrum(CONTRACTING, n_steps=40, **options)
    _same(lk.extend(ds, CONTRACTING, n_steps=60), lk.lyapunov_spectrum(CONTRACTING, n_steps=100, **options), 1e-3)


def test_what_does_not_go_on_is_refused():
    system, inputs = lk.from_module(nn.LSTM(3, 4)), _inputs(2, 90)
    ds = lk.lyapunov_spectrum(system, inputs[:, :50], keep_state=True)
    with pytest.raises(ValueError, match="keep_state=True"):
        lk.extend(lk.lyapunov_spectrum(system, inputs), system, inputs)
    with pytest.raises(ValueError, match="not the system of this spectrum"):
        lk.extend(ds, lk.from_module(nn.LSTM(3, 4)), inputs)
    with pytest.raises(ValueError, match="first 50 steps of inputs are not those"):
        lk.extend(ds, system, inputs[:, ::-1].copy())
    with pytest.raises(ValueError, match="has seen 50 already"):
        lk.extend(ds, system, inputs[:, 50:])
    with pytest.raises(ValueError, match="expected a spectrum"):
        lk.extend(ds.drop_vars("log_growth"), system, inputs)
    with pytest.raises(ValueError, match="trajectories of one length"):
        lk.lyapunov_spectrum(system, list(inputs), keep_state=True)


@pytest.mark.filterwarnings("ignore::lyapkit.LostDirectionWarning")
def test_lost_directions_are_refused():
    dead = lk.Map(lambda s: torch.stack([s[0] / 2, 0.0 * s[1]]), 2, initial_state=[1.0, 1.0])
    ds = lk.lyapunov_spectrum(dead, n_steps=20, keep_state=True)
    with pytest.raises(ValueError, match="were lost"):
        lk.extend(ds, dead, n_steps=20)


def test_an_interrupted_run_keeps_what_was_done(monkeypatch):
    """Ctrl-C in the third interval: it is finished, and the rest can be had later."""
    passed, pass_interval = [], propagation.Propagation.pass_interval

    def interrupted(self, length):
        passed.append(length)
        if len(passed) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        pass_interval(self, length)

    options = {"initial_state": PLAIN["initial_state"], "keep_state": True, "reorthonormalize": 10, "check": False}
    with monkeypatch.context() as patch:
        patch.setattr(propagation.Propagation, "pass_interval", interrupted)
        with pytest.warns(lk.ReliabilityWarning, match="interrupted after 30 of 100 steps"):
            ds = lk.lyapunov_spectrum(CONTRACTING, n_steps=100, **options)
    assert passed == [10, 10, 10]
    assert ds.attrs["interrupted"] == "after 30 of 100 steps"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    _same(
        lk.extend(ds, CONTRACTING, n_steps=70),
        lk.lyapunov_spectrum(CONTRACTING, n_steps=100, **options),
    )
