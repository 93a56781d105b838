"""
Two networks, and a training, compared
======================================

Does training change how a network remembers? Two untrained networks and one over its training, along the same inputs.
"""

import tempfile

import torch

import lyapkit as lk

torch.manual_seed(0)
checkpoint, inputs_file = lk.examples.digits()
inputs = lk.read_inputs(inputs_file)[:4]

networks = {
    "LSTM, trained": checkpoint,
    "LSTM, as PyTorch makes it": torch.nn.LSTM(8, 64),
    "GRU, as PyTorch makes it": torch.nn.GRU(8, 64),
}
spectra = {name: lk.lyapunov_spectrum(network, inputs, n_transient=40) for name, network in networks.items()}
together = lk.compare(spectra)
print(lk.comparison_table(together))
print()
print(lk.in_words(together))
lk.plot_comparison(together)

# %%
# The untrained networks forget within a few steps. Training brought the slow half of the spectrum up to zero.
# From a shell the same is `lyapkit spectrum A.pt B.pt C.pt --inputs x.npy --plot all.png`.
#
# Over a training
# ---------------
# `train` keeps checkpoints at the iterations that are named, and `over_training` applies any of lyapkit's
# functions to all of them.

task = lk.task("digits")
network = lk.build_network("wcrnn", 1, 32, 10, residual=lk.residuals.scaled_identity(32, 0.97), coupling=0.05)
with tempfile.TemporaryDirectory() as folder:
    result = lk.train([network], task, 60, learning_rate=0.1, folder=folder, checkpoints=[0, 20, 60], progress=False)
    sequences, _ = task.test_samples(4)
    over = lk.over_training(lk.lyapunov_spectrum, lk.checkpoints(folder, 0), sequences)
print(lk.comparison_table(over))
lk.plot_comparison(over)
