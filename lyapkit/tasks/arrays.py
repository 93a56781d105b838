"""`ArrayTask`: sequences and targets that are held in memory, your own for instance."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np

from lyapkit.files.arrays import read_npz
from lyapkit.files.errors import reason
from lyapkit.tasks.task import Task

ARRAYS = ("inputs", "targets", "test_inputs", "test_targets")


class ArrayTask(Task):
    """Sequences with targets, in arrays, which are learnt in a new random order in every epoch.

    Parameters
    ----------
    inputs, test_inputs : array
        (sample, T, I), to learn from and to be tested on.
    targets, test_targets : array
        (sample,) whole numbers: classes, counted from 0. Or (sample,) or (sample, O) floating-point numbers: values.
    name : str
        Of the task. Default "own".

    Raises
    ------
    ValueError
        If arrays have other shapes or do not fit together, hold no samples, or values are not finite.
    """

    def __init__(
        self,
        inputs: np.ndarray,
        targets: np.ndarray,
        test_inputs: np.ndarray,
        test_targets: np.ndarray,
        *,
        name: str = "own",
    ) -> None:
        self.name = name
        self._train = _checked(inputs, targets, "")
        self._test = _checked(test_inputs, test_targets, "test_")
        (train_inputs, train_targets), (test_inputs, test_targets) = self._train, self._test
        shapes = train_inputs.shape[1:], test_inputs.shape[1:]
        if shapes[0] != shapes[1]:
            raise ValueError(f"inputs have {_steps(shapes[0])}, test_inputs {_steps(shapes[1])}: they must be the same")
        if train_targets.shape[1:] != test_targets.shape[1:]:
            raise ValueError(
                f"targets are {_described(train_targets)}, test_targets {_described(test_targets)}: they must be "
                "classes (whole numbers) or values of one size, both"
            )
        self.n_steps, self.input_size = shapes[0]
        if train_targets.ndim == 1:
            self.kind = "classification"
            self.output_size = 1 + int(max(train_targets.max(), test_targets.max()))
        else:
            self.kind, self.output_size = "regression", train_targets.shape[1]
        self.samples_per_epoch = len(train_inputs)
        self._order = functools.lru_cache(maxsize=2)(self._order_of_epoch)

    def _order_of_epoch(self, epoch: int, seed: int) -> np.ndarray:
        return np.random.default_rng([seed, epoch]).permutation(self.samples_per_epoch)

    def batch(self, iteration: int, batch_size: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return the samples of an iteration; what is left over at the end of an epoch is left out of it."""
        epoch, index = divmod(iteration, self.iterations_per_epoch(batch_size))
        chosen = self._order(epoch, seed)[index * batch_size : (index + 1) * batch_size]
        return tuple(array[chosen] for array in self._train)

    def test_samples(self, n_samples: int | None = None) -> tuple[np.ndarray, np.ndarray]:
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

    Raises
    ------
    ValueError
        If there is no such file, it lacks an array, or the arrays are not those of an `ArrayTask`.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    try:
        arrays = read_npz(path, lambda names: [name for name in ARRAYS if name in names])
    except Exception as error:  # damaged files raise whatever their bytes suggest
        raise ValueError(f"{path} is not a readable .npz file: {reason(error)}") from error
    if missing := [name for name in ARRAYS if name not in arrays]:
        raise ValueError(f"{path} lacks {', '.join(missing)}: a task has the arrays {', '.join(ARRAYS)}")
    try:
        return ArrayTask(*(arrays[name] for name in ARRAYS), name=path.stem)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _checked(inputs: np.ndarray, targets: np.ndarray, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs as floating-point numbers, and targets as classes (S,) int64 or values (S, O)."""
    inputs, targets = np.asarray(inputs), np.asarray(targets)
    for name, array in ((f"{prefix}inputs", inputs), (f"{prefix}targets", targets)):
        if array.dtype.kind not in "fiub":
            raise ValueError(f"{name} must be numbers, got an array of {array.dtype}")
    if inputs.ndim != 3 or not inputs.size:
        raise ValueError(f"{prefix}inputs have shape {inputs.shape}, expected (sample, time, feature), none of them 0")
    if targets.ndim not in (1, 2) or len(targets) != len(inputs) or not targets.size:
        raise ValueError(
            f"{prefix}targets have shape {targets.shape}, expected ({len(inputs)},) or ({len(inputs)}, outputs)"
        )
    if targets.ndim == 1 and targets.dtype.kind in "iub":
        targets = targets.astype(np.int64)
        if targets.min() < 0:
            raise ValueError(f"{prefix}targets are classes, counted from 0, got {targets.min()}")
    else:
        targets = _as_floats(targets).reshape(len(targets), -1)
    inputs = _as_floats(inputs)
    for name, array in ((f"{prefix}inputs", inputs), (f"{prefix}targets", targets)):
        if not np.isfinite(array).all():
            sample = int(np.nonzero(~np.isfinite(array).reshape(len(array), -1).all(1))[0][0])
            raise ValueError(f"{name} hold NaN or infinite values, first at sample {sample}")
    return inputs, targets


def _as_floats(array: np.ndarray) -> np.ndarray:
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def _steps(shape: tuple[int, int]) -> str:
    return f"{shape[0]} steps of {shape[1]} features"


def _described(targets: np.ndarray) -> str:
    return "classes" if targets.ndim == 1 else f"{targets.shape[1]} values"
