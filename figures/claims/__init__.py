"""The claims of the paper's Section 4, each with what our data say of it: seen, not seen, or not yet at this scale.

A claim asks a question of datasets, by the names of `SOURCES`, and gets a verdict and the numbers. The docstring of the
function that answers says when the claim counts as seen.
"""

from claims import architectures, heterogeneity, radii, rotations
from claims.judging import NOT_SEEN, NOT_YET, REGISTERED, SEEN, SOURCES

CLAIMS = sorted(REGISTERED, key=lambda claim: claim.section)

__all__ = [
    "CLAIMS",
    "NOT_SEEN",
    "NOT_YET",
    "SEEN",
    "SOURCES",
    "architectures",
    "heterogeneity",
    "radii",
    "rotations",
]
