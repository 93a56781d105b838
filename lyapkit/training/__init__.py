"""Training: ensembles of networks on a task, from a common stream of batches, in runs that survive being stopped."""

from lyapkit.training.ensemble import Ensemble
from lyapkit.training.grid import network_grid
from lyapkit.training.storage import checkpoints
from lyapkit.training.training import Training, train

__all__ = ["Ensemble", "Training", "checkpoints", "network_grid", "train"]
