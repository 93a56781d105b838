"""Every row of the table in docs/checkpoints.md: the file is written, read, and its exponents compared; or refused."""

import re
import warnings

import checkpoint_table
import pytest

import lyapkit as lk

CASES = checkpoint_table.all_cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file)
def test_row(case, tmp_path, agrees):
    made = case.make(tmp_path)
    if case.refusal:
        expected = lk.CheckpointError if case.read is lk.load_system else ValueError
        with pytest.raises(expected, match=re.escape(case.refusal)) as refused:
            case.read(made.path, **case.options)
        assert "\n" not in str(refused.value)
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        system = case.read(made.path, **case.options)
    messages = [str(warning.message) for warning in caught if warning.category is not DeprecationWarning]
    if case.warning:
        assert any(case.warning in message for message in messages), messages
    else:
        assert not messages
    assert str(system) == case.system
    inputs = made.inputs()
    given = {"inputs": inputs[None]} if made.n_inputs else {"n_steps": len(inputs)}
    got = lk.lyapunov_spectrum(system, **given).lyapunov_exponent[0].values
    agrees(got, made.exponents(inputs), "checkpoints", within=case.atol)


def test_rows_are_told_apart():
    assert len({case.file for case in CASES}) == len(CASES)


def test_document_shows_the_table():
    """`python tests/models/checkpoint_table.py` writes it."""
    assert checkpoint_table.split_document()[1] == checkpoint_table.table()
