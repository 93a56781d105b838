"""Damaged and hostile files of every kind: no code runs, nothing crashes or hangs, and what is refused is one line."""

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
def test_five_hundred_changed_files(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import mutated_files

    outcomes, wrong, most = mutated_files.run(500, seed=1)
    assert wrong == []
    assert most["processor_seconds"] <= mutated_files.LONGEST
    assert most["bytes"] <= mutated_files.LARGEST
    assert all(counts["refused"] > 0 for counts in outcomes.values())  # else the changes are none
    sys.modules.pop("mutated_files")


def test_the_kept_summary_is_of_no_failure():
    kept = json.loads((BENCHMARKS / "mutated_files.json").read_text())
    assert kept["n_cases"] == 5000
    assert kept["wrong"] == []
    assert kept["totals"]["read"] + kept["totals"]["refused"] == 5000
    assert kept["longest_processor_seconds"] <= 5
    assert kept["largest_growth_mib"] <= 500
