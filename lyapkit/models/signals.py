"""`SignalMap`: what lies between recurrent systems, a function of one step's signal, with its derivative."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from lyapkit.models.layers import logistic_slope, tanh_slope
from lyapkit.systems.precision import in_dtype
from lyapkit.systems.system import push_forward

_SLOPES: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.Tanh: tanh_slope,
    nn.Sigmoid: logistic_slope,
    nn.ReLU: lambda signal: (signal > 0).to(signal),
}
_UNCHANGED = (nn.Identity, nn.Dropout)
N_SAMPLES = 3  # of signals that a function is checked on
STEP = 1e-6  # of differences
_ADVICE = "argmax, rounding and sampling have no derivative: use a smooth function, softmax for instance"


class SignalMap:
    """A function of a signal (B, I), a PyTorch module in eval mode, as linear layers, activations and LayerNorms are.

    Linear layers and common activations are differentiated by hand, others in forward mode.

    Parameters
    ----------
    module : nn.Module
        It is copied.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self._kind = type(module) if not (module._forward_hooks or module._forward_pre_hooks) else None

    def __call__(self, signal: Tensor) -> Tensor:
        """Return the function's value, (B, O)."""
        return self.module(signal)

    def push(self, signal: Tensor, tangent: Tensor) -> Tensor:
        """Return the tangent vectors (B, k, I) pushed to (B, k, O)."""
        if self._kind in _UNCHANGED:
            return tangent
        if self._kind is nn.Linear:
            return linear(tangent, self.module.get_parameter("weight"))
        if self._kind in _SLOPES:
            return tangent * _SLOPES[self._kind](signal)[:, None]
        return push_forward(self.module, signal, tangent)

    def check(self, size: int) -> int:
        """Return the size of the values for signals of a size.

        Raises
        ------
        ValueError
            If the module is no function of one time step's signal, or automatic differentiation does not give its
            derivative.
        """
        name = _name(self.module)
        run = self.converted(torch.float64, torch.device("cpu"))
        generator = torch.Generator().manual_seed(0)
        signals = torch.randn(N_SAMPLES, size, generator=generator, dtype=torch.float64)
        try:
            values = run(signals)
            again, alone = run(signals), torch.cat([run(signal[None]) for signal in signals])
        except Exception as error:
            raise ValueError(f"{name} does not take a signal of {size} features: {_first_line(error)}") from error
        if not isinstance(values, Tensor) or values.shape[:-1] != (N_SAMPLES,):
            got = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(f"{name} returned {got} for signals ({N_SAMPLES}, {size}), expected one row for each")
        if not torch.allclose(values, again, rtol=1e-9) or not torch.allclose(values, alone, rtol=1e-9):
            raise ValueError(
                f"{name} is no function of one trajectory's signal at one time: it gives other values when called "
                "again, or in other company"
            )
        if not values.is_floating_point():
            raise ValueError(f"{name} cannot be differentiated: it returns {values.dtype} values; {_ADVICE}")
        direction = torch.randn(N_SAMPLES, size, generator=generator, dtype=torch.float64)
        try:
            slope = run.push(signals, direction[:, None])[:, 0]
        except Exception as error:
            raise ValueError(f"{name} cannot be differentiated: {_first_line(error)}; {_ADVICE}") from error
        difference = (run(signals + STEP * direction) - run(signals - STEP * direction)) / (2 * STEP)
        if not torch.allclose(slope, difference, rtol=1e-4, atol=1e-4 * float(difference.abs().max())):
            raise ValueError(f"{name} cannot be differentiated: its derivative is not that of its values")
        if not bool(slope.any()) and bool((values != values[:1]).any()):
            raise ValueError(
                f"{name} cannot be differentiated: its values jump and are constant in between, so no perturbation "
                f"goes through it; {_ADVICE}"
            )
        return values.shape[-1]

    def converted(self, dtype: torch.dtype, device: torch.device) -> SignalMap:
        """Return this function with its parameters in `dtype` on `device`."""
        other = copy.copy(self)
        other.module = in_dtype(self.module, dtype, device)
        return other

    def __str__(self) -> str:
        return str(self.module) if not len(list(self.module.children())) else type(self.module).__name__


class Embedding:
    """A table of vectors, one for each of the tokens 0 … V − 1, that are the inputs.

    Parameters
    ----------
    weight : Tensor
        (V, features).
    """

    def __init__(self, weight: Tensor) -> None:
        if weight.ndim != 2 or not weight.is_floating_point() or 0 in weight.shape:
            raise ValueError(f"an embedding is a table (tokens, features) of numbers, got shape {tuple(weight.shape)}")
        if not bool(weight.isfinite().all()):
            raise ValueError("the embedding holds values that are not finite")
        self.weight = weight.detach().clone()

    @classmethod
    @torch.no_grad()
    def of(cls, module: nn.Embedding) -> Embedding:
        """Return what a module makes of its tokens, one by one.

        Raises
        ------
        ValueError
            If what it makes of a token depends on its place or on other tokens.
        """
        copied = copy.deepcopy(module).eval()
        tokens = torch.arange(module.num_embeddings, device=module.weight.device)
        table = copied(tokens[None])
        if table.shape[:2] != (1, len(tokens)) or not torch.equal(copied(tokens.flip(0)[None]).flip(1), table):
            raise ValueError(f"{_name(module)} makes of a token more than one vector: no table to look inputs up in")
        return cls(table[0])

    @property
    def n_tokens(self) -> int:
        """V."""
        return len(self.weight)

    @property
    def size(self) -> int:
        """Number of features."""
        return self.weight.shape[1]

    def __call__(self, tokens: Tensor) -> Tensor:
        """Return the vectors (…, features) of tokens (…, 1), whole numbers in any dtype."""
        return self.weight[tokens[..., 0].long()]

    def converted(self, dtype: torch.dtype, device: torch.device) -> Embedding:
        """Return this table in `dtype` on `device`."""
        return Embedding(self.weight.to(device, dtype))

    def __str__(self) -> str:
        return f"embedding of {self.n_tokens} tokens"


def _name(module: nn.Module) -> str:
    function = getattr(module, "function", module)  # of a function that was made a module
    return getattr(function, "__name__", type(function).__name__).strip("<>")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
