"""Recurrent networks whose exponents are well separated, so that they can be compared digit by digit."""

import torch
from torch import nn

PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def separated(module):
    """Weights for which the exponents are well separated and span about −0.1 … −3.

    Each layer's units forget at graded rates, weakly mixed; where neighbouring exponents almost coincide, a
    finite-time exponent is so sensitive to rounding that no two computations agree to 1e-9.
    """
    with torch.no_grad():
        for layer in range(module.num_layers):
            weights = {name: getattr(module, f"{name}_l{layer}") for name in PARAMETERS}
            for weight in weights.values():
                weight.mul_(0.2)
            size = module.hidden_size
            grade = torch.arange(size) + 0.5 * layer
            forgetting = torch.exp(-0.1 - 2.9 * grade / size)
            if isinstance(module, nn.RNN):
                weights["weight_hh"].mul_(0.1).add_(torch.diag(forgetting))
                weights["weight_ih"].mul_(0.3)
                weights["bias_hh"].mul_(0.3)
                weights["bias_ih"].mul_(0.3)
            elif isinstance(module, nn.GRU):
                weights["bias_ih"][size : 2 * size] += torch.logit(forgetting)
            else:
                weights["bias_ih"][size : 2 * size] += torch.logit(forgetting.sqrt())
                weights["bias_ih"][2 * size : 3 * size] += 2.0
                weights["weight_hh"][3 * size :] += torch.diag(4.0 * forgetting)
    return module
