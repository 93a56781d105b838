"""What the growth of perturbations does to learning."""

from lyapkit.learning.gradients import gradient_norms

__all__ = ["gradient_norms"]
