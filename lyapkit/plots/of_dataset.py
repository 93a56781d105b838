"""Which pictures show a dataset."""

from __future__ import annotations

from collections.abc import Callable

import xarray as xr
from matplotlib.axes import Axes

from lyapkit.plots.comparison import plot_comparison
from lyapkit.plots.covariant import plot_covariant_vectors
from lyapkit.plots.exponents import plot_convergence, plot_spectrum, plot_weak_coupling
from lyapkit.plots.learning import plot_gradient_norms, plot_hessian_density, plot_hessian_eigenvalues, plot_modulation
from lyapkit.plots.sweep import plot_sweep
from lyapkit.plots.training import plot_learning_curves, plot_power_spectrum, plot_scores, swept_parameter

Draw = Callable[[xr.Dataset], Axes]

_PICTURES: dict[str, dict[str, Draw]] = {  # variable that tells a dataset, to the pictures of it
    "log_growth": {"spectrum": plot_spectrum, "convergence": plot_convergence},
    "covariant_vector": {"covariant_vectors": plot_covariant_vectors},
    "remark": {"sweep": plot_sweep},
    "n_exponents": {"comparison": plot_comparison},
    "predicted_exponent": {"weak_coupling": plot_weak_coupling},
    "gradient_norm": {"gradients": plot_gradient_norms},
    "hessian_eigenvalue": {"eigenvalues": plot_hessian_eigenvalues},
    "ggn_eigenvalue": {"eigenvalues": plot_hessian_eigenvalues},
    "density": {"density": plot_hessian_density},
    "modulation": {"modulation": plot_modulation},
    "power": {"power_spectrum": plot_power_spectrum},
}


def pictures_of(ds: xr.Dataset) -> dict[str, Draw]:
    """Return the functions that draw a dataset, by the names of what they show.

    Raises
    ------
    ValueError
        If it holds nothing that can be drawn.
    """
    if "test_score" in ds:  # a sweep's exponents and eigenvalues have dimensions of their own
        curves: dict[str, Draw] = {"learning_curves": plot_learning_curves}
        return curves if swept_parameter(ds) is None else curves | {"scores": plot_scores}
    pictures = {name: draw for variable, draws in _PICTURES.items() if variable in ds for name, draw in draws.items()}
    if not pictures or "network" in ds.dims:
        raise ValueError(
            "there is no spectrum, gradient norms, eigenvalues, density or modulation of one network, and no learning "
            f"curves among {', '.join(map(str, ds.data_vars)) or 'no variables'}"
        )
    return pictures
