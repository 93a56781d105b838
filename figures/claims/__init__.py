"""The claims of the paper's Section 4, each with what our data say of it: seen, not seen, or not yet at this scale.

A claim asks a question of datasets, by the names of `SOURCES`, and gets a verdict and the numbers. The docstring of the
function that answers says when the claim counts as seen.
"""

from claims import radii, rotations, heterogeneity, architectures  # noqa: F401, I001 — in the order of the paper
from claims.judging import CLAIMS, NOT_SEEN, NOT_YET, SEEN, SOURCES

__all__ = ["CLAIMS", "NOT_SEEN", "NOT_YET", "SEEN", "SOURCES"]
