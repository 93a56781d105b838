"""A GRU learns a perceptual decision, with a target at every step and trials of different lengths; then it is analysed.

As in neurogym: while a fixation cue is on, the network has to answer 0, and two noisy inputs show evidence for one of
two sides; when the cue goes off it has to answer 1 or 2, the side with more evidence. Trials are padded to one length.
The script trains the network and prints its gradient norms, the leading eigenvalues of its Hessian, and its Lyapunov
exponents before and after.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

import lyapkit as lk

N_DECISION = 3  # steps after the cue has gone off
STIMULUS = 5, 20  # shortest and longest
EVIDENCE, NOISE = 0.5, 0.5


def trials(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return inputs (trial, time, 3), targets (trial, time), and how many steps of each trial count, (trial,)."""
    n_stimulus = rng.integers(STIMULUS[0], STIMULUS[1] + 1, n)
    lengths, side = n_stimulus + N_DECISION, rng.integers(0, 2, n)
    time = np.arange(STIMULUS[1] + N_DECISION)
    is_on = time < n_stimulus[:, None]
    inputs = np.zeros((n, len(time), 3))
    inputs[..., 0] = is_on
    inputs[..., 1:] = NOISE * rng.normal(size=(n, len(time), 2)) * is_on[..., None]
    inputs[np.arange(n), :, 1 + side] += EVIDENCE * is_on
    inputs[time >= lengths[:, None]] = 0
    return inputs, np.where(is_on, 0, 1 + side[:, None]), lengths


def main(n_iterations: int = 1000, n_trials: int = 2000, n_analysed: int = 100) -> dict[str, xr.Dataset]:
    """Train, analyse, print, and return the datasets."""
    rng = np.random.default_rng(0)
    inputs, targets, lengths = trials(n_trials, rng)
    test_inputs, test_targets, test_lengths = trials(500, rng)
    task = lk.ArrayTask(
        inputs,
        targets,
        test_inputs,
        test_targets,
        lengths=lengths,
        test_lengths=test_lengths,
        name="perceptual decision",
    )
    untrained = lk.build_network("gru", task.input_size, 32, task.output_size)
    training = lk.train([untrained], task, n_iterations, batch_size=50, learning_rate=0.1, clip_norm=1.0)
    network = training.networks[0]  # with `every_step` set, for the task has targets at every step

    few = test_inputs[:n_analysed], test_targets[:n_analysed], "cross-entropy"
    found = {
        "metrics": training.metrics,
        "gradient norms": lk.gradient_norms(network, *few, lengths=test_lengths[:n_analysed]),
        "hessian": lk.hessian_eigenvalues(network, *few, 5, lengths=test_lengths[:n_analysed]),
        "spectrum before": lk.lyapunov_spectrum(untrained, test_inputs[:n_analysed]),
        "spectrum after": lk.lyapunov_spectrum(network, test_inputs[:n_analysed]),
    }
    print(f"{task}: accuracy {float(training.metrics.test_score[0, -1]):.3f}, all steps that count")
    norms = found["gradient norms"].gradient_norm.mean("sample").values
    print(f"norms of gradients with respect to states, first and last step: {norms[0]:.3g}, {norms[-1]:.3g}")
    print("largest Hessian eigenvalues:", found["hessian"].hessian_eigenvalue.values.round(3))
    for when in ("before", "after"):
        exponents = lk.ensemble_mean(found[f"spectrum {when}"]).lyapunov_exponent.values
        print(f"Lyapunov exponents {when}, nats per step: {exponents[:3].round(3)} …")
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
