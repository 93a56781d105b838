"""What the growth of perturbations does to learning."""

from lyapkit.learning.gradients import decay_rate, gradient_norms

__all__ = ["decay_rate", "gradient_norms"]
