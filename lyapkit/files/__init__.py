"""Files in and out: datasets, input sequences and targets, and the tensors of checkpoints."""

from lyapkit.files.datasets import load, open, save
from lyapkit.files.sequences import read_inputs, read_targets
from lyapkit.files.tensors import CheckpointError, read_tensors

__all__ = ["CheckpointError", "load", "open", "read_inputs", "read_targets", "read_tensors", "save"]
