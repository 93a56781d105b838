"""Tasks from arrays: classes and values, files, and what does not fit."""

import numpy as np
import pytest

import lyapkit as lk
from lyapkit.tasks import ArrayTask, task

RNG = np.random.default_rng(0)
INPUTS, TEST_INPUTS = RNG.normal(size=(40, 7, 3)), RNG.normal(size=(12, 7, 3))
CLASSES, TEST_CLASSES = np.arange(40) % 4, np.arange(12) % 5
VALUES, TEST_VALUES = INPUTS[:, 0, :2], TEST_INPUTS[:, 0, :2]


def test_classes():
    the_task = ArrayTask(INPUTS, CLASSES, TEST_INPUTS, TEST_CLASSES)
    assert (the_task.kind, the_task.n_steps, the_task.input_size, the_task.output_size) == ("classification", 7, 3, 5)
    assert the_task.iterations_per_epoch(8) == 5
    inputs, targets = (np.concatenate(parts) for parts in zip(*[the_task.batch(i, 8) for i in range(5)], strict=True))
    order = [int(np.flatnonzero((one == INPUTS).all((1, 2)))[0]) for one in inputs]
    assert sorted(order) == list(range(40))
    assert order != list(range(40))
    np.testing.assert_array_equal(targets, CLASSES[order])
    np.testing.assert_array_equal(the_task.test_samples(3)[0], TEST_INPUTS[:3])
    np.testing.assert_array_equal(the_task.test_samples(3)[1], TEST_CLASSES[:3])


@pytest.mark.parametrize("n_outputs", [None, 1, 2])
def test_values(n_outputs):
    pick = (slice(None), 0) if n_outputs is None else (slice(None), slice(n_outputs))
    the_task = ArrayTask(INPUTS, VALUES[pick], TEST_INPUTS, TEST_VALUES[pick])
    assert (the_task.kind, the_task.output_size) == ("regression", n_outputs or 1)
    inputs, targets = the_task.batch(2, 10)
    np.testing.assert_array_equal(targets, inputs[:, 0, : n_outputs or 1])


def test_a_network_learns_from_a_file(tmp_path):
    """The first input of the last step, which any recurrent network can read off."""
    inputs, test_inputs = INPUTS.astype(np.float32), TEST_INPUTS
    path = tmp_path / "mine.npz"
    np.savez(path, inputs=inputs, targets=inputs[:, -1, 0], test_inputs=test_inputs, test_targets=test_inputs[:, -1, 0])
    the_task = task(str(path))
    assert str(the_task) == "mine (7 steps, 3 inputs, 1 output)"
    network = lk.build_network("lstm", 3, 16, 1)
    metrics = lk.train([network], the_task, 300, batch_size=20, learning_rate=0.05).metrics
    assert metrics.attrs["task"] == "mine"
    assert len(metrics.attrs["data_sha256"]) == 64
    assert float(metrics.best_score[0]) < 0.4 * float(metrics.test_score[0, 0])


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((2, 8, 5), "have 2 inputs, the task own 3 inputs and 5 outputs: build them with input_size=3, output_size=5"),
        ((3, 8, 2), "have 3 inputs and 2 outputs, the task own 3 inputs and 5 outputs"),
    ],
)
def test_networks_that_do_not_fit(sizes, message):
    the_task = ArrayTask(INPUTS, CLASSES, TEST_INPUTS, TEST_CLASSES)
    with pytest.raises(ValueError, match=message):
        lk.train([lk.build_network("lstm", *sizes)], the_task, 1, batch_size=8)


def test_values_need_as_many_outputs():
    """More would be broadcast against the targets, without an error."""
    the_task = ArrayTask(INPUTS, VALUES[:, :1], TEST_INPUTS, TEST_VALUES[:, :1])
    with pytest.raises(ValueError, match="have 3 inputs and 2 outputs, the task own 3 inputs and 1 output"):
        lk.train([lk.build_network("wcrnn", 3, 8, 2)], the_task, 1, batch_size=8)


def test_a_run_goes_on_with_the_same_data_only(tmp_path):
    networks = [lk.build_network("wcrnn", 3, 4, 5)]
    lk.train(networks, ArrayTask(INPUTS, CLASSES, TEST_INPUTS, TEST_CLASSES), 2, batch_size=8, folder=tmp_path)
    other = ArrayTask(2 * INPUTS, CLASSES, TEST_INPUTS, TEST_CLASSES)
    with pytest.raises(ValueError, match="data_sha256 is"):
        lk.train(networks, other, 4, batch_size=8, folder=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"inputs": INPUTS[:, :, 0]}, r"inputs have shape \(40, 7\), expected \(sample, time, feature\)"),
        ({"inputs": INPUTS[:0], "targets": CLASSES[:0]}, "none of them 0"),
        ({"targets": CLASSES[:-1]}, r"targets have shape \(39,\), expected \(40,\) or \(40, outputs\)"),
        ({"targets": CLASSES - 1}, "classes, counted from 0, got -1"),
        ({"targets": CLASSES.astype(str)}, "targets must be numbers"),
        ({"targets": VALUES}, "targets are 2 values, test_targets classes"),
        ({"test_inputs": TEST_INPUTS[:, :, :2]}, "7 steps of 3 features, test_inputs 7 steps of 2 features"),
        ({"test_inputs": np.where(np.arange(12)[:, None, None] == 5, np.nan, TEST_INPUTS)}, "first at sample 5"),
        ({"test_targets": None}, "lacks test_targets: a task has the arrays inputs, targets, test_inputs"),
    ],
)
def test_what_does_not_fit(changed, message, tmp_path):
    arrays = {"inputs": INPUTS, "targets": CLASSES, "test_inputs": TEST_INPUTS, "test_targets": TEST_CLASSES} | changed
    path = tmp_path / "some.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=message):
        task(str(path))


def test_what_is_no_file_of_arrays(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        task(str(tmp_path / "none.npz"))
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(ValueError, match=r"is not a readable \.npz file"):
        task(str(tmp_path / "damaged.npz"))
    np.savez(tmp_path / "code.npz", inputs=np.array([print], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        task(str(tmp_path / "code.npz"))
    with pytest.raises(ValueError, match="no pixels to downsample"):
        task(str(tmp_path / "damaged.npz"), downsample=2)
