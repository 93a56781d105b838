"""`ArrayTask`: sequences and targets that are held in memory, your own for instance."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lyapkit.files.arrays import read_npz
from lyapkit.files.errors import reason
from lyapkit.tasks.targets import Targets, checked_sequences
from lyapkit.tasks.task import Task

ARRAYS = ("inputs", "targets", "test_inputs", "test_targets")
OPTIONAL = ("lengths", "test_lengths", "mask", "test_mask")


class ArrayTask(Task):
    """Sequences with targets, in arrays, which are learnt in a new random order in every epoch.

    Parameters
    ----------
    inputs, test_inputs : array
        (sample, T, I), to learn from and to be tested on.
    targets, test_targets : array
        Of a sequence: classes, whole numbers counted from 0, (sample,), (sample, 1), or one-hot (sample, O); or values,
        floating-point numbers, (sample,) or (sample, O). At every step: classes (sample, T) or (sample, T, 1), −100
        where a step does not count, or one-hot (sample, T, O); or values (sample, T) or (sample, T, O). What could be
        understood in two ways is refused.
    name : str
        Of the task. Default "own".
    kind : "classification" or "regression", optional
        Which of both it is. Default: whole numbers are classes, others are values; floating-point numbers 0, 1, …, one
        for each sequence, could be either, and are refused.
    lengths, test_lengths : array, optional
        (sample,): how many steps of each sequence count, 1 to T; what comes after them is padding. Default: all.
    mask, test_mask : array of bool, optional
        (sample, T): at which steps there is a target, of targets at every step. Default: at all of them.

    Raises
    ------
    ValueError
        If arrays have other shapes or do not fit together, hold no samples, values are not finite, or targets could
        be understood in two ways.

    Examples
    --------
    >>> import lyapkit as lk
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> inputs, targets = rng.normal(size=(40, 9, 2)), rng.integers(0, 3, 40)
    >>> print(lk.ArrayTask(inputs[:30], targets[:30], inputs[30:], targets[30:], name="mine"))
    mine (9 steps, 2 inputs, 3 outputs)
    """

    def __init__(
        self,
        inputs: np.ndarray,
        targets: np.ndarray,
        test_inputs: np.ndarray,
        test_targets: np.ndarray,
        *,
        name: str = "own",
        kind: Literal["classification", "regression"] | None = None,
        lengths: np.ndarray | None = None,
        test_lengths: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        test_mask: np.ndarray | None = None,
    ) -> None:
        self.name = name
        inputs, test_inputs = checked_sequences(inputs, "inputs"), checked_sequences(test_inputs, "test_inputs")
        shapes = inputs.shape[1:], test_inputs.shape[1:]
        if shapes[0] != shapes[1]:
            raise ValueError(f"inputs have {_steps(shapes[0])}, test_inputs {_steps(shapes[1])}: they must be the same")
        for one, other, words in ((lengths, test_lengths, "lengths"), (mask, test_mask, "mask")):
            if (one is None) != (other is None):
                raise ValueError(f"{words} and test_{words} must be given both, or neither")
        self.n_steps, self.input_size = shapes[0]
        train = Targets.of(targets, len(inputs), self.n_steps, "targets", kind)
        test = Targets.of(test_targets, len(test_inputs), self.n_steps, "test_targets", kind)
        if train.meaning != test.meaning:
            raise ValueError(
                f"targets are {train.meaning}, test_targets {test.meaning}: they must be classes (whole numbers) or "
                "values of one size, both"
            )
        self.kind, self.every_step = train.kind, train.every_step
        self.output_size = max(train.output_size, test.output_size)
        self.has_lengths = lengths is not None
        if mask is not None and not self.every_step:
            raise ValueError("a mask says which of the targets at every step count, but there is one target a sequence")
        self._train = (inputs, *train.counted(lengths, mask, self.n_steps, ""))
        self._test = (test_inputs, *test.counted(test_lengths, test_mask, self.n_steps, "test_"))
        self.samples_per_epoch = len(inputs)
        self._order = functools.lru_cache(maxsize=2)(self._order_of_epoch)

    def _order_of_epoch(self, epoch: int, seed: int) -> np.ndarray:
        return np.random.default_rng([seed, epoch]).permutation(self.samples_per_epoch)

    def batch(self, iteration: int, batch_size: int, seed: int = 0) -> tuple[np.ndarray, ...]:
        """Return the samples of an iteration; what is left over at the end of an epoch is left out of it."""
        epoch, index = divmod(iteration, self.iterations_per_epoch(batch_size))
        chosen = self._order(epoch, seed)[index * batch_size : (index + 1) * batch_size]
        return tuple(array[chosen] for array in self._train)

    def test_samples(self, n_samples: int | None = None) -> tuple[np.ndarray, ...]:
        """Return the first test samples, or all."""
        return tuple(array[:n_samples] for array in self._test)

    @property
    def description(self) -> dict[str, str | int]:
        """Name, length, score, and what tells the data from others of this name."""
        return super().description | self.origin

    @functools.cached_property
    def origin(self) -> dict[str, str | int]:
        """The SHA-256 of all arrays."""
        digest = hashlib.sha256()
        for array in (*self._train, *self._test):
            digest.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return {"data_sha256": digest.hexdigest()}


def read_arrays(path: str | Path) -> ArrayTask:
    """Return the task in an `.npz` file with the arrays `inputs`, `targets`, `test_inputs` and `test_targets`.

    It may also have `lengths` and `test_lengths`, and `mask` and `test_mask`.

    Raises
    ------
    ValueError
        If there is no such file, it lacks an array, or the arrays are not those of an `ArrayTask`.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    try:
        arrays = read_npz(path, lambda names: [name for name in (*ARRAYS, *OPTIONAL) if name in names])
    except Exception as error:  # damaged files raise whatever their bytes suggest
        raise ValueError(f"{path} is not a readable .npz file: {reason(error)}") from error
    if missing := [name for name in ARRAYS if name not in arrays]:
        raise ValueError(f"{path} lacks {', '.join(missing)}: a task has the arrays {', '.join(ARRAYS)}")
    given: dict[str, Any] = arrays
    try:
        return ArrayTask(**given, name=path.stem)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _steps(shape: tuple[int, int]) -> str:
    return f"{shape[0]} steps of {shape[1]} features"
