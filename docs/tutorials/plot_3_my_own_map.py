"""
A map of my own
===============

Any function from a state to the next is a system. Here the delayed logistic map, whose fixed point gives way to a
closed curve and then to chaos as its parameter grows.
"""

import numpy as np
import torch

import lyapkit as lk


def delayed_logistic(a):
    """Return the map x ← a x (1 − y), y ← x."""
    return lk.Map(
        lambda state: torch.stack([a * state[0] * (1 - state[1]), state[0]]),
        state_size=2,
        initial_state=[0.51, 0.5],
        name=f"delayed logistic map, a = {a:g}",
    )


ds = lk.lyapunov_spectrum(delayed_logistic(2.27), n_steps=2000, n_transient=500)
print(lk.spectrum_table(ds))
print(lk.in_words(ds))

# %%
# The function was differentiated automatically, and the derivative compared with differences before it was used.
# With a step that leaves torch, or that cannot be differentiated, you are told, and give `jacobian=`.
#
# Functions of few variables, written with torch or NumPy, are compiled for runs of more than 1000 steps: a million
# steps of this one take less than a second. The result says how it was computed, or why it was not compiled.

print(ds.attrs["computed_by"])

# %%
# How the exponents change with the parameter
# -------------------------------------------

sweep = lk.sweep(delayed_logistic, {"a": np.linspace(1.8, 2.27, 95)}, n_steps=3000)
lk.plot_sweep(sweep)
print(lk.in_words(sweep))

# %%
# Above, where the orbit goes; below, the exponents. Up to a = 2 both are equal: the fixed point is a focus, and each is
# half the log of the determinant of its Jacobian, log(a − 1)/2, up to what 3000 steps allow. Above, the first is 0 as
# long as the orbit lies on a closed curve.

a = sweep.a.values
exponents = sweep.lyapunov_exponent.isel(trajectory=0).values[a < 1.95]
expected = np.log(a[a < 1.95] - 1)[:, None] / 2
print(f"largest difference from the closed form: {np.abs(exponents - expected).max():.1e} nats per step")

# %%
# Differential equations
# ----------------------
# `Flow` takes the right-hand side. Exponents are per unit of time, and the error of the time step is estimated on
# the way.

lorenz = lk.classical.lorenz()
ds = lk.lyapunov_spectrum(lorenz, n_steps=5000, n_transient=500, n_trajectories=20)
print(lk.spectrum_table(ds))
