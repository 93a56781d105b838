"""`Targets`: what the targets of a task mean, found out from their type and shape; what is ambiguous is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lyapkit.arguments import as_array
from lyapkit.tasks.task import IGNORED

Kind = Literal["classification", "regression"]


@dataclass(frozen=True)
class Targets:
    """Targets that are understood.

    Attributes
    ----------
    values : ndarray
        Classes (S,) or (S, T), int64; or values (S, O) or (S, T, O), floating-point.
    kind : "classification" or "regression"
    every_step : bool
        Whether there is a target at every step.
    output_size : int
        Number of outputs that a network needs.
    """

    values: np.ndarray
    kind: Kind
    every_step: bool
    output_size: int

    @classmethod
    def of(cls, targets: np.ndarray, n_samples: int, n_steps: int, name: str, kind: Kind | None = None) -> Targets:
        """Return what targets (S, …) of sequences of T steps mean.

        Raises
        ------
        ValueError
            If they are not what targets are, or could mean two things.
        """
        targets = _numbers(targets, name)
        if kind not in (None, "classification", "regression"):
            raise ValueError(f"kind must be classification or regression, got {kind!r}")
        if targets.ndim not in (1, 2, 3) or len(targets) != n_samples or not targets.size:
            raise ValueError(
                f"{name} have shape {targets.shape}, expected ({n_samples},) or ({n_samples}, outputs), or "
                f"({n_samples}, {n_steps}) or ({n_samples}, {n_steps}, outputs) for targets at every step"
            )
        if targets.ndim == 3 and targets.shape[1] != n_steps:
            raise ValueError(
                f"{name} have {targets.shape[1]} steps, inputs {n_steps}: a target at every step is needed"
            )
        is_whole = targets.dtype.kind in "iub"
        if not is_whole and kind is None and targets.ndim > 1 and _is_one_hot(targets):
            raise ValueError(
                f"{name} of {targets.dtype} look one-hot: give classes as whole numbers, or say which they are with "
                "kind='classification' or kind='regression'"
            )
        if not is_whole and kind is None and targets.size == n_samples and _are_like_classes(targets):
            raise ValueError(
                f"{name} of {targets.dtype} are whole numbers from 0 to {int(targets.max())}, classes or values: "
                "give classes as whole numbers, or say which they are with kind='classification' or "
                "kind='regression'"
            )
        if kind == "regression" or (kind is None and not is_whole):
            every_step = targets.ndim == 3 or (targets.ndim == 2 and targets.shape[1] == n_steps > 1)
            values = _floats(targets)
            values = values[..., None] if targets.ndim == 1 + every_step else values
            return cls(values, "regression", every_step, values.shape[-1])
        return cls._of_classes(targets, n_steps, name)

    @classmethod
    def _of_classes(cls, targets: np.ndarray, n_steps: int, name: str) -> Targets:
        shape, n_classes = targets.shape, 0
        if targets.dtype.kind == "f" and not (targets == np.floor(targets)).all():
            raise ValueError(f"{name} are not classes: they are not whole numbers")
        could_be_steps = len(shape) == 2 and shape[1] == n_steps > 1
        if len(shape) > 1 and _is_one_hot(targets):
            if could_be_steps:
                raise ValueError(
                    f"{name} of shape {shape} could be one-hot, or classes at every step: give classes as "
                    f"({shape[0]},), or classes at every step as ({shape[0]}, {n_steps}, 1)"
                )
            n_classes, targets = shape[-1], targets.argmax(-1)
        elif len(shape) > 1 and shape[-1] == 1 and not could_be_steps:
            targets = targets[..., 0]
        elif len(shape) == 3 or (len(shape) == 2 and not could_be_steps):
            raise ValueError(
                f"{name} of shape {shape} are whole numbers, but neither classes ({shape[0]},) nor one-hot, nor "
                f"classes at every step ({shape[0]}, {n_steps}): give values as floats, or with kind='regression'"
            )
        targets, every_step = targets.astype(np.int64), targets.ndim == 2
        counted = targets[targets != IGNORED] if every_step else targets
        if not counted.size or counted.min() < 0:
            raise ValueError(f"{name} are classes, counted from 0, got {targets.min()}")
        return cls(targets, "classification", every_step, max(n_classes, 1 + int(counted.max())))

    @property
    def meaning(self) -> str:
        """In words."""
        when = " at every step" if self.every_step else ""
        return f"classes{when}" if self.kind == "classification" else f"{self.output_size} values{when}"

    def counted(
        self, lengths: np.ndarray | None, mask: np.ndarray | None, n_steps: int, prefix: str
    ) -> tuple[np.ndarray, ...]:
        """Return the values, at every step with `IGNORED` or NaN where there is no target; and lengths, if given.

        Raises
        ------
        ValueError
            If lengths or mask do not fit, or nothing of a sample counts.
        """
        values, n_samples = self.values, len(self.values)
        if lengths is not None:
            lengths = np.asarray(lengths)
            if lengths.shape != (n_samples,) or lengths.dtype.kind not in "iu":
                raise ValueError(
                    f"{prefix}lengths must be ({n_samples},) whole numbers, got {lengths.shape} of {lengths.dtype}"
                )
            lengths = lengths.astype(np.int64)
            if (wrong := np.flatnonzero((lengths < 1) | (lengths > n_steps))).size:
                raise ValueError(
                    f"{prefix}lengths must be 1 to {n_steps}, got {lengths[wrong[0]]} at sample {int(wrong[0])}"
                )
        if not self.every_step:
            return (values,) if lengths is None else (values, lengths)
        counts = np.ones((n_samples, n_steps), bool)
        if self.kind == "classification":
            counts &= values != IGNORED
        if mask is not None:
            mask = np.asarray(mask)
            if mask.shape != counts.shape or not np.isin(mask, (0, 1)).all():
                raise ValueError(f"{prefix}mask must be {counts.shape} of True and False, got shape {mask.shape}")
            counts &= mask.astype(bool)
        if lengths is not None:
            counts &= np.arange(n_steps) < lengths[:, None]
        if not counts.any(1).all():
            raise ValueError(
                f"no step of sample {int(np.flatnonzero(~counts.any(1))[0])} of {prefix}targets counts: leave it out"
            )
        if not counts.all():
            nothing = IGNORED if self.kind == "classification" else np.nan
            values = np.where(counts if values.ndim == 2 else counts[..., None], values, nothing).astype(values.dtype)
        return (values,) if lengths is None else (values, lengths)


def checked_sequences(inputs: np.ndarray, name: str) -> np.ndarray:
    """Return sequences (S, T, I) as finite floating-point numbers.

    Raises
    ------
    ValueError
        If they are not (S, T, I), or not finite.
    """
    inputs = _numbers(inputs, name)
    if inputs.ndim != 3 or not inputs.size:
        raise ValueError(f"{name} have shape {inputs.shape}, expected (sample, time, feature), none of them 0")
    return _floats(inputs)


def _numbers(array: np.ndarray, name: str) -> np.ndarray:
    """Return an array of finite numbers."""
    array = as_array(array, name)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{name} must be numbers, got an array of {array.dtype}")
    if not np.isfinite(array).all():
        sample = int(np.nonzero(~np.isfinite(array).reshape(len(array), -1).all(1))[0][0])
        raise ValueError(f"{name} hold NaN or infinite values, first at sample {sample}")
    return array


def _floats(array: np.ndarray) -> np.ndarray:
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def _are_like_classes(targets: np.ndarray) -> bool:
    """Return whether floating-point numbers are 0, 1, … and nothing else, each of them twice or more on average."""
    found = np.unique(targets)
    return 1 < len(found) <= targets.size // 2 and np.array_equal(found, np.arange(len(found)))


def _is_one_hot(targets: np.ndarray) -> bool:
    """Return whether the last axis has one 1, and 0 else, everywhere."""
    return targets.shape[-1] > 1 and bool(np.isin(targets, (0, 1)).all() and (targets.sum(-1) == 1).all())
