"""The adding problem's sequences and targets."""

import numpy as np
import pytest

from lyapkit.tasks.adding import adding


@pytest.mark.parametrize("length", [2, 7, 100])
def test_targets_are_sums_of_one_marked_value_of_each_half(length):
    inputs, targets = adding(500, length, 0)
    assert inputs.shape == (500, length, 2)
    half = length // 2
    for sequence, target in zip(inputs, targets, strict=True):
        (first,), (second,) = np.flatnonzero(sequence[:half, 1]), np.flatnonzero(sequence[half:, 1]) + half
        assert sequence[first, 0] + sequence[second, 0] == target[0]
    assert set(np.unique(inputs[:, :, 1])) <= {0.0, 1.0}
    assert inputs[:, :, 0].min() >= 0.0
    assert inputs[:, :, 0].max() <= 1.0


def test_always_answering_one_scores_0408():
    _, targets = adding(20_000, 50, 1)
    assert np.sqrt(np.mean((targets - 1.0) ** 2)) == pytest.approx(6**-0.5, abs=0.005)


def test_seeds_and_bad_sizes():
    np.testing.assert_array_equal(adding(3, 10, 5)[0], adding(3, 10, np.random.default_rng(5))[0])
    with pytest.raises(ValueError, match="at least 2 steps, got 3 of 1"):
        adding(3, 1, 0)
