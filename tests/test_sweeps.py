"""Sweeps: what is done is not done again, what fails is named, and cells are joined where they belong."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl
import torch
import xarray as xr

import lyapkit as lk
from lyapkit.sweeps import join_cells, joined, parted, run_cells, running

CALLS = []
BROKEN = set()


def compute(name, size, couplings=(0.1, 0.2)):
    CALLS.append((name, size))
    if name in BROKEN:
        raise ValueError(f"{name} is broken")
    couplings = list(couplings)
    values = np.outer(couplings, np.arange(size)) + len(name)
    return xr.Dataset(
        {"value": (("coupling", "exponent"), values, {"units": "nats per step"})},
        {"coupling": couplings, "exponent": np.arange(1, size + 1)},
    )


@pytest.fixture(autouse=True)
def _fresh():
    CALLS.clear()
    BROKEN.clear()


CELLS = [{"name": name, "size": size} for name in ("one", "three") for size in (3, 2)]


def test_cells_are_joined_by_coordinate(tmp_path):
    cells = [*CELLS, {"name": "one", "size": 1, "couplings": [0.3, 0.2]}]
    ds = join_cells(run_cells(compute, cells, tmp_path, n_workers=1, progress=False), ["name", "size"])
    assert ds.value.dims == ("name", "size", "coupling", "exponent")
    assert list(ds.name.values) == ["one", "three"]
    assert list(ds["size"].values) == [1, 2, 3]
    assert list(ds.coupling.values) == [0.1, 0.2, 0.3]
    assert ds.value.attrs["units"] == "nats per step"
    for cell in cells:
        expected = compute(**cell).value
        part = ds.value.sel(name=cell["name"], size=cell["size"])
        np.testing.assert_array_equal(part.sel(coupling=expected.coupling, exponent=expected.exponent), expected)
        assert int(part.notnull().sum()) == expected.size
    assert int(ds.value.sel(name="three", size=1).notnull().sum()) == 0
    assert ds.attrs["n_cells"] == 5


def test_what_was_joined_can_be_parted(tmp_path):
    ds = join_cells(run_cells(compute, CELLS[:-1], tmp_path, n_workers=1, progress=False), ["name", "size"])
    parts = parted(ds.assign(rate=("name", [1.0, 2.0])), ["name", "size"])
    assert [place for place, _ in parts] == [{"name": "one", "size": 2}, {"name": "one", "size": 3}, CELLS[2]]
    for place, part in parts:
        expected = compute(**place)
        assert list(part.data_vars) == ["value"]
        xr.testing.assert_identical(part.value.dropna("exponent"), expected.value)
    assert joined(parts, ["name", "size"]).equals(ds)


def test_a_run_goes_on_where_it_was_stopped(tmp_path):
    BROKEN.add("three")
    with pytest.raises(RuntimeError, match=r"2 of 4 cells failed: three_3, three_2; three_3: three is broken"):
        run_cells(compute, CELLS, tmp_path, n_workers=1, progress=False)
    assert [call[0] for call in CALLS] == ["one", "one", "three", "three"]
    BROKEN.clear()
    CALLS.clear()
    paths = run_cells(compute, CELLS, tmp_path, n_workers=1, progress=False)
    assert [call[0] for call in CALLS] == ["three", "three"]
    assert json.loads(lk.load(paths[1]).attrs["cell"]) == CELLS[1]


def test_a_changed_cell_is_computed_again(tmp_path):
    run_cells(compute, [{"name": "one", "size": 2, "couplings": [0.1]}], tmp_path, n_workers=1, progress=False)
    (path,) = run_cells(
        compute, [{"name": "one", "size": 2, "couplings": [0.5]}], tmp_path, n_workers=1, progress=False
    )
    assert len(CALLS) == 2
    assert list(lk.load(path).coupling.values) == [0.5]


def test_failures_elsewhere_are_named_after_all_others_are_done(tmp_path):
    BROKEN.add("one")
    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(RuntimeError, match=r"2 of 4 cells failed: one_3, one_2; .*broken"),
    ):
        run_cells(compute, CELLS, tmp_path, executor=executor, progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["three_2.nc", "three_3.nc"]


def test_worker_processes(tmp_path):
    cells = [{"n": n} for n in (1, 2, 3)]
    paths = run_cells(_made_elsewhere, cells, tmp_path, n_workers=2, progress=False)
    assert [float(lk.load(path).value) for path in paths] == [1.0, 4.0, 9.0]


def _made_elsewhere(n):
    return xr.Dataset({"value": float(n**2)})


def test_a_cell_that_runs_out_of_time_is_gone_on_with(tmp_path):
    def in_two_goes(n):
        CALLS.append(n)
        return None if n == 1 and CALLS.count(1) == 1 else xr.Dataset({"value": float(n)})

    cells = [{"n": n} for n in range(3)]
    first = run_cells(in_two_goes, cells, tmp_path, n_workers=1, progress=False)
    assert [path.name for path in first] == ["0.nc", "2.nc"]
    second = run_cells(in_two_goes, cells, tmp_path, n_workers=1, progress=False)
    assert [path.name for path in second] == ["0.nc", "1.nc", "2.nc"]
    assert CALLS == [0, 1, 2, 1]


def _killed_or_made(name):
    if name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return compute(name, 2)


def test_a_killed_worker_costs_its_cell_only(tmp_path):
    cells = [{"name": name} for name in ("killed", "one", "two", "three", "four")]
    with pytest.raises(RuntimeError, match=r"1 of 5 cells failed: killed; killed: its process was killed"):
        run_cells(_killed_or_made, cells, tmp_path, n_workers=2, progress=False)
    assert {path.stem for path in tmp_path.glob("*.nc")} == {"one", "two", "three", "four"}
    np.testing.assert_array_equal(lk.load(tmp_path / "four.nc").value, compute("four", 2).value)


def test_processes_do_not_hear_what_interrupts_this_one():
    """Else each would print a traceback where Ctrl-C, which goes to all, meets it while it starts."""
    before = signal.getsignal(signal.SIGINT)
    worker = running._process(1)
    assert signal.getsignal(signal.SIGINT) is before
    assert worker.submit(signal.getsignal, signal.SIGINT).result(60) == signal.SIG_IGN
    worker.shutdown()


ORPHANED = """
import os, sys, time
from pathlib import Path
from lyapkit.sweeps import run_cells

def slow(name):
    Path(sys.argv[1], name).write_text(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    run_cells(slow, [{"name": "a"}, {"name": "b"}], Path(sys.argv[1]), n_workers=2, progress=False)
"""


def test_processes_end_when_the_sweep_is_killed(tmp_path):
    """Else they hold the locks of their runs, and the cores."""
    (tmp_path / "sweep.py").write_text(ORPHANED)
    sweep = subprocess.Popen([sys.executable, str(tmp_path / "sweep.py"), str(tmp_path)])
    noted = [tmp_path / "a", tmp_path / "b"]
    deadline = time.monotonic() + 120
    while not all(path.is_file() and path.read_text() for path in noted) and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = [int(path.read_text()) for path in noted]
    sweep.kill()
    sweep.wait()
    while any(map(_is_running, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_is_running, workers))


def _is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.is_file() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def _threads(name):
    values = {library["internal_api"]: library["num_threads"] for library in threadpoolctl.threadpool_info()}
    return xr.Dataset({"blas": values["openblas"], "torch": torch.get_num_threads()})


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core has nothing to share")
def test_processes_share_the_cores(tmp_path, monkeypatch):
    """NumPy's and PyTorch's threads of every process are its share, and what this process uses stays as it is."""
    for name in running.THREADS_OF_LIBRARIES:
        monkeypatch.delenv(name, raising=False)
    n_workers = os.cpu_count()
    cells = [{"name": str(index)} for index in range(n_workers)]
    for path in run_cells(_threads, cells, tmp_path, n_workers=n_workers, progress=False):
        ds = lk.load(path)
        assert (int(ds.blas), int(ds.torch)) == (1, 1)
    assert not set(running.THREADS_OF_LIBRARIES) & set(os.environ)
