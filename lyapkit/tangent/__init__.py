"""The variational term: how perturbations of a trajectory evolve. Start reading at `propagation`."""

from lyapkit.tangent.course import MOST_STEPS_AT_ONCE
from lyapkit.tangent.losses import DivergenceError, DivergenceWarning, LostDirectionWarning
from lyapkit.tangent.pacing import N_INTERVALS
from lyapkit.tangent.plain_growth import SelfCheckError
from lyapkit.tangent.runs import DEFAULT_ACCURACY, propagate
from lyapkit.tangent.variational_term import VariationalTerm

__all__ = [
    "DEFAULT_ACCURACY",
    "MOST_STEPS_AT_ONCE",
    "N_INTERVALS",
    "DivergenceError",
    "DivergenceWarning",
    "LostDirectionWarning",
    "SelfCheckError",
    "VariationalTerm",
    "propagate",
]
