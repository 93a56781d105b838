"""Spectra side by side."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import lyapkit as lk


def _diagonal(*factors):
    matrix = torch.diag(torch.tensor(factors))
    system = lk.Map(lambda state: matrix @ state, len(factors), initial_state=np.zeros(len(factors)))
    return lk.lyapunov_spectrum(system, n_steps=64)


def test_models_keep_their_own_exponents():
    spectra = {"slow": _diagonal(0.5, 0.9, 0.2), "fast": _diagonal(0.1)}
    ds = lk.compare(spectra)
    np.testing.assert_allclose(ds.lyapunov_exponent.sel(model="slow"), np.log([0.9, 0.5, 0.2]), atol=1e-12)
    np.testing.assert_allclose(ds.lyapunov_exponent.sel(model="fast"), [np.log(0.1), np.nan, np.nan], atol=1e-12)
    assert ds.n_exponents.values.tolist() == [3, 1]
    assert ds.lyapunov_exponent.attrs["units"] == "nats per step"
    assert json.loads(ds.attrs["systems"]).keys() == spectra.keys()
    table = lk.comparison_table(ds).splitlines()
    assert [line.split()[0] for line in table] == ["model", "nats/step", "slow", "fast"]
    assert "9.49" in table[2]  # the memory −1/log 0.9
    ax = lk.plot_comparison(ds)
    drawn = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    np.testing.assert_allclose(drawn["slow"], np.log([0.9, 0.5, 0.2]), atol=1e-12)


def test_what_cannot_be_compared():
    flow = lk.lyapunov_spectrum(lk.classical.lorenz(), n_steps=64)
    with pytest.raises(ValueError, match="are some of them flows"):
        lk.compare({"map": _diagonal(0.5), "flow": flow})
    with pytest.raises(ValueError, match="compare got for 'a' a dataset of x, expected a spectrum"):
        lk.compare({"a": xr.Dataset({"x": 1.0})})
    with pytest.raises(ValueError, match="no spectra"):
        lk.compare({})
    with pytest.raises(ValueError, match=r"expected what lyapkit\.compare returns"):
        lk.plot_comparison(_diagonal(0.5))


def test_several_checkpoints_from_the_shell(tmp_path, run):
    inputs = np.random.default_rng(0).normal(size=(2, 80, 3))
    np.save(tmp_path / "x.npy", inputs)
    modules = {"small": nn.LSTM(3, 4), "large": nn.LSTM(3, 6)}
    for name, module in modules.items():
        torch.save(module.state_dict(), tmp_path / f"{name}.pt")
    paths = [str(tmp_path / f"{name}.pt") for name in modules]
    code, out, err = run(
        "spectrum", *paths, "--inputs", str(tmp_path / "x.npy"), "--output", str(tmp_path / "both.nc"), "-q",
        "--plot", str(tmp_path / "both.png"),
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "small" in out
    assert (tmp_path / "both.png").stat().st_size > 1000
    ds = lk.load(tmp_path / "both.nc")
    for name, module in modules.items():
        alone = lk.ensemble_mean(lk.lyapunov_spectrum(module, inputs))
        together = ds.lyapunov_exponent.sel(model=name).dropna("exponent")
        np.testing.assert_allclose(together, alone.lyapunov_exponent, rtol=1e-12)
    code, out, _ = run("spectrum", paths[0], "--inputs", str(tmp_path / "x.npy"), "-q")
    assert (code, out.splitlines()[-1][:20]) == (0, "All directions fade:")


def test_version_and_interruption(tmp_path, run):
    code, out, _ = run("--version")
    assert (code, out) == (0, f"lyapkit {lk.__version__}\n")
    torch.save(nn.RNN(1, 30).state_dict(), tmp_path / "net.pt")
    command = [sys.executable, "-m", "lyapkit", "spectrum", "net.pt", "--steps", "100000000", "-q"]
    command += ["--nonlinearity", "tanh"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ)
    time.sleep(0.3)
    for _ in range(100):  # until it computes
        line = process.stderr.readline().decode()
        if "will take" in line:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: nothing was written" in err.decode()


def test_files_that_do_not_say_what_is_a_bound():
    """Older ones."""
    ds = _diagonal(0.9, 0.5).drop_vars("is_bound")
    together = lk.compare({"old": ds})
    assert not together.is_bound.values.any()
    np.testing.assert_allclose(together.lyapunov_exponent[0], np.log([0.9, 0.5]), atol=1e-12)
    assert "All directions fade" in lk.in_words(ds)
