"""Files in and out: datasets, input sequences and targets, and the tensors of checkpoints."""

from lyapkit.files.datasets import load, open, save
from lyapkit.files.errors import CheckpointError, CheckpointWarning
from lyapkit.files.limits import maximum_size
from lyapkit.files.sequences import read_inputs, read_targets
from lyapkit.files.tensors import read_tensors

__all__ = [
    "CheckpointError",
    "CheckpointWarning",
    "load",
    "maximum_size",
    "open",
    "read_inputs",
    "read_targets",
    "read_tensors",
    "save",
]
