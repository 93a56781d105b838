"""What every refused file is told: one line that names the file and says why."""

import pytest

import lyapkit as lk


def assert_refused(path, match):
    with pytest.raises(lk.CheckpointError, match=match) as refused:
        lk.load_system(path)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
