"""
A map of my own
===============

Any function from a state to the next is a system. Here the delayed logistic map, whose fixed point gives way to a
closed curve and then to chaos as its parameter grows.
"""

import matplotlib.pyplot as plt
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

values = np.linspace(1.8, 2.27, 12)
exponents = []
for a in values:
    spectrum = lk.lyapunov_spectrum(delayed_logistic(a), n_steps=300, n_transient=300)
    exponents.append(spectrum.lyapunov_exponent.values[0])
fig, ax = plt.subplots(figsize=(7, 4))
ax.plot(values, exponents, ".-", label=["first", "second"])
ax.axhline(0, color="0.6", linewidth=0.8)
ax.axvline(2, color="0.6", linewidth=0.8, linestyle=":")
ax.set(xlabel="parameter a", ylabel="Lyapunov exponent (nats per step)")
ax.legend()

# %%
# Below a = 2 both exponents are equal: the fixed point is a focus, and each is half the log of the determinant of its
# Jacobian, log(a − 1)/2, up to what 300 steps allow. Above, the first is 0 as long as the orbit lies on a closed
# curve.

expected = np.log(values[values < 1.95] - 1) / 2
print("largest difference from the closed form:", np.abs(np.array(exponents)[values < 1.95] - expected[:, None]).max())

# %%
# Differential equations
# ----------------------
# `Flow` takes the right-hand side. Exponents are per unit of time, and the error of the time step is estimated on
# the way.

lorenz = lk.classical.lorenz()
ds = lk.lyapunov_spectrum(lorenz, n_steps=5000, n_transient=500, n_trajectories=20)
print(lk.spectrum_table(ds))
