"""Sweeps on a Dask cluster: two worker processes, one of which is killed midway."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import xarray as xr
from scripts import ROOT

import lyapkit as lk
from lyapkit.sweeps import join_cells, run_cells

distributed = pytest.importorskip("distributed")


def _slow_square(n, seconds):
    time.sleep(seconds)
    return xr.Dataset({"square": float(n**2), "worker": float(os.getpid())})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the cluster's, when it loses a worker
def test_a_worker_killed_midway_loses_nothing(tmp_path):
    cells = [{"n": n, "seconds": 0.3} for n in range(12)]
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as cluster,
        distributed.Client(cluster) as client,
    ):
        workers = set(client.run(os.getpid).values())
        assert len(workers) == 2
        victim = min(workers)
        killing = threading.Timer(0.8, os.kill, (victim, signal.SIGKILL))
        killing.start()
        paths = run_cells(_slow_square, cells, tmp_path, executor=client.get_executor(), progress=False)
        killing.join()
    ds = join_cells(paths, ["n"])
    np.testing.assert_array_equal(ds.square, np.arange(12.0) ** 2)
    used = set(ds.worker.values.astype(int))
    assert len(used | {victim}) == 3  # another one took the place of the one that was killed
    times = {path: path.stat().st_mtime_ns for path in paths}
    again = run_cells(_slow_square, cells, tmp_path, n_workers=1, progress=False)
    assert {path: path.stat().st_mtime_ns for path in again} == times
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert lk.load(paths[3]).attrs["cell"] == '{"n": 3, "seconds": 0.3}'


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_grid_goes_to_a_cluster(tmp_path):
    """As a person runs it. There is no time for the cell, but it is begun there: its state is kept."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:
        command = [sys.executable, str(ROOT / "analyses" / "expressivity.py"), "--folder", str(tmp_path)]
        command += ["--task", "add100", "--sweep", "radius", "--value", "0.95", "--seeds", "1", "--time-budget", "15"]
        done = subprocess.run(
            [*command, "--scheduler", cluster.scheduler_address], capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 0, done.stderr
    assert "0 of 1" in done.stdout
    (state,) = (tmp_path / "quick" / "add100_radius.parts").glob("radius_0.95_0_quick_*.run/state.safetensors")
    assert state.stat().st_size > 10_000
