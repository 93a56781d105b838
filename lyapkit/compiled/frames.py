"""Factorisations of frames in a compiled loop, and how late they came.

Written for `translation`. A frame is stored variable by variable, (N, k).
"""

from __future__ import annotations

import math

from lyapkit.compiled.translation import Doubles

CANCELLED = 0.1  # as in tangent.factorizations


def orthonormalize(frame: Doubles, n: int, k: int, n_alive: int, diagonal: Doubles) -> None:
    """Orthonormalise the first `n_alive` of k columns (n, k), in place, by Gram–Schmidt; the diagonal of R."""
    for j in range(n_alive):
        square = 0.0
        for i in range(n):
            square += frame[i * k + j] ** 2
        length = math.sqrt(square)
        diagonal[j] = length
        inverse = 1.0 / length
        for c in range(j + 1, n_alive):
            diagonal[c] = 0.0
        for i in range(n):
            own = frame[i * k + j] * inverse
            frame[i * k + j] = own
            for c in range(j + 1, n_alive):
                diagonal[c] += own * frame[i * k + c]
        for i in range(n):
            own = frame[i * k + j]
            for c in range(j + 1, n_alive):
                frame[i * k + c] -= own * diagonal[c]


def condition_of(frame: Doubles, n: int, k: int, n_alive: int, diagonal: Doubles, lengths: Doubles) -> float:
    """Orthonormalise a frame; the worst ratio of a column's length to what is left of it, infinite if none is."""
    for c in range(n_alive):
        lengths[c] = 0.0
    for i in range(n):
        for c in range(n_alive):
            lengths[c] += frame[i * k + c] ** 2
    longest = 0.0
    for c in range(n_alive):
        longest = max(longest, lengths[c])
    longest = CANCELLED * math.sqrt(longest)
    orthonormalize(frame, n, k, n_alive, diagonal)
    condition = 1.0
    for c in range(n_alive):
        left = diagonal[c]
        ratio = max(math.sqrt(lengths[c]), longest) / left
        if not (left > 0.0 and left < math.inf and ratio < math.inf):
            return math.inf
        condition = max(condition, ratio)
    return condition


def strain_of(
    frame: Doubles, state: Doubles, n: int, n_alive: int, grown: Doubles, condition: float, worst: float, span: float
) -> float:
    """Return by how much a factorisation came too late, infinite where states are not finite; `grown` become logs."""
    total = 0.0
    for i in range(n):
        total += abs(state[i])
    if not (condition < math.inf and total < math.inf):
        return math.inf
    strain = math.log(condition) / worst
    for c in range(n_alive):
        grown[c] = math.log(grown[c])
        strain = max(strain, abs(grown[c]) / span)
    return strain
