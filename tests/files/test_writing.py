"""Writing: to where it was meant and as it was there, found impossible before the work, and nothing left behind."""

import errno
import os
import signal
import stat
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import xarray as xr
from torch import nn

import lyapkit as lk
from lyapkit.files.writing import check_writable, replacing

DATASET = xr.Dataset({"a": ("x", np.arange(3.0))})


@pytest.fixture
def arguments(tmp_path):
    """A command but for its output."""
    safetensors.torch.save_file(nn.GRU(3, 2).state_dict(), tmp_path / "model.safetensors")
    np.save(tmp_path / "inputs.npy", np.random.default_rng(0).normal(size=(2, 20, 3)))
    return ["spectrum", tmp_path / "model.safetensors", "--inputs", tmp_path / "inputs.npy", "-q"]


def _no_work(*_, **__):
    pytest.fail("the work began")


def _fails(error):
    def fail(*_, **__):
        raise error

    return fail


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
def test_a_file_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "a.nc"
    path.touch()
    path.chmod(mode)
    lk.save(DATASET, path)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert lk.load(path).identical(DATASET)


def test_a_new_file_has_the_usual_mode(tmp_path):
    (tmp_path / "usual").touch()
    lk.save(DATASET, tmp_path / "a.nc")
    assert (tmp_path / "a.nc").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_link_stays_and_leads_to_the_result(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link, second = tmp_path / "elsewhere" / "t.nc", tmp_path / "l.nc", tmp_path / "m.nc"
    link.symlink_to(target)
    second.symlink_to(link)
    for _ in range(2):  # the target is missing at first
        lk.save(DATASET, second)
        assert link.is_symlink()
        assert second.is_symlink()
        assert lk.load(target).identical(DATASET)
    target.chmod(0o600)
    lk.save(DATASET, link)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["elsewhere", "l.nc", "m.nc", "t.nc"]


def test_what_is_no_place_for_a_file(tmp_path, run, arguments, monkeypatch):
    """Each is found before the work, and said in one line that names what was asked for."""
    monkeypatch.setattr(lk, "lyapunov_spectrum", _no_work)
    (tmp_path / "folder.nc").mkdir()
    os.mkfifo(tmp_path / "pipe.nc")
    (tmp_path / "circle.nc").symlink_to(tmp_path / "circle.nc")
    (tmp_path / "gone.nc").symlink_to(tmp_path / "nowhere" / "a.nc")
    for output, words in {
        "/dev/null": "it is a device",
        tmp_path / "pipe.nc": "it is a device",
        tmp_path / "folder.nc": "it is a folder",
        tmp_path / "nowhere" / "a.nc": f"the folder {tmp_path / 'nowhere'} does not exist",
        tmp_path / "gone.nc": f"the folder {tmp_path / 'nowhere'} does not exist",
        tmp_path / "circle.nc": "in a circle",
        tmp_path / ("a" * 300 + ".nc"): "File name too long",
        tmp_path / "model.safetensors" / "a.nc": "",
        tmp_path / "a.txt": "unknown type '.txt' of results, expected .nc or .csv",
        tmp_path / "a": "unknown type ''",
    }.items():
        code, out, err = run(*arguments, "--output", output)
        assert (code, out) == (2, ""), output
        assert err.startswith(f"lyapkit: cannot write {output}: ")
        assert words in err
        assert err.count("\n") == 1


@pytest.mark.skipif(sys.platform == "darwin", reason="its names are Unicode")
def test_a_folder_whose_name_is_not_utf8(tmp_path, run, arguments, monkeypatch):
    """The netCDF library cannot write there, which is said before the work; tables can be."""
    folder = tmp_path / os.fsdecode(b"d\xff")
    folder.mkdir()
    assert run(*arguments, "--output", folder / "a.csv")[0] == 0
    assert (folder / "a.csv").is_file()
    monkeypatch.setattr(lk, "lyapunov_spectrum", _no_work)
    code, _, err = run(*arguments, "--output", folder / "a.nc")
    assert code == 2
    assert "the name of its folder is not UTF-8" in err
    assert err.count("\n") == 1


def test_what_is_no_place_for_a_folder(tmp_path, run):
    (tmp_path / "file").touch()
    command = ["sweep", "henon", "a=1.2:1.4:3", "--steps", "2000", "--folder"]
    for folder, words in {
        tmp_path / "file": "it is a file",
        tmp_path / "file" / "folder": f"{tmp_path / 'file'} is a file",
        "/proc/nothing/folder": "No such file or directory",
    }.items():
        code, out, err = run(*command, folder)
        assert (code, out, err) == (2, "", f"lyapkit: cannot use {folder} as a folder: {words}\n")


def test_inputs_are_not_replaced(tmp_path, run, arguments):
    inputs = tmp_path / "inputs.nc"
    values = xr.DataArray(np.zeros((1, 9, 3)), dims=("trajectory", "time", "feature"), name="inputs")
    values.to_netcdf(inputs)
    before = inputs.read_bytes()
    (tmp_path / "link.nc").symlink_to(inputs)
    os.link(inputs, tmp_path / "hard.nc")
    arguments[3] = inputs
    for name in ("inputs.nc", "link.nc", "hard.nc"):
        code, _, err = run(*arguments, "--output", tmp_path / name)
        assert (code, err.count("\n")) == (2, 1)
        assert f"it is what the work reads, {inputs}" in err
    (tmp_path / "model.png").write_bytes((tmp_path / "model.safetensors").read_bytes())
    arguments[1] = tmp_path / "model.png"
    assert "it is what the work reads" in run(*arguments, "--plot", tmp_path / "model.png")[2]
    assert inputs.read_bytes() == before


def test_a_full_disk_is_found_before_the_work(tmp_path, run, arguments, monkeypatch):
    monkeypatch.setattr(lk, "lyapunov_spectrum", _no_work)
    monkeypatch.setattr(os, "fsync", _fails(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))
    code, _, err = run(*arguments, "--output", tmp_path / "a.nc")
    assert (code, err) == (2, f"lyapkit: cannot write {tmp_path / 'a.nc'}: No space left on device\n")
    assert not list(tmp_path.glob(".*"))


def _write_and_fail(path, error):
    with replacing(path) as temporary:
        raise error(str(temporary))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (lambda temporary: OSError(errno.EDQUOT, "Disk quota exceeded", temporary), "Disk quota exceeded"),
        (lambda temporary: OSError(-101, "NetCDF: HDF error", temporary), "NetCDF: HDF error ("),
        (lambda temporary: RuntimeError(f"cannot close {temporary}"), "cannot close "),
    ],
)
def test_a_failed_write_names_the_file_and_the_reason(tmp_path, error, words):
    path = tmp_path / "a.nc"
    with pytest.raises(OSError, match="cannot write") as raised:
        _write_and_fail(path, error)
    assert str(raised.value).startswith(f"cannot write {path}: {words}")
    assert ".lyapkit" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_long_names_need_no_longer_ones(tmp_path):
    path = tmp_path / ("a" * 252 + ".nc")  # the longest that there are
    check_writable(path)
    assert lk.load(lk.save(DATASET, path)).identical(DATASET)


def test_what_killed_runs_left_is_removed(tmp_path):
    """And what others are writing just now is not."""
    program = (
        "import sys, time; from pathlib import Path; from lyapkit.files.writing import replacing\n"
        "with replacing(Path(sys.argv[1])): print(flush=True); time.sleep(60)"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, tmp_path / f"{k}.nc"], stdout=subprocess.PIPE)
        for k in range(2)
    ]
    for writer in writers:
        writer.stdout.readline()
    writers[0].send_signal(signal.SIGKILL)
    writers[0].wait()
    assert len(list(tmp_path.glob(".lyapkit-*"))) == 2
    lk.save(DATASET, tmp_path / "a.nc")
    left = list(tmp_path.glob(".lyapkit-*"))
    assert [f"-{writers[1].pid}-" in file.name for file in left] == [True]
    os.utime(left[0], times=(0, time.time() - 8 * 24 * 3600))  # nobody writes for a week
    lk.save(DATASET, tmp_path / "a.nc")
    assert not list(tmp_path.glob(".lyapkit-*"))
    for writer in writers:
        writer.kill()
        writer.wait()
        writer.stdout.close()


def test_tables(tmp_path, run, arguments):
    """A .csv file has one row per trajectory and exponent, with the values of the .nc file, and says what it lacks."""
    code, out, _ = run(*arguments, "--output", tmp_path / "a.csv")
    assert code == 0
    assert f"wrote {tmp_path / 'a.csv'}\nwhich has no room for log_growth, condition" in out
    assert run(*arguments, "--output", tmp_path / "a.nc")[0] == 0
    table, ds = pd.read_csv(tmp_path / "a.csv"), lk.load(tmp_path / "a.nc")
    assert list(table.columns[:3]) == ["trajectory", "exponent", "lyapunov_exponent"]
    assert len(table) == 2 * 2
    for _, row in table.iterrows():
        one = ds.sel(trajectory=row["trajectory"], exponent=row["exponent"])
        assert row["lyapunov_exponent"] == float(one.lyapunov_exponent)
        assert row["standard_error"] == float(one.standard_error)


def test_tables_of_losses_and_numbers(tmp_path):
    lk.save(xr.Dataset({"a": ((), 3.5), "b": ("x", np.zeros(2))}), tmp_path / "a.csv")
    assert pd.read_csv(tmp_path / "a.csv").iloc[0]["a"] == 3.5
    lk.save(xr.Dataset({"a": ("x", [-np.inf, np.nan])}), tmp_path / "a.csv")
    np.testing.assert_array_equal(pd.read_csv(tmp_path / "a.csv")["a"], [-np.inf, np.nan])
