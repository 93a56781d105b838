"""Pictures of datasets: functions of a dataset that return matplotlib axes."""

from lyapkit.plots.comparison import plot_comparison
from lyapkit.plots.covariant import plot_angle_histogram, plot_angles, plot_covariant_vectors, plot_directions
from lyapkit.plots.drawing import STYLE, check_drawable, save_figure
from lyapkit.plots.exponents import plot_convergence, plot_spectrum, plot_weak_coupling
from lyapkit.plots.learning import (
    plot_gradient_norms,
    plot_hessian_density,
    plot_hessian_eigenvalues,
    plot_modulation,
)
from lyapkit.plots.of_dataset import pictures_of
from lyapkit.plots.sweep import plot_sweep
from lyapkit.plots.training import plot_learning_curves, plot_power_spectrum, plot_scores

__all__ = [
    "STYLE",
    "check_drawable",
    "pictures_of",
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
    "save_figure",
]
