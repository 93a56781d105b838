"""What is said before a long run: memory that is not there is refused, time that is long is announced."""

import re
import time

import numpy as np
import pytest
import torch
from torch import nn

import lyapkit as lk
from lyapkit import forecast

GIB = 2**30


def test_what_does_not_fit_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(forecast, "available_memory", lambda device: 1.0 * GIB)
    system = lk.classical.RandomNetwork(3000)
    with pytest.raises(
        ValueError, match=r"need about 1\.6\d GiB of memory, 1\.00 GiB are free on cpu: n_exponents=(\d+)"
    ) as error:
        lk.lyapunov_spectrum(system, initial_state=np.zeros(3000), n_steps=10, n_trajectories=4)
    fits = int(str(error.value).split("n_exponents=")[1].split()[0])
    forecast.require_memory(4, 10, 64, fits, system, torch.float64, torch.device("cpu"))
    with pytest.raises(ValueError, match="are free"):
        forecast.require_memory(4, 10, 64, fits + 1, system, torch.float64, torch.device("cpu"))


def test_inputs_count(monkeypatch):
    monkeypatch.setattr(forecast, "available_memory", lambda device: 100.0)
    with pytest.raises(ValueError, match="take fewer than 8 trajectories at a time, or shorter inputs"):
        lk.lyapunov_spectrum(lk.from_module(nn.GRU(3, 4)), torch.zeros(8, 500, 3))


def test_a_long_run_is_announced_with_a_faster_one(monkeypatch):
    monkeypatch.setattr(forecast, "LONG", 0.01)
    system = lk.from_module(nn.RNN(3, 80))
    with pytest.warns(lk.LongRunWarning, match=r"will take about \d+ seconds and .* n_exponents=10, about"):
        lk.lyapunov_spectrum(system, torch.zeros(2, 1000, 3))
    lk.lyapunov_spectrum(system, torch.zeros(1, 20, 3))  # is not


@pytest.mark.slow
def test_the_time_that_is_announced_is_about_right(monkeypatch):
    monkeypatch.setattr(forecast, "LONG", 0.01)
    system, inputs = lk.from_module(nn.LSTM(3, 100)), torch.randn(4, 600, 3)
    started = time.perf_counter()
    with pytest.warns(lk.LongRunWarning) as caught:
        lk.lyapunov_spectrum(system, inputs)
    took = time.perf_counter() - started
    announced = float(re.search(r"about (\d+) seconds", str(caught[0].message))[1])
    assert announced / 4 - 1 < took < 4 * announced + 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(90, "90 seconds"), (600, "10 minutes"), (9000, "2.5 hours"), (2e5, "2.3 days")]
)
def test_durations(seconds, text):
    assert forecast._duration(seconds) == text


def test_what_only_first_steps_cost_is_not_counted(monkeypatch):
    """A first factorisation loads libraries and starts threads, which once took a second of a run of twenty."""
    network, calls = lk.classical.RandomNetwork(100), []
    factored = forecast.cheapest

    def slow_at_first(*arguments):
        calls.append(time.sleep(0.0 if calls else 0.5))
        return factored(*arguments)

    monkeypatch.setattr(forecast, "cheapest", slow_at_first)
    state, frame = torch.zeros(1, 100, dtype=torch.float64), torch.eye(100, dtype=torch.float64)[None]
    assert forecast.announcement(network, state, frame, None, 2000, 0.0) == ""
    assert 1 < len(calls) <= forecast.TRIALS
