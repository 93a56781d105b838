"""Networks as systems: recurrent modules of PyTorch, users' own cells, and checkpoint files."""

from lyapkit.models.checkpoint import CheckpointError, inspect_checkpoint, load_checkpoint
from lyapkit.models.recurrent import Cell, Recurrent, from_module

__all__ = ["Cell", "CheckpointError", "Recurrent", "from_module", "inspect_checkpoint", "load_checkpoint"]
