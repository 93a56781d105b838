"""
What growth does to learning
============================

Gradients travel backwards along the same trajectory on which perturbations travel forwards. So the exponents
decide how gradients fade, and with them how curved the loss is.
"""

import matplotlib.pyplot as plt
import torch
from torch.nn.functional import cross_entropy

import lyapkit as lk

torch.manual_seed(0)
inputs, labels = lk.task("digits").test_samples(100)
radii = (0.95, 1.0, 1.05)
models = {
    r: lk.WCRNN(1, 40, 10, residual=lk.residuals.scaled_identity(40, r), coupling=0.01, dtype=torch.float64)
    for r in radii
}

# %%
# Networks with the residual r·I read 8×8 digits pixel by pixel, 64 steps. Their exponents lie close to log r (Eq.
# 13 of Dubinin & Effenberger 2024), and log ‖∂L/∂h_t‖ falls or grows at that rate.

fig, ax = plt.subplots(figsize=(7, 4.5))
for r, model in models.items():
    norms = lk.gradient_norms(model, inputs, labels, cross_entropy)
    spectrum = lk.ensemble_mean(lk.lyapunov_spectrum(model, inputs[:10]))
    typical = norms.gradient_norm.median("sample")
    slope = float(norms.decay_rate.median())
    first = float(spectrum.lyapunov_exponent[0])
    print(f"r = {r}: slope of log gradient norms {slope:+.4f}, largest exponent {first:+.4f} nats per step")
    ax.semilogy(typical.time, typical, label=f"r = {r}")
ax.set(xlabel="time (steps)", ylabel="gradient norm, median over samples")
ax.legend()

# %%
# Curvature
# ---------
# The largest eigenvalue of the Hessian with respect to the recurrent weights bounds the learning rate, 2/λ for
# plain gradient descent. It grows with r by orders of magnitude.

for r, model in models.items():
    hessian = lk.hessian_eigenvalues(model, inputs, labels, cross_entropy, k=3)
    largest = float(hessian.hessian_eigenvalue.max())
    print(f"r = {r}: largest Hessian eigenvalue {largest:.3g}, learning rates up to {2 / largest:.3g}")
