"""Values among weights that no training leaves behind, as bits that flipped in a file do."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from lyapkit.arguments import ReliabilityWarning

LARGE = 1e2  # from which on a weight, next to others that are far smaller, is no weight
FAR = 1e3  # from the median of those that are not zero
HUGE = 1e3  # of the median: where most are so large, that is no flipped bit, but no training either
_STATISTICS = ("running_mean", "running_var")  # which are as large as what they are of


def warn_of_wild_values(path: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """Warn of tensors with a value above 100 that is more than 1000 times the median of all, or a median above 1000.

    Most formats keep no checksums, and a bit that flips in an exponent makes such values, or not (then nothing tells).
    Where most values are so large, numbers were read in another byte order or scaled by something.

    Parameters
    ----------
    path : str or Path
        For the message.
    tensors : mapping
        Weights by the names that the file gives them.
    """
    wild = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or name.endswith(_STATISTICS):
            continue
        sizes = tensor.detach().double().abs().flatten()
        sizes = sizes[sizes > 0]
        if not sizes.numel():
            continue
        largest, median = float(sizes.max()), float(sizes.median())
        if largest > max(LARGE, FAR * median):
            wild[name] = f"{largest:.2g}, where the median is {median:.2g}"
        elif median > HUGE:
            wild[name] = f"values of which the median is {median:.2g}"
    if wild:
        said = "; ".join(f"{name} holds {values}" for name, values in wild.items())
        warnings.warn(
            f"{path}: {said}: no training leaves such weights, is the file damaged? They are taken as they are",
            ReliabilityWarning,
            stacklevel=5,
        )
