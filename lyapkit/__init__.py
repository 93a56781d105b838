"""Lyapunov spectra of any differentiable map, and what the growth of small perturbations does to learning."""

from lyapkit.arguments import ReliabilityWarning, as_sequences
from lyapkit.files.datasets import load, open, save
from lyapkit.files.errors import CheckpointError, CheckpointWarning
from lyapkit.files.limits import maximum_size
from lyapkit.files.sequences import read_inputs
from lyapkit.forecast import LongRunWarning
from lyapkit.learning import (
    ggn_eigenvalues,
    gradient_norms,
    hessian_density,
    hessian_eigenvalues,
    learning_rate_modulation,
    over_training,
)
from lyapkit.lyapunov import lyapunov_spectrum
from lyapkit.models import (
    S4,
    WCRNN,
    Composition,
    Network,
    RecurrentNetwork,
    RefinedLSTM,
    Residual,
    build_network,
    closed_loop,
    elman_with_identity_residual,
    from_module,
    inspect_checkpoint,
    load_checkpoint,
    load_network,
    load_system,
    register,
    residuals,
    weakly_coupled_init,
)
from lyapkit.plots import (
    plot_convergence,
    plot_gradient_norms,
    plot_hessian_density,
    plot_hessian_eigenvalues,
    plot_learning_curves,
    plot_modulation,
    plot_power_spectrum,
    plot_scores,
    plot_spectrum,
    plot_weak_coupling,
)
from lyapkit.statistics import (
    coarsen,
    ensemble_mean,
    entropy_rate,
    finite_time_exponents,
    kaplan_yorke_dimension,
    memory_timescale,
    running_exponents,
)
from lyapkit.systems import Flow, Map, System, classical
from lyapkit.tables import spectrum_table
from lyapkit.tangent import DivergenceError, DivergenceWarning, LostDirectionWarning, SelfCheckError
from lyapkit.tasks import ArrayTask, Task, power_spectrum, task
from lyapkit.training import Training, checkpoints, train
from lyapkit.weak_coupling import validate_weak_coupling

__version__ = "0.1.0"

__all__ = [
    "S4",
    "WCRNN",
    "ArrayTask",
    "CheckpointError",
    "CheckpointWarning",
    "Composition",
    "DivergenceError",
    "DivergenceWarning",
    "Flow",
    "LongRunWarning",
    "LostDirectionWarning",
    "Map",
    "Network",
    "RecurrentNetwork",
    "RefinedLSTM",
    "ReliabilityWarning",
    "Residual",
    "SelfCheckError",
    "System",
    "Task",
    "Training",
    "as_sequences",
    "build_network",
    "checkpoints",
    "classical",
    "closed_loop",
    "coarsen",
    "elman_with_identity_residual",
    "ensemble_mean",
    "entropy_rate",
    "finite_time_exponents",
    "from_module",
    "ggn_eigenvalues",
    "gradient_norms",
    "hessian_density",
    "hessian_eigenvalues",
    "inspect_checkpoint",
    "kaplan_yorke_dimension",
    "learning_rate_modulation",
    "load",
    "load_checkpoint",
    "load_network",
    "load_system",
    "lyapunov_spectrum",
    "maximum_size",
    "memory_timescale",
    "open",
    "over_training",
    "plot_convergence",
    "plot_gradient_norms",
    "plot_hessian_density",
    "plot_hessian_eigenvalues",
    "plot_learning_curves",
    "plot_modulation",
    "plot_power_spectrum",
    "plot_scores",
    "plot_spectrum",
    "plot_weak_coupling",
    "power_spectrum",
    "read_inputs",
    "register",
    "residuals",
    "running_exponents",
    "save",
    "spectrum_table",
    "task",
    "train",
    "validate_weak_coupling",
    "weakly_coupled_init",
]
