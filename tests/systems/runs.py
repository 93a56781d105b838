"""A run's beginning, through the hooks that the engine calls."""

import numpy as np
import torch

CPU = torch.device("cpu")


def prepared(system, start, dtype=torch.float64):
    """Return the states (B, N) that a run starts from, complex ones split, and the system made ready for it."""
    start = torch.as_tensor(np.asarray(start))
    if start.is_complex():
        system = system.split_into_real_parts()
        start = torch.cat([start.real, start.imag], dim=-1)
    state = torch.atleast_2d(start.to(dtype))
    return state, system.converted(dtype, CPU).prepared(state, None)
