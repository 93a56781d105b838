"""Products of given matrices, as a driven system."""

import numpy as np

import lyapkit as lk


def driven_linear(n):
    """x ← M_t x, the matrix being the input."""
    return lk.Map(
        lambda s, x: (x.unflatten(-1, (n, n)) @ s[:, :, None])[..., 0],
        n,
        lambda s, x: x.unflatten(-1, (n, n)),
        input_size=n * n,
        batched=True,
        initial_state=np.zeros(n),
    )
