"""`KinksMet`: the states at which automatic differentiation met a kink, confirmed by one-sided differences."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

DIFFERENCE = {torch.float64: 1e-6, torch.float32: 1e-3}  # of one-sided differences, relative to the state
_MOST_CANDIDATES = 256  # states at a kink that are kept before they are examined


class KinksMet:
    """The record of one run of a function.

    Parameters
    ----------
    value : callable
        The function, (B, N) -> (B, M).
    push : callable
        Its automatic derivative, tangent vectors (B, k, N) -> (B, k, M).

    Attributes
    ----------
    n_calls, n_states : int
        How often the function was called, and at how many states it stood at a kink.
    first : Tensor or None
        The first of these states.
    """

    def __init__(
        self,
        value: Callable[[Tensor, Tensor | None], Tensor],
        push: Callable[[Tensor, Tensor | None, Tensor], Tensor],
    ) -> None:
        self.value, self.push = value, push
        self.n_calls = 0
        self.n_states = 0
        self.first: Tensor | None = None
        self._candidates: dict[bytes, tuple[Tensor, Tensor | None]] = {}

    def note(self, met: Tensor, state: Tensor, input: Tensor | None) -> None:
        """Take note of the trajectories that `met` a kink, (B,), at states (B, N) and inputs (B, I)."""
        for row in met.nonzero().flatten().tolist():
            one = state[row : row + 1].detach().clone()
            driven = None if input is None else input[row : row + 1].clone()
            key = one.cpu().numpy().tobytes() + (b"" if driven is None else driven.cpu().numpy().tobytes())
            self._candidates.setdefault(key, (one, driven))
        if len(self._candidates) >= _MOST_CANDIDATES:
            self._examine()

    def findings(self, role: str, smallest_share: float) -> list[str]:
        """Return what a user must know, nothing where kinks were met at less than a share of the calls."""
        self._examine()
        if self.first is None or self.n_states <= smallest_share * self.n_calls:
            return []
        where = "it" if self.n_states == 1 else f"it and at {self.n_states - 1} other states"
        return [
            f"automatic differentiation of {role} met a kink at state {_listed(self.first)} exactly; at "
            f"{where} the slope depends on the side, and the one that was used is neither or is zero: exponents "
            "may be −inf or off. Start elsewhere (no round numbers), or give jacobian="
        ]

    def _examine(self) -> None:
        if not self._candidates:
            return
        states, inputs = zip(*self._candidates.values(), strict=True)
        self._candidates = {}
        state = torch.cat(states)
        confirmed = are_kinks(self.value, self.push, state, None if inputs[0] is None else torch.cat(inputs))
        self.n_states += int(confirmed.sum())
        if self.first is None and bool(confirmed.any()):
            self.first = state[confirmed][0]


def are_kinks(
    value: Callable[[Tensor, Tensor | None], Tensor],
    push: Callable[[Tensor, Tensor | None, Tensor], Tensor],
    state: Tensor,
    input: Tensor | None,
) -> Tensor:
    """Return at which states (B, N) the automatic slope is not that of the function's surroundings, booleans (B,).

    It is where the one-sided differences in some direction disagree with each other, and the automatic derivative in
    that direction agrees with neither, or is zero where one of them is not.

    Parameters
    ----------
    value : callable
        The function, (B, N) -> (B, M).
    push : callable
        Its automatic derivative, tangent vectors (B, k, N) -> (B, k, M).
    state, input : Tensor
        (B, N) and (B, I) or None.
    """
    batch, size = state.shape
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(4, size, generator=generator, dtype=torch.float64)
    directions /= directions.norm(dim=-1, keepdim=True)
    if size <= 8:
        directions = torch.cat([directions, torch.eye(size, dtype=torch.float64)])
    directions = directions.to(state)
    centre = value(state, input)
    automatic = push(state, input, directions.expand(batch, -1, -1).contiguous())
    scale = state.abs().amax(-1, keepdim=True)
    length = DIFFERENCE[state.dtype] * torch.where(scale > 0, scale, 1.0)
    noise = 20 * torch.finfo(state.dtype).eps * centre.abs().amax(-1, keepdim=True) / length
    found = torch.zeros(batch, dtype=torch.bool, device=state.device)
    for index, direction in enumerate(directions):
        ahead = (value(state + length * direction, input) - centre) / length
        behind = (centre - value(state - length * direction, input)) / length
        slope = automatic[:, index]
        size_of_slopes = torch.maximum(ahead.abs(), behind.abs())
        tolerance = 10 * noise + 1e-3 * size_of_slopes + 1e-6 * size_of_slopes.amax(-1, keepdim=True)
        depends_on_side = (ahead - behind).abs() > 2 * tolerance
        is_neither = ((slope - ahead).abs() > tolerance) & ((slope - behind).abs() > tolerance)
        found |= (depends_on_side & (is_neither | (slope == 0))).any(-1)
    return found


def _listed(values: Tensor) -> str:
    shown = ", ".join(f"{value:.10g}" for value in values.tolist()[:6])
    return f"[{shown}{', …' if len(values) > 6 else ''}]"
