"""Targets: columns, one-hot, per step, with lengths and masks; what could mean two things is refused."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from lyapkit.tasks import ArrayTask, task
from lyapkit.tasks.task import IGNORED

T = 6
INPUTS = np.random.default_rng(0).normal(size=(24, T, 2))
CLASSES = np.arange(24) % 3
PER_STEP = (CLASSES[:, None] + np.arange(T)) % 4


def _task(targets, **options):
    test = {f"test_{name}": value for name, value in options.items() if name in ("lengths", "mask")}
    return ArrayTask(INPUTS, targets, INPUTS, targets, **options, **test)


@pytest.mark.parametrize(
    ("targets", "options"),
    [
        (CLASSES, {}),
        (CLASSES[:, None], {}),
        (CLASSES.astype(np.uint8)[:, None], {}),
        (np.eye(3, dtype=int)[CLASSES], {}),
        (np.eye(3, dtype=bool)[CLASSES], {}),
        (np.eye(3)[CLASSES], {"kind": "classification"}),
        (CLASSES[:, None].astype(float), {"kind": "classification"}),
        (torch.from_numpy(CLASSES)[:, None], {}),
    ],
)
def test_classes_in_all_forms(targets, options):
    the_task = _task(targets, **options)
    assert (the_task.kind, the_task.output_size, the_task.every_step) == ("classification", 3, False)
    np.testing.assert_array_equal(the_task.test_samples()[1], CLASSES)


@pytest.mark.parametrize(
    "targets", [PER_STEP, PER_STEP[..., None], np.eye(4, dtype=int)[PER_STEP], PER_STEP.astype(np.int8)]
)
def test_classes_at_every_step_in_all_forms(targets):
    the_task = _task(targets)
    assert (the_task.kind, the_task.output_size, the_task.every_step) == ("classification", 4, True)
    np.testing.assert_array_equal(the_task.test_samples()[1], PER_STEP)
    assert str(the_task) == "own (6 steps, 2 inputs, 4 outputs at every step)"


@pytest.mark.parametrize(("targets", "size"), [(INPUTS[..., 0], 1), (INPUTS[..., :1], 1), (INPUTS, 2)])
def test_values_at_every_step(targets, size):
    the_task = _task(targets)
    assert (the_task.kind, the_task.output_size, the_task.every_step) == ("regression", size, True)
    np.testing.assert_array_equal(the_task.test_samples()[1], INPUTS[..., :size])


@pytest.mark.parametrize(
    ("targets", "options", "message"),
    [
        (np.eye(3)[CLASSES], {}, "look one-hot: give classes as whole numbers, or say which they are with kind="),
        (CLASSES.astype(float), {}, r"whole numbers from 0 to \d, classes or values: give classes as whole numbers"),
        (CLASSES[:, None].astype(float), {}, "classes or values: give classes as whole numbers, or say which"),
        (np.eye(T, dtype=int)[CLASSES], {}, "could be one-hot, or classes at every step"),
        (np.eye(T, dtype=int)[PER_STEP][:, :3], {}, "have 3 steps, inputs 6"),
        (np.full((24, 4), 2), {}, "neither classes"),
        (np.full((24, T, 2), 2), {}, "neither classes"),
        (CLASSES + 0.5, {"kind": "classification"}, "not classes: they are not whole numbers"),
        (CLASSES - 1, {}, "classes, counted from 0, got -1"),
        (CLASSES, {"mask": np.ones((24, T))}, "a mask says which of the targets at every step count"),
        (CLASSES, {"lengths": np.full(24, T + 1)}, "lengths must be 1 to 6, got 7 at sample 0"),
        (CLASSES, {"lengths": np.full(24, 2.0)}, "whole numbers, got"),
        (PER_STEP, {"lengths": np.full(24, 0)}, "lengths must be 1 to 6, got 0"),
        (PER_STEP, {"mask": np.arange(T * 24).reshape(24, T) >= T}, "no step of sample 0 of targets counts"),
        (PER_STEP, {"mask": np.ones((24, 2))}, "mask must be"),
        (CLASSES, {"kind": "ordinal"}, "kind must be classification or regression"),
    ],
)
def test_what_is_refused(targets, options, message):
    with pytest.raises(ValueError, match=message):
        _task(targets, **options)


def test_whole_numbers_may_be_values():
    assert _task(CLASSES.astype(float), kind="regression").kind == "regression"
    assert _task(CLASSES.astype(float), kind="classification").kind == "classification"
    assert _task(3.0 * CLASSES).kind == "regression"
    the_task = _task(np.full((24, 4), 2), kind="regression")
    assert (the_task.kind, the_task.output_size, the_task.every_step) == ("regression", 4, False)


def test_loss_and_score_are_of_the_steps_that_count():
    lengths = np.arange(24) % T + 1
    mask = np.arange(T) % 2 == np.zeros((24, 1))
    counts = (np.arange(T) < lengths[:, None]) & mask
    outputs = torch.randn(2, 24, T, 4)
    the_task = _task(PER_STEP, lengths=lengths, mask=mask)
    _, targets, given = the_task.test_samples()
    np.testing.assert_array_equal(given, lengths)
    np.testing.assert_array_equal(targets, np.where(counts, PER_STEP, IGNORED))
    loss, score = (f(outputs, torch.from_numpy(targets)) for f in (the_task.loss, the_task.score))
    for one, own_loss, own_score in zip(outputs, loss, score, strict=True):
        logs = np.log(np.exp(one.numpy()) / np.exp(one.numpy()).sum(-1, keepdims=True))
        terms = [-logs[s, t, PER_STEP[s, t]] for s in range(24) for t in range(T) if counts[s, t]]
        assert float(own_loss) == pytest.approx(np.mean(terms), abs=1e-12)
        right = [logs[s, t].argmax() == PER_STEP[s, t] for s in range(24) for t in range(T) if counts[s, t]]
        assert float(own_score) == pytest.approx(np.mean(right), abs=1e-12)
        rows = cross_entropy(one.mT, torch.from_numpy(targets), ignore_index=IGNORED)
        assert float(own_loss) == pytest.approx(float(rows), abs=1e-12)
    the_task = _task(INPUTS, lengths=lengths, mask=mask)
    targets = torch.from_numpy(the_task.test_samples()[1])
    errors = (outputs[..., :2] - torch.from_numpy(INPUTS)).square().numpy()[:, counts]
    np.testing.assert_allclose(the_task.loss(outputs[..., :2], targets), np.sqrt(errors.mean((1, 2))), rtol=1e-12)


def test_files_hold_lengths(tmp_path):
    lengths = np.arange(24) % T + 1
    arrays = {"inputs": INPUTS, "targets": PER_STEP, "lengths": lengths}
    np.savez(tmp_path / "mine.npz", **arrays, **{f"test_{name}": array for name, array in arrays.items()})
    the_task = task(str(tmp_path / "mine.npz"))
    assert the_task.every_step
    assert the_task.has_lengths
    np.testing.assert_array_equal(the_task.batch(0, 24)[2].sum(), lengths.sum())
