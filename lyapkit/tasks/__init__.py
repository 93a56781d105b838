"""Tasks that networks are trained on: data sets as input sequences with targets."""

from __future__ import annotations

import re

from lyapkit.tasks.adding import AddingTask
from lyapkit.tasks.arrays import ArrayTask, read_arrays
from lyapkit.tasks.images import ImageTask, load_cifar10, load_digits, load_mnist
from lyapkit.tasks.power_spectrum import power_spectrum
from lyapkit.tasks.task import Task

__all__ = ["TASKS", "AddingTask", "ArrayTask", "ImageTask", "Task", "power_spectrum", "task"]

TASKS = {
    "digits": "scikit-learn's 8×8 digits, 64 steps",
    "smnist": "MNIST pixel by pixel, 784 steps",
    "psmnist": "the same in a fixed random order",
    "scifar10": "CIFAR-10 in gray, pixel by pixel, 1024 steps",
    "addT": "the adding problem of T steps: add100, add200, …",
    "FILE.npz": "arrays of your own: inputs, targets, test_inputs, test_targets",
}
_IMAGES = {
    "digits": (load_digits, False),
    "smnist": (load_mnist, False),
    "psmnist": (load_mnist, True),
    "scifar10": (load_cifar10, False),
}


def task(name: str, *, downsample: int = 1) -> Task:
    """Return a task by its name.

    Parameters
    ----------
    name : str
        "digits", "smnist", "psmnist", "scifar10", or "add" and a length: "add100". With "/2" behind, or `downsample`,
        images are made smaller by that factor. Or the path of an `.npz` file with arrays of your own, see `ArrayTask`:
        `inputs`, `targets`, `test_inputs` and `test_targets`.
    downsample : int
        Size of the squares of pixels that are replaced by their mean: 2 makes MNIST 14×14, which is 196 steps.

    Raises
    ------
    ValueError
        If the name is unknown, the task cannot be made smaller by that factor, or a file is not as it should be.
    FileNotFoundError
        If its files are not there.

    Examples
    --------
    >>> import lyapkit as lk
    >>> print(lk.task("add10"))
    add10 (10 steps, 2 inputs, 1 output)
    """
    if name.endswith(".npz"):
        if downsample != 1:
            raise ValueError(f"{name} has no pixels to downsample: make its arrays smaller")
        return read_arrays(name)
    base, _, factor = name.partition("/")
    if factor.isdecimal() and downsample == 1:
        downsample = int(factor)
    elif factor:
        raise ValueError(f"{name!r} and downsample={downsample} do not go together")
    if base in _IMAGES:
        load, permuted = _IMAGES[base]
        return ImageTask(base, load(), permuted=permuted, downsample=downsample)
    if match := re.fullmatch(r"add(\d+)", base):
        if downsample != 1:
            raise ValueError(f"{base} has no pixels to downsample: choose a shorter length")
        return AddingTask(int(match[1]))
    known = ", ".join(f"{name} ({what})" for name, what in TASKS.items())
    raise ValueError(f"unknown task {name!r}, expected one of: {known}")
