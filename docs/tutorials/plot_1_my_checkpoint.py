"""
The spectrum of my checkpoint
=============================

A trained network stands in a file. How long does it remember, in how many directions, and is it stable on the
inputs that it lives on? The file here is an LSTM that reads handwritten digits row by row; put your own in its
place.
"""

import matplotlib.pyplot as plt

import lyapkit as lk

checkpoint, inputs_file = lk.examples.digits()

# %%
# What is in the file, and what lyapkit takes it for. Every tensor is accounted for: what could act on the
# recurrence and is not understood is an error, not a guess.

for prefix, description in lk.inspect_checkpoint(checkpoint).items():
    print(prefix, description)

# %%
# Inputs are (trajectory, time, feature): eight streams of digits, 360 steps each. The first 40 steps, in which
# the network forgets where it started, are not counted. The frame of perturbations is renewed as rarely as
# accuracy allows.

inputs = lk.read_inputs(inputs_file)
ds = lk.lyapunov_spectrum(checkpoint, inputs, n_transient=40)
print(lk.spectrum_table(ds))

# %%
# What that says, in words:

print(lk.in_words(ds))

# %%
# Exponents are in nats per step: a perturbation in direction i grows by exp(exponent) in a step. The second half
# of the spectrum belongs to what is forgotten at once.

fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
lk.plot_spectrum(ds, ax=left)
lk.plot_convergence(ds, ax=right)

# %%
# Everything derives from the log-growth of every interval, which is stored. A negative exponent is a memory, −1/λ
# steps:

mean = lk.ensemble_mean(ds)
memory = lk.memory_timescale(ds)
print(f"largest exponent {float(mean.lyapunov_exponent[0]):.4f} ± {float(mean.standard_error[0]):.4f} nats per step")
print("memory of the third direction, steps:", memory[:, 2].values.round(1))
print("Kaplan–Yorke dimension:", lk.kaplan_yorke_dimension(ds).values.round(2))

# %%
# On endless streams of digits this network is weakly chaotic: one direction grows. From a shell the same is
#
# .. code-block:: text
#
#    lyapkit spectrum model.safetensors --inputs sequences.npy --transient 40 --output spectrum.nc --plot spectrum.png
