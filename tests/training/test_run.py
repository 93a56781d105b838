"""Training: against PyTorch's own optimiser, alone or together, stopped or not; what diverges; what is refused."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import lyapkit as lk
from lyapkit import residuals
from lyapkit.models import build_network
from lyapkit.tasks import AddingTask, task
from lyapkit.training import checkpoints, run, threads, train

OPTIONS = {"batch_size": 16, "learning_rate": 0.05, "evaluate_every": 10, "n_test_samples": 64, "dtype": torch.float64}


def _networks(radii=(0.9, 0.98, 1.0), kind="wcrnn", sizes=(2, 8, 1)):
    return [
        build_network(kind, *sizes, residual=residuals.scaled_identity(sizes[1], radius), coupling=0.1, seed=seed)
        for seed, radius in enumerate(radii)
    ]


def _same(one, other):
    assert all(
        torch.equal(p, q)
        for a, b in zip(one.networks, other.networks, strict=True)
        for p, q in zip(a.parameters(), b.parameters(), strict=True)
    )
    for name in one.metrics.data_vars:
        if name != "elapsed_time":
            np.testing.assert_array_equal(one.metrics[name], other.metrics[name])


@pytest.mark.parametrize("clip_norm", [None, 0.2])
@pytest.mark.parametrize("name", ["add20", "digits"])
def test_steps_are_those_of_pytorchs_optimiser(name, clip_norm, agrees):
    """With the module's own forward pass, PyTorch's loss, SGD and clipping."""
    the_task = task(name)
    sizes = (the_task.input_size, 8, the_task.output_size)
    (network,) = _networks((0.98,), sizes=sizes)
    result = train([network], the_task, 50, **OPTIONS, clip_norm=clip_norm, seed=3)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    clipped = False
    for iteration in range(50):
        inputs, targets = (torch.from_numpy(array) for array in the_task.batch(iteration, 16, seed=3))
        outputs = network(inputs.double())
        optimizer.zero_grad()
        if name == "digits":
            loss = torch.nn.functional.cross_entropy(outputs, targets)
        else:
            loss = torch.nn.functional.mse_loss(outputs, targets).sqrt()
        loss.backward()
        if clip_norm is not None:
            clipped |= bool(torch.nn.utils.clip_grad_norm_(network.parameters(), clip_norm) > clip_norm)
        optimizer.step()
    assert clipped == (clip_norm is not None)
    for ours, theirs in zip(result.networks[0].parameters(), network.parameters(), strict=True):
        # PyTorch divides by the norm plus 1e-6
        within = 1e-10 if clip_norm is None else 1e-4
        what = "training" if clip_norm is None else "clipped training"
        agrees(ours.detach(), theirs.detach(), what, within=within)


@pytest.mark.parametrize("kind", ["wcrnn", "wcrnn-a", "wcrnn-b"])
def test_together_is_as_alone(kind):
    networks, rates = _networks(kind=kind), [0.01, 0.05, 0.02]
    together = train(networks, AddingTask(20), 50, **OPTIONS | {"learning_rate": rates})
    for index, network in enumerate(networks):
        alone = train([network], AddingTask(20), 50, **OPTIONS | {"learning_rate": rates[index]})
        for ours, theirs in zip(together.networks[index].parameters(), alone.networks[0].parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
        for name in ("test_score", "test_loss", "train_loss"):
            np.testing.assert_allclose(together.metrics[name][index], alone.metrics[name][0], rtol=0, atol=1e-10)


def test_metrics():
    the_task = AddingTask(20)
    result = train(_networks(), the_task, 25, **OPTIONS)
    ds = result.metrics
    assert result.is_finished
    assert list(ds.iteration.values) == [0, 10, 20, 25]
    inputs, targets = (torch.from_numpy(array[:64]) for array in the_task.test_samples())
    for index, network in enumerate(result.networks):
        expected = float((network(inputs) - targets).square().mean().sqrt().detach())
        assert float(ds.test_score[index, -1]) == pytest.approx(expected, abs=1e-12)
        assert float(ds.best_score[index]) == pytest.approx(float(ds.test_score[index].min()), abs=1e-15)
    assert bool(ds.train_loss[:, 0].isnull().all())
    assert bool(ds.train_loss[:, 1:].notnull().all())
    for variable in ds.variables.values():
        assert variable.attrs["units"]
        assert variable.attrs["long_name"]
    assert json.loads(ds.attrs["parameters"])["learning_rate"] == 0.05
    assert ds.attrs["task"] == "add20"


def test_training_losses_are_means_since_the_evaluation_before():
    """With a rate too small to change anything, losses of the batches themselves."""
    (network,) = _networks((0.98,))
    the_task = AddingTask(20)
    ds = train([network], the_task, 20, **OPTIONS | {"learning_rate": 1e-300}).metrics
    losses = []
    for iteration in range(20):
        inputs, targets = (torch.from_numpy(array) for array in the_task.batch(iteration, 16))
        losses.append(float(the_task.loss(network(inputs), targets).detach()))
    np.testing.assert_allclose(ds.train_loss[0, 1:], [np.mean(losses[:10]), np.mean(losses[10:])], rtol=1e-10)


def test_a_network_that_diverges_is_named_and_leaves_the_others_alone():
    networks = _networks((0.9, 3.0, 1.0), kind="wcrnn-identity")
    for network in networks[1:2]:  # grows like 3^T until it overflows
        torch.nn.init.constant_(network.readout.weight, 1e30)
    options = OPTIONS | {"dtype": torch.float32}
    together = train(networks, AddingTask(60), 30, **options)
    ds = together.metrics
    assert list(ds.divergence_iteration.notnull().values) == [False, True, False]
    step = int(ds.divergence_iteration[1])
    assert 1 <= step <= 10
    assert bool(ds.test_score[1, 1:].isnull().all())
    assert bool(ds.test_score[[0, 2]].notnull().all())
    for parameter in together.networks[1].parameters():
        assert bool(parameter.isfinite().all())
    alone = train([networks[0], networks[2]], AddingTask(60), 30, **options)
    for index, other in ((0, 0), (2, 1)):
        np.testing.assert_allclose(ds.test_score[index], alone.metrics.test_score[other], rtol=1e-4)


def test_networks_rest_when_they_have_learnt_enough():
    networks = _networks((0.95, 0.95), sizes=(1, 20, 10))
    options = OPTIONS | {"learning_rate": [0.1, 1e-9], "batch_size": 32, "evaluate_every": 20}
    result = train(networks, task("digits"), 400, **options, stop_at_minimal_performance=True, minimal_performance=0.3)
    ds = result.metrics
    reached = int(ds.iterations_to_minimal_performance[0])
    assert 0 < reached < 400
    before = int(ds.iteration.values.searchsorted(reached))
    assert float(ds.test_score[0, before]) >= 0.3
    assert bool((ds.test_score[0, :before] < 0.3).all())
    assert len(np.unique(ds.test_score[0, before:])) == 1
    assert np.isnan(ds.iterations_to_minimal_performance[1])
    assert bool(ds.train_loss[0, before + 1 :].isnull().all())


def test_a_run_that_is_over_its_time_goes_on_as_if_it_had_not_been(tmp_path):
    the_task, calls = AddingTask(20), 0
    expected = train(_networks(), the_task, 40, **OPTIONS)
    result = train(_networks(), the_task, 40, **OPTIONS, folder=tmp_path, time_budget=0.0)
    assert not result.is_finished
    while not result.is_finished:
        result = train(_networks(), the_task, 40, **OPTIONS, folder=tmp_path, time_budget=0.02, resume=True)
        calls += 1
        assert calls < 1000
    _same(result, expected)
    again = train(_networks(), the_task, 40, **OPTIONS, folder=tmp_path, resume=True)
    _same(again, expected)
    longer = train(_networks(), the_task, 55, **OPTIONS, folder=tmp_path, resume=True)
    assert longer.metrics.iteration.values.tolist() == [0, 10, 20, 30, 40, 50, 55]


def test_checkpoints(tmp_path):
    result = train(_networks(), AddingTask(20), 20, **OPTIONS, folder=tmp_path, checkpoints=[0, 5])
    found = checkpoints(tmp_path, 1)
    assert list(found) == [0, 5, 20]
    inputs = torch.randn(3, 20, 2)
    assert torch.equal(lk.load_network(found[0])(inputs), _networks()[1](inputs))
    assert torch.equal(lk.load_network(found[20])(inputs), result.networks[1](inputs))
    with safe_open(found[5], "pt") as file:
        assert json.loads(file.metadata()["iteration"]) == 5
    ds = lk.over_training(lambda model: lk.ensemble_mean(lk.lyapunov_spectrum(model, inputs)), found)
    assert list(ds.step.values) == [0, 5, 20]
    with pytest.raises(FileNotFoundError, match="no checkpoints of network 7"):
        checkpoints(tmp_path, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be a positive number or 3 of them"),
        ({"learning_rate": [0.1, 0.1]}, "learning_rate must be a positive number or 3 of them"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1, got 1.0"),
        ({"clip_norm": 0.0}, "clip_norm must be positive"),
        ({"batch_size": 0}, "batch_size must be 1 to 12800 for add20, got 0"),
        ({"evaluate_every": -1}, "evaluate_every must be at least 1"),
    ],
)
def test_bad_numbers_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        train(_networks(), AddingTask(20), 20, **OPTIONS | change)
    with pytest.raises(ValueError, match="n_iterations must be at least 1"):
        train(_networks(), AddingTask(20), 0)


def test_other_runs_are_not_continued(tmp_path):
    train(_networks(), AddingTask(20), 10, **OPTIONS, folder=tmp_path)
    with pytest.raises(ValueError, match="holds a run already: continue it with resume"):
        train(_networks(), AddingTask(20), 10, **OPTIONS, folder=tmp_path)
    with pytest.raises(ValueError, match=r"another configuration: momentum is 0.9 there and 0.5 here"):
        train(_networks(), AddingTask(20), 10, **OPTIONS, momentum=0.5, folder=tmp_path, resume=True)
    with pytest.raises(ValueError, match="n_steps is 20 there and 30 here; task is add20 there and add30 here"):
        train(_networks(), AddingTask(30), 10, **OPTIONS, folder=tmp_path, resume=True)
    with pytest.raises(ValueError, match="initial_sha256 is"):
        train(_networks()[::-1], AddingTask(20), 10, **OPTIONS, folder=tmp_path, resume=True)
    (tmp_path / "state.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="is not the state of a training run"):
        train(_networks(), AddingTask(20), 10, **OPTIONS, folder=tmp_path, resume=True)


def test_a_run_of_later_samples_that_differ_is_not_continued(tmp_path):
    class Other(AddingTask):
        def batch(self, index, batch_size, seed=0):
            return super().batch(index if index == 0 else index + 100, batch_size, seed)

    options = OPTIONS | {"folder": tmp_path}
    train(_networks(), AddingTask(20), 10, **options)
    with pytest.raises(ValueError, match="its last batch, of iteration 10, is another one in this task"):
        train(_networks(), Other(20), 20, **options, resume=True)
    again = train(_networks(), AddingTask(20), 20, **options, resume=True)
    _same(again, train(_networks(), AddingTask(20), 20, **OPTIONS))


def test_a_run_goes_on_with_the_threads_it_began_with(tmp_path):
    """A GRU's gradients are rounded differently on other numbers of threads."""
    networks, options = [build_network("gru", 2, 100, 1, seed=0)], OPTIONS | {"batch_size": 128, "dtype": torch.float32}
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        expected = train(networks, AddingTask(60), 4, **options | {"evaluate_every": 2})
        train(networks, AddingTask(60), 2, **options | {"evaluate_every": 2, "folder": tmp_path})
        torch.set_num_threads(1)
        result = train(
            networks, AddingTask(60), 4, **options | {"evaluate_every": 2, "folder": tmp_path, "resume": True}
        )
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert result.metrics.attrs["n_threads"] == 2
    _same(result, expected)
    with pytest.warns(UserWarning, match="ignored: threads=1, it began with 2"):
        train(
            networks, AddingTask(60), 4, **options | {"evaluate_every": 2, "folder": tmp_path}, resume=True, threads=1
        )


@pytest.mark.parametrize(("speed_up", "expected"), [(0.5, 1), (0.98, 1), (1.0, 1), (1.5, 3), (3.0, 3)])
def test_the_faster_number_of_threads_is_found(monkeypatch, speed_up, expected):
    clock, before, on = [0.0], torch.get_num_threads(), []
    monkeypatch.setattr(threads.time, "perf_counter", lambda: clock[0])

    def step():
        on.append(torch.get_num_threads())
        first = 5.0 if len(on) == 1 else 1.0  # a first step takes longer, and one or another is disturbed
        clock[0] += first * (3.0 if len(on) == 3 else 1.0) / (speed_up if on[-1] == 3 else 1.0)

    assert threads.faster_number(step, 3) == expected
    assert on[1:] == [1, 3, 1, 3]
    assert threads.faster_number(step, 1) == 1
    assert torch.get_num_threads() == before


def test_threads_are_measured_chosen_and_noted(monkeypatch):
    """The steps that are measured are no part of the run; a short run is not measured; the user has the last word."""
    expected, seen = train(_networks(), AddingTask(20), 60, **OPTIONS, threads=1), []
    assert expected.metrics.attrs["n_threads"] == 1

    def faster(step, most):
        step()
        step()
        seen.append(most)
        return 1

    monkeypatch.setattr(run, "faster_number", faster)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        _same(train(_networks(), AddingTask(20), 60, **OPTIONS), expected)
        assert seen == [2]
        assert train(_networks(), AddingTask(20), 20, **OPTIONS).metrics.attrs["n_threads"] == 2
        assert train(_networks(), AddingTask(20), 60, **OPTIONS, threads=np.int64(1)).metrics.attrs["n_threads"] == 1
        assert seen == [2]
    finally:
        torch.set_num_threads(before)
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        train(_networks(), AddingTask(20), 60, **OPTIONS, threads=0)


def test_a_full_disk_keeps_what_was_there(tmp_path, monkeypatch):
    options = OPTIONS | {"folder": tmp_path, "resume": True}
    train(_networks(), AddingTask(20), 10, **options)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"cannot write .*: No space left on device; what was there before is kept"):
        train(_networks(), AddingTask(20), 20, **options)
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    _same(train(_networks(), AddingTask(20), 20, **options), train(_networks(), AddingTask(20), 20, **OPTIONS))


VICTIMS = """
import os, sys, torch
sys.path.insert(0, sys.argv[2])
torch.set_num_threads(1)
from test_run import OPTIONS, _networks
from lyapkit.tasks import AddingTask
from lyapkit.training import train
torch.set_default_dtype(torch.float64)
for _ in sys.stdin:  # one victim for each line
    victim = os.fork()
    if not victim:
        saved = {"folder": sys.argv[1], "resume": True, "checkpoints": range(0, 1000, 50)}
        train(_networks(), AddingTask(20), 1000, **OPTIONS, **saved)
        os._exit(0)
    print(victim, flush=True)
    print(os.waitpid(victim, 0)[1], flush=True)
"""


@pytest.mark.slow
def test_killed_at_fifty_random_moments(tmp_path):
    """By SIGKILL: every file is whole at any time, and in the end the run is what it would have been, bit for bit."""
    expected = train(_networks(), AddingTask(20), 1000, **OPTIONS)
    rng = np.random.default_rng(0)
    n_killed = 0
    arguments = [sys.executable, "-W", "ignore", "-c", VICTIMS, str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as victims:
        for _ in range(50):
            victims.stdin.write("next\n")
            victims.stdin.flush()
            victim = int(victims.stdout.readline())
            time.sleep(rng.uniform(0.0, 0.3))
            with contextlib.suppress(ProcessLookupError):  # it may have come to its end
                os.kill(victim, signal.SIGKILL)
            n_killed += int(victims.stdout.readline()) == signal.SIGKILL
            for path in tmp_path.glob("[!.]*.safetensors"):
                with safe_open(path, "pt") as file:
                    for name in file.keys():  # noqa: SIM118
                        assert name.startswith("history") or bool(file.get_tensor(name).isfinite().all())
            if (tmp_path / "metrics.nc").exists():
                assert len(lk.load(tmp_path / "metrics.nc").network) == 3
        victims.stdin.close()
    assert n_killed > 10  # those after the end of the run end by themselves
    assert any(tmp_path.glob("*.safetensors"))  # the killed ones came somewhere
    result = train(_networks(), AddingTask(20), 1000, **OPTIONS, folder=tmp_path, resume=True)
    _same(result, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", ["wcrnn", "wcrnn-a", "wcrnn-b"])
def test_on_a_gpu(kind):
    """Captured in a CUDA graph: the same steps as on a CPU, to rounding."""
    here, there = (
        train(_networks(kind=kind), AddingTask(20), 50, **OPTIONS, device=device) for device in ("cpu", "cuda")
    )
    for name in ("test_score", "test_loss", "train_loss"):
        np.testing.assert_allclose(there.metrics[name], here.metrics[name], rtol=0, atol=1e-9)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_loss_that_looks_at_values_is_not_captured():
    def loss(outputs, targets):
        error = (outputs - targets).square().mean()
        return error if error.item() < 1e6 else 2 * error

    here, there = (
        train(_networks(), AddingTask(20), 5, **OPTIONS, loss=loss, device=device) for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(there.metrics.train_loss, here.metrics.train_loss, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": np.arange(4)[3]},
        {"n_test_samples": np.int64(64)},
        {"clip_norm": np.float32(0.5)},
        {"learning_rate": np.array([0.05, 0.05, 0.05])},
        {"learning_rate": torch.full((3,), 0.05)},
        {"learning_rate": torch.tensor(0.05)},
        {"learning_rate": (np.float64(0.05), 0.05, torch.tensor(0.05))},
        {"batch_size": torch.tensor(16), "momentum": np.float64(0.9)},
        {"evaluate_every": np.int32(10), "checkpoints": np.array([0, 5]), "time_budget": np.float64(100)},
    ],
)
def test_numbers_of_numpy_and_torch_are_numbers(change, tmp_path):
    plain = {name: value if isinstance(value, tuple) else np.asarray(value).tolist() for name, value in change.items()}
    plain = {
        name: [float(rate) for rate in value] if isinstance(value, tuple) else value for name, value in plain.items()
    }
    options = OPTIONS | {"folder": tmp_path}
    result = train(_networks(), AddingTask(20), np.int64(10), **options | change)
    _same(result, train(_networks(), AddingTask(20), 10, **OPTIONS | plain, folder=tmp_path / "plain"))
    train(_networks(), AddingTask(20), 10, **options | plain, resume=True)  # the same configuration


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1.5}, "seed must be a whole number, got 1.5"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"n_test_samples": 0}, "n_test_samples must be at least 1"),
        ({"momentum": np.nan}, "momentum must be a number, got nan"),
        ({"clip_norm": "large"}, "clip_norm must be a number, got 'large'"),
        ({"learning_rate": [0.1, None, 0.1]}, "learning_rate must be a positive number or 3 of them"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative"),
    ],
)
def test_what_is_no_number_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        train(_networks(), AddingTask(20), 20, **OPTIONS | change)


HOLDER = """
import sys, time
from pathlib import Path
from lyapkit.training.folder import RunFolder
with RunFolder(Path(sys.argv[1])).locked():
    print("locked", flush=True)
    time.sleep(100)
"""


def test_one_run_at_a_time_in_a_folder(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        for resume in (False, True):
            with pytest.raises(ValueError, match=rf"is in use by process {other.pid} on .*: wait for it to end"):
                train(_networks(), AddingTask(20), 10, **OPTIONS, folder=tmp_path, resume=resume)
        other.kill()
        other.wait()
    train(_networks(), AddingTask(20), 10, **OPTIONS, folder=tmp_path)  # what the dead leave behind is no lock
    with pytest.raises(ValueError, match="holds a run already"):
        train(_networks(), AddingTask(20), 10, **OPTIONS, folder=tmp_path)


def _flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_damage_is_named(tmp_path):
    options = OPTIONS | {"folder": tmp_path, "resume": True}
    train(_networks(), AddingTask(20), 10, **options, checkpoints=[0, 5])
    found = checkpoints(tmp_path, 1)
    _flip(found[5], -9)
    with pytest.raises(ValueError, match=r"damaged checkpoints: network_01_step_0000005.safetensors \(its tensors are"):
        checkpoints(tmp_path, 1)
    assert list(checkpoints(tmp_path, 2)) == [0, 5, 10]
    with pytest.warns(UserWarning, match="damaged checkpoints, .*network_01_step_0000005"):
        result = train(_networks(), AddingTask(20), 20, **options)
    _same_weights = train(_networks(), AddingTask(20), 20, **OPTIONS)
    _same(result, _same_weights)
    found[5].unlink()
    assert list(checkpoints(tmp_path, 1)) == [0, 10, 20]
    for place in (-1, -1000, -3000):
        state = (tmp_path / "state.safetensors").read_bytes()
        _flip(tmp_path / "state.safetensors", place)
        with pytest.raises(ValueError, match=r"state.safetensors is (damaged|not the state)"):
            train(_networks(), AddingTask(20), 30, **options)
        (tmp_path / "state.safetensors").write_bytes(state)
    train(_networks(), AddingTask(20), 30, **options)


def test_resuming_says_what_it_ignores(tmp_path):
    options = OPTIONS | {"folder": tmp_path, "resume": True}
    train(_networks(), AddingTask(20), 20, **options)
    with pytest.warns(UserWarning, match=r"run of 20 iterations, ignored: n_iterations=10 and checkpoints at 0, 5"):
        train(_networks(), AddingTask(20), 10, **options, checkpoints=[0, 5])
    with pytest.raises(ValueError, match="it began with other initial weights than those of the networks given"):
        train([network.double() for network in _networks()][:2] + _networks()[:1], AddingTask(20), 30, **options)
    other = _networks()
    with torch.no_grad():
        other[1].coupling *= 2
    with pytest.raises(ValueError, match="it began with other buffers or frozen parameters"):
        train(other, AddingTask(20), 30, **options)
