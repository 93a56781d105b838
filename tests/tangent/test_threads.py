"""Frames large enough for LAPACK's threads: nothing may depend on how many there are."""

import numpy as np
import pytest
import torch
from torch import nn

import lyapkit as lk
from lyapkit.systems.classical import RandomNetwork
from lyapkit.tangent import lapack
from lyapkit.tangent import threads as sharing


@pytest.fixture(params=[2, 4])
def threads(request):
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(1)


# LAPACK's threads spin, so more of them than cores take a minute: those are slow tests
@pytest.mark.parametrize(
    ("threads", "n_trajectories", "n", "n_steps"),
    [
        (2, 3, 150, 200),
        (4, 3, 150, 200),
        (2, 3, 256, 130),
        (2, 1, 256, 130),  # fewer than threads: LAPACK has all of them
        pytest.param(4, 3, 256, 130, marks=pytest.mark.slow),
        pytest.param(2, 3, 400, 100, marks=pytest.mark.slow),
        pytest.param(4, 3, 400, 100, marks=pytest.mark.slow),
    ],
    indirect=["threads"],
)
def test_one_thread_and_several(threads, n_trajectories, n, n_steps):
    system = RandomNetwork(n, 1.2)
    start = system.initial_state(n_trajectories, torch.Generator().manual_seed(0))
    options = {"initial_state": start, "n_steps": n_steps, "n_transient": 5, "accuracy": 1e-12}
    several = lk.lyapunov_spectrum(system, **options)
    every = lk.lyapunov_spectrum(system, reorthonormalize=1, **options)
    torch.set_num_threads(1)
    one = lk.lyapunov_spectrum(system, **options)
    assert several.attrs["n_reconditionings"] > 0
    for other in (one, every):
        np.testing.assert_allclose(several.lyapunov_exponent, other.lyapunov_exponent, rtol=0, atol=1e-6)
        np.testing.assert_allclose(
            several.log_growth.sum("exponent").sum("interval"),
            other.log_growth.sum("exponent").sum("interval"),
            rtol=1e-9,
        )


@pytest.mark.parametrize(
    ("threads", "n_trajectories"), [(2, 2), (2, 1), pytest.param(4, 2, marks=pytest.mark.slow)], indirect=["threads"]
)
def test_lstm_of_128_units(threads, n_trajectories):
    """What crashed, or was wrong, with PyTorch's LU of batches. The sum is log|det| of the Jacobians, one by one."""
    module = nn.LSTM(4, 128, batch_first=True)
    inputs = torch.randn(n_trajectories, 40, 4)
    system = lk.from_module(module)
    ds = lk.lyapunov_spectrum(system, inputs)
    state, total = torch.zeros(n_trajectories, 256), torch.zeros(n_trajectories)
    for input in inputs.unbind(1):
        state, pushed = system.push(state, input, torch.eye(256).expand(n_trajectories, -1, -1))
        total += torch.stack([torch.linalg.slogdet(matrix)[1] for matrix in pushed])
    np.testing.assert_allclose(ds.lyapunov_exponent.sum("exponent") * 40, total, rtol=1e-10)


def test_threads_that_wait_for_work_are_sent_to_sleep_and_come_back(threads, monkeypatch):
    monkeypatch.setattr(sharing, "_N_CORES", 2)
    matrices = torch.randn(6, 80, 80)
    assert lapack._is_right_side_by_side(threads)
    before = (matrices.repeat(50, 1, 1) * 2).sum()  # PyTorch's threads are awake
    slept = []
    pauses = [lambda kind, pause=pause: slept.append(pause(kind)) for pause in sharing._pauses()]
    monkeypatch.setattr(sharing, "_pauses", lambda: pauses)
    factors, pivots, info = lapack.lu(matrices)
    assert len(slept) == len(pauses)
    assert not any(slept)
    assert not info.any()
    assert (matrices.repeat(50, 1, 1) * 2).sum() == before
    lower = factors.tril()
    order = lapack.columns_in_order_of_pivoting(pivots, 80)
    upper = factors.triu(1) + torch.eye(80)
    torch.testing.assert_close(lower @ upper, matrices.gather(2, order[:, None].expand_as(matrices)))


def test_a_machine_that_cannot_factor_side_by_side_does_so_one_after_the_other(monkeypatch):
    torch.set_num_threads(2)
    matrices = torch.randn(4, 80, 80)
    right = lapack.lu(matrices)
    shared_out = sharing.for_each

    def wrong(task, n_tasks, n_operations):
        shared_out(task, n_tasks - 1, n_operations)  # the last is left as it was

    monkeypatch.setattr(lapack, "for_each", wrong)
    lapack._is_right_side_by_side.cache_clear()
    try:
        assert not lapack._is_right_side_by_side(2)
        for one, other in zip(lapack.lu(matrices), right, strict=True):
            torch.testing.assert_close(one, other)
    finally:
        lapack._is_right_side_by_side.cache_clear()
        torch.set_num_threads(1)
    monkeypatch.undo()
    assert lapack._is_right_side_by_side(2)
