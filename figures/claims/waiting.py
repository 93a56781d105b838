"""Claims for which no data have been computed: their criteria stand before there is anything to see."""

from __future__ import annotations

from dataclasses import dataclass

from figures.claims.judging import NOT_YET, Verdict


@dataclass(frozen=True)
class WaitingClaim:
    """A sentence of the paper, what would be asked of data, and the data that this needs."""

    section: str
    text: str
    criterion: str
    lacks: str

    @property
    def verdict(self) -> Verdict:
        """The verdict, and what is missing."""
        return NOT_YET, f"missing: {self.lacks}"


WAITING = [
    WaitingClaim(
        "4",
        "Trainings are alike for N = 50, 100, 200 and batches of 64, 128, 256",
        "Expect the verdicts on radii to be the same for every N and batch.",
        "sweeps of the radius at two more N and two more batches, three networks each",
    ),
    WaitingClaim(
        "4.1",
        "On ADD, subcritical networks reach smaller errors than supercritical ones",
        "Expect the least RMS error of radii below 1 to be under that of radii above 1, by 0.01 and more, p ≤ 0.05.",
        "adding problems trained for the paper's 150 epochs, three networks for each r: ours stop at minimal "
        "performance, so that their least errors say nothing",
    ),
]
