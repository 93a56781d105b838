import json
import os
import signal
import sys

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin stop tests that run side by side
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's and SciPy's: the same, and PyTorch's are counted below
import matplotlib
import matplotlib.pyplot
import numpy as np
import pytest
import torch

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what runs in the background ignore it
matplotlib.use("Agg")
torch.set_num_threads(1)  # tests run side by side


def pytest_collection_modifyitems(items):
    if "LYAPKIT_DATA" not in os.environ:
        skip = pytest.mark.skip(reason="needs MNIST and CIFAR-10 in the folder LYAPKIT_DATA")
        for item in items:
            if "needs_data" in item.keywords:
                item.add_marker(skip)


@pytest.fixture(autouse=True)
def _float64_and_seed():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(autouse=True)
def _close_figures():
    yield
    matplotlib.pyplot.close("all")


@pytest.fixture
def run(monkeypatch, capsys):
    """The command line, run in this process: arguments to exit code, standard output and standard error."""
    from lyapkit import cli

    def run_command(*arguments):
        monkeypatch.setattr(sys, "argv", ["lyapkit", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            cli.main()
        out, err = capsys.readouterr()
        return exit_.value.code, out, err

    return run_command


@pytest.fixture
def agrees(record_property):
    """Assert that numbers are as expected, and note how far apart they are for the table in docs/validation.md."""

    def check(got, expected, kind, within):
        got, expected = (np.asarray(of, dtype=float) for of in (got, expected))
        difference = float(np.abs(got - expected).max(initial=0.0))
        assert difference <= within, (difference, got, expected)
        noted = {"kind": kind, "n_numbers": got.size, "difference": difference, "allowed": within}
        record_property("agreement", json.dumps(noted))

    return check
