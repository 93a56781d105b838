"""What derives from a spectrum: standard errors, means, windows, dimensions, rates, timescales.

- `standard_errors`: the error of a time average along one trajectory.
- `ensembles`: means over trajectories and their errors.
- `exponents`: running and windowed exponents, and the quantities that follow from exponents.
"""

from lyapkit.statistics.ensembles import ensemble_mean
from lyapkit.statistics.exponents import (
    coarsen,
    entropy_rate,
    finite_time_exponents,
    kaplan_yorke_dimension,
    memory_timescale,
    running_exponents,
    upper_bounds,
)
from lyapkit.statistics.standard_errors import time_average_standard_error

batch_means_standard_error = time_average_standard_error  # the name of the estimator before this one

__all__ = [
    "batch_means_standard_error",
    "coarsen",
    "ensemble_mean",
    "entropy_rate",
    "finite_time_exponents",
    "kaplan_yorke_dimension",
    "memory_timescale",
    "running_exponents",
    "time_average_standard_error",
    "upper_bounds",
]
