"""Angles between directions and between the spaces that some of them span, and which spaces are worth a name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

import numpy as np
import torch

NEUTRAL = 1e-3  # of the largest |exponent|: what is nearer to zero than that is taken for zero
ERRORS = 3.0  # standard errors, likewise
AT_ONCE = 2**22  # numbers of vectors that are worked on at once


def neighbour_angles(vectors: np.ndarray) -> np.ndarray:
    """Return angles (…, k − 1), from 0 to π/2, between each of k unit vectors (…, k, N) and the next."""
    one, next_ = vectors[..., :-1, :], vectors[..., 1:, :]
    cosine = (one * next_).sum(-1, keepdims=True)
    return np.arctan2(np.linalg.norm(one - cosine * next_, axis=-1), np.abs(cosine[..., 0]))


def smallest_angle(vectors: np.ndarray, one: list[int], two: list[int]) -> np.ndarray:
    """Return the smallest principal angle (…), from 0 to π/2, between the spans of two sets of vectors (…, k, N)."""
    rows = vectors.reshape(-1, *vectors.shape[-2:])
    known = np.isfinite(rows).all((1, 2))
    angles = np.full(len(rows), np.nan)
    which = known.nonzero()[0]
    for chunk in np.array_split(which, max(1, rows.size // AT_ONCE)):
        if not len(chunk):
            continue
        a, b = (torch.linalg.qr(torch.from_numpy(rows[chunk][:, part]).double().mT)[0].mT for part in (one, two))
        cosine = torch.linalg.svdvals(a @ b.mT)[:, 0]
        a, b = (a, b) if len(one) <= len(two) else (b, a)
        sine = torch.linalg.svdvals(a - a @ b.mT @ b)[:, -1]
        angles[chunk] = torch.atan2(sine, cosine).numpy()
    return angles.reshape(vectors.shape[:-2])


def named_subspaces(exponents: np.ndarray, errors: np.ndarray) -> dict[str, list[int]]:
    """Return which exponents (k,), counted from 1, are unstable, neutral and stable; or fast and slow.

    Neutral are those that are zero to their standard errors. Where none is positive, the widest gap between
    neighbours divides the fast, those that fade slowest, from the slow.
    """
    rank = np.arange(1, len(exponents) + 1)
    near = np.maximum(
        ERRORS * np.nan_to_num(errors), NEUTRAL * np.abs(exponents[np.isfinite(exponents)]).max(initial=0)
    )
    is_neutral = np.abs(exponents) <= near
    if (exponents > near).any():
        names = {
            "unstable": (exponents > 0) & ~is_neutral,
            "neutral": is_neutral,
            "stable": (exponents < 0) & ~is_neutral,
        }
        return {name: rank[chosen].tolist() for name, chosen in names.items() if chosen.any()}
    finite = exponents[np.isfinite(exponents)]
    if len(finite) < 2:
        return {}
    cut = int(np.argmax(finite[:-1] - finite[1:])) + 1
    return {"fast": rank[:cut].tolist(), "slow": rank[cut:].tolist()}


def checked_subspaces(given: Mapping[str, Iterable[int]], k: int) -> dict[str, list[int]]:
    """Return named sets of exponents, counted from 1, or say what is wrong with them."""
    subspaces = {str(name): [int(rank) for rank in ranks] for name, ranks in given.items()}
    for name, ranks in subspaces.items():
        if not ranks or len(set(ranks)) < len(ranks) or min(ranks) < 1 or max(ranks) > k:
            raise ValueError(f"subspace {name!r} must hold different exponents from 1 to {k}, got {ranks}")
    for one, two in combinations(subspaces, 2):
        if set(subspaces[one]) & set(subspaces[two]):
            raise ValueError(f"subspaces {one!r} and {two!r} share exponents: the angle between them is zero")
    return subspaces
