"""
Does the residual set the exponents of my model?
================================================

A weakly coupled residual network is h ← R h + α tanh(W h + V x + b). The claim, Eq. 13 of Dubinin & Effenberger
(2024): its exponents are the logs of the moduli of R's eigenvalues. `validate_weak_coupling` measures how far
that holds for a model of yours, on your inputs.
"""

import textwrap

import matplotlib.pyplot as plt
import torch

import lyapkit as lk

torch.manual_seed(0)
inputs, _ = lk.task("digits").test_samples(4)

fig, axes = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True, layout="constrained")
for ax, coupling in zip(axes, (0.01, 0.2), strict=True):
    residual = lk.residuals.rotation(40, 0.22, 0.98)
    model = lk.WCRNN(1, 40, 10, residual=residual, coupling=coupling, dtype=torch.float64)
    ds = lk.validate_weak_coupling(model, inputs)
    print(f"α = {coupling}", *textwrap.wrap(ds.attrs["verdict"], 80), "", sep="\n")
    lk.plot_weak_coupling(ds, ax=ax)
    ax.set_title(f"α = {coupling}", loc="left")

# %%
# At α = 0.01 the exponents are those of the residual, to a few thousandths. At α = 0.2 the coupling is no longer
# weak, and the verdict says so. Why, and how the deviation depends on α and on time: :doc:`/weak_coupling`.
