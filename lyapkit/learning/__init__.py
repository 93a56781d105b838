"""What the growth of perturbations does to learning: gradient propagation, curvature, learning-rate modulation."""

from lyapkit.learning.curvature import ggn_eigenvalues, hessian_eigenvalues
from lyapkit.learning.density import hessian_density
from lyapkit.learning.gradients import gradient_norms
from lyapkit.learning.modulation import learning_rate_modulation
from lyapkit.learning.over_training import over_training

__all__ = [
    "ggn_eigenvalues",
    "gradient_norms",
    "hessian_density",
    "hessian_eigenvalues",
    "learning_rate_modulation",
    "over_training",
]
