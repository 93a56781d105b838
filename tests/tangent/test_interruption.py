"""The first Ctrl-C is noted and says what it waits for; the second one interrupts."""

import signal

import pytest

from lyapkit.tangent.interruption import WAITING, noting_interruption


def test_the_first_one_is_noted_and_said_and_the_second_interrupts(capsys):
    before = signal.getsignal(signal.SIGINT)
    with noting_interruption(True) as is_interrupted:
        assert not is_interrupted()
        signal.raise_signal(signal.SIGINT)
        assert is_interrupted()
        assert capsys.readouterr().err == WAITING + "\n"  # before the wait, which may be long
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_where_it_is_not_wanted_it_interrupts_as_ever():
    with noting_interruption(False), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
