"""What `import lyapkit` gives; each is loaded when it is first used."""

from . import examples as examples
from . import learning as learning
from . import models as models
from . import plots as plots
from . import statistics as statistics
from . import systems as systems
from . import tangent as tangent
from . import tasks as tasks
from . import testing as testing
from . import training as training
from .arguments import ReliabilityWarning, as_sequences
from .comparison import compare
from .covariant.vectors import covariant_vectors
from .extension import extend
from .files.datasets import load, open, save
from .files.errors import CheckpointError, CheckpointWarning
from .files.limits import maximum_size
from .files.sequences import read_inputs
from .forecast import LongRunWarning
from .html_report import report
from .learning import (
    ggn_eigenvalues,
    gradient_norms,
    hessian_density,
    hessian_eigenvalues,
    learning_rate_modulation,
    over_training,
)
from .lyapunov import lyapunov_spectrum
from .models import (
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
from .plots import (
    plot_angle_histogram,
    plot_angles,
    plot_comparison,
    plot_convergence,
    plot_covariant_vectors,
    plot_directions,
    plot_gradient_norms,
    plot_hessian_density,
    plot_hessian_eigenvalues,
    plot_learning_curves,
    plot_modulation,
    plot_power_spectrum,
    plot_scores,
    plot_spectrum,
    plot_sweep,
    plot_weak_coupling,
)
from .statistics import (
    coarsen,
    ensemble_mean,
    entropy_rate,
    finite_time_exponents,
    kaplan_yorke_dimension,
    memory_timescale,
    running_exponents,
)
from .sweeps.of_parameters import sweep
from .systems import Flow, Map, System, classical
from .tables.comparisons import comparison_table
from .tables.covariant import covariant_table
from .tables.of_dataset import table
from .tables.spectra import spectrum_table
from .tangent import DivergenceError, DivergenceWarning, LostDirectionWarning, SelfCheckError
from .tasks import ArrayTask, Task, power_spectrum, task
from .training import Training, checkpoints, train
from .weak_coupling import validate_weak_coupling
from .words import in_words

__version__: str

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
    "compare",
    "comparison_table",
    "covariant_table",
    "covariant_vectors",
    "elman_with_identity_residual",
    "ensemble_mean",
    "entropy_rate",
    "extend",
    "finite_time_exponents",
    "from_module",
    "ggn_eigenvalues",
    "gradient_norms",
    "hessian_density",
    "hessian_eigenvalues",
    "in_words",
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
    "plot_angle_histogram",
    "plot_angles",
    "plot_comparison",
    "plot_convergence",
    "plot_covariant_vectors",
    "plot_directions",
    "plot_gradient_norms",
    "plot_hessian_density",
    "plot_hessian_eigenvalues",
    "plot_learning_curves",
    "plot_modulation",
    "plot_power_spectrum",
    "plot_scores",
    "plot_spectrum",
    "plot_sweep",
    "plot_weak_coupling",
    "power_spectrum",
    "read_inputs",
    "register",
    "report",
    "residuals",
    "running_exponents",
    "save",
    "spectrum_table",
    "sweep",
    "table",
    "task",
    "train",
    "validate_weak_coupling",
    "weakly_coupled_init",
]
