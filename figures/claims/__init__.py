"""The claims of the paper's Sections 3 and 4, each with what our data say of it.

A claim asks a question of datasets, by the names of `SOURCES`, and gets a verdict (seen, not seen, undecided, or not
yet at this scale) and the numbers: effects with their uncertainty. The docstring of the function that answers is the
criterion; what the verdicts mean in general says `judging.judged`. On data that are shuffled a claim is seen in 5 % of
the cases or fewer; on data made up so that it is true, in 90 % and more. `WAITING` are the claims without any data.
"""

from figures.claims import architectures, couplings, hessians, heterogeneity, lengths, radii, rotations, untrained
from figures.claims.judging import NOT_SEEN, NOT_YET, REGISTERED, SEEN, SOURCES, UNDECIDED
from figures.claims.waiting import WAITING

CLAIMS = sorted(REGISTERED, key=lambda claim: claim.section)

__all__ = [
    "CLAIMS",
    "NOT_SEEN",
    "NOT_YET",
    "SEEN",
    "SOURCES",
    "UNDECIDED",
    "WAITING",
    "architectures",
    "couplings",
    "hessians",
    "heterogeneity",
    "lengths",
    "radii",
    "rotations",
    "untrained",
]
