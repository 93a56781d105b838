"""Networks as systems: weakly coupled residual networks, PyTorch's recurrent modules, own cells, checkpoint files."""

from lyapkit.files.errors import CheckpointError
from lyapkit.models import residuals
from lyapkit.models.architectures import ARCHITECTURES, build_network, register
from lyapkit.models.checkpoint import load_checkpoint, load_network, load_system
from lyapkit.models.closed_loop import closed_loop
from lyapkit.models.compositions import Composition
from lyapkit.models.given import as_system
from lyapkit.models.given_modules import as_network
from lyapkit.models.inspection import inspect_checkpoint
from lyapkit.models.modules import Cell, from_module
from lyapkit.models.network import Network, RecurrentNetwork
from lyapkit.models.recurrent import Recurrent
from lyapkit.models.refined_lstm import RefinedLSTM
from lyapkit.models.residuals import Residual
from lyapkit.models.s4 import S4
from lyapkit.models.wcrnn import WCRNN, elman_with_identity_residual, weakly_coupled_init

__all__ = [
    "ARCHITECTURES",
    "S4",
    "WCRNN",
    "Cell",
    "CheckpointError",
    "Composition",
    "Network",
    "Recurrent",
    "RecurrentNetwork",
    "RefinedLSTM",
    "Residual",
    "as_network",
    "as_system",
    "build_network",
    "closed_loop",
    "elman_with_identity_residual",
    "from_module",
    "inspect_checkpoint",
    "load_checkpoint",
    "load_network",
    "load_system",
    "register",
    "residuals",
    "weakly_coupled_init",
]
