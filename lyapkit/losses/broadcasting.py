"""`WithoutBroadcasting`: finds losses that pair each sample's output with every sample's target.

Outputs (S, 1) minus targets (S,) are (S, S). PyTorch computes that without a word, however late in the loss it happens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

OUTPUTS, TARGETS = "outputs", "targets"
_REMEDY = "give both the same shape, by outputs.squeeze(-1) for instance; if every pair is meant, expand both to "


class WithoutBroadcasting:
    """While a loss is computed: what is made of outputs and of targets is not broadcast against each other.

    Every elementary operation is watched. Refused is one of which an operand depends on the outputs, another on the
    targets, and whose result has more elements than either: then outputs meet targets of other samples. Likewise if
    something else that has a value for each sample, weights for instance, so meets what depends on the outputs; and
    a comparison of the targets themselves with outputs of another shape. Operands of the same shape are not
    broadcast: a loss of all pairs expands them itself.

    Parameters
    ----------
    outputs, targets : Tensor
        What the loss will be given, the samples first.

    Raises
    ------
    ValueError
        At such an operation.
    """

    def __init__(self, outputs: Tensor, targets: Tensor) -> None:
        origins = _Origins(outputs, targets)
        self._modes = _Operations(origins, len(targets)), _Comparisons(origins, targets)

    def __enter__(self) -> None:
        for mode in self._modes:
            mode.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(kind, error, traceback)


class _Origins:
    """Which tensors depend on outputs and on targets; known by their memory, which views have in common."""

    def __init__(self, outputs: Tensor, targets: Tensor) -> None:
        self._known: dict[int, tuple[torch.UntypedStorage, frozenset[str]]] = {}
        self.add(outputs, frozenset({OUTPUTS}))
        self.add(targets, frozenset({TARGETS}))

    def of(self, tensor: Tensor) -> frozenset[str]:
        """Return which of outputs and targets a tensor depends on."""
        known = self._known.get(tensor.untyped_storage()._cdata) if tensor.layout == torch.strided else None
        return frozenset() if known is None else known[1]

    def add(self, tensor: Tensor, origins: frozenset[str]) -> None:
        """Note that a tensor depends on outputs, targets, or both."""
        if tensor.layout == torch.strided:
            storage = tensor.untyped_storage()  # kept, so that no other takes its place
            self._known[storage._cdata] = storage, origins | self.of(tensor)


class _Operations(TorchDispatchMode):
    """Watches elementary operations, those inside of PyTorch's and the user's functions, too."""

    def __init__(self, origins: _Origins, n_samples: int) -> None:
        super().__init__()
        self._origins, self._n_samples = origins, n_samples

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: to keep out of PyTorch's compiler, it would be imported, which takes seconds."""
        return False

    def __torch_dispatch__(
        self,
        func: torch._ops.OpOverload,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        """Compute an operation."""
        kwargs = kwargs or {}
        operands = list(_tensors((args, kwargs)))
        if torch.Tag.pointwise in func.tags or func.overloadpacket.__name__ == "rsub":
            for place, left in enumerate(operands):
                for right in operands[place + 1 :]:
                    self._check(left, right)
        result = func(*args, **kwargs)
        if origins := frozenset[str]().union(*map(self._origins.of, operands)):
            for tensor in _tensors(result):
                self._origins.add(tensor, origins)
        return result

    def _check(self, left: Tensor, right: Tensor) -> None:
        lengths, others = _own_lengths(left.shape, right.shape), _own_lengths(right.shape, left.shape)
        if not lengths or not others:
            return
        of_left, of_right = self._origins.of(left), self._origins.of(right)
        shapes = tuple(left.shape), tuple(right.shape)
        shape = tuple(torch.broadcast_shapes(*shapes))
        if (OUTPUTS in of_left and TARGETS in of_right) or (TARGETS in of_left and OUTPUTS in of_right):
            of_outputs, of_targets = shapes if OUTPUTS in of_left and TARGETS in of_right else shapes[::-1]
            raise ValueError(
                f"the loss combines {of_outputs}, made of the outputs, with {of_targets}, made of the targets, which "
                f"would be broadcast to {shape}, outputs with targets of other samples: {_REMEDY}{shape}"
            )
        if OUTPUTS in of_left | of_right and not (of_left and of_right) and self._n_samples in lengths & others:
            of_outputs, given = shapes if of_left else shapes[::-1]
            raise ValueError(
                f"the loss combines {of_outputs}, made of the outputs, with other values {given}, which would be "
                f"broadcast to {shape}, each sample with values of others: {_REMEDY}{shape}"
            )


class _Comparisons(TorchFunctionMode):
    """Watches functions that compare two tensors, and would bring them to the same shape themselves."""

    _LOSSES = frozenset(f"{name}_loss" for name in ("mse", "l1", "smooth_l1", "huber", "poisson_nll"))
    _OF_TARGETS = frozenset({"sub", "__sub__", "rsub", "__rsub__", "subtract"}) | _LOSSES
    _SAME = frozenset({"to", "float", "double", "long", "int", "type", "type_as", "clone", "detach", "contiguous"})

    def __init__(self, origins: _Origins, targets: Tensor) -> None:
        super().__init__()
        self._origins, self._targets = origins, [targets]

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        """Compute something of the loss."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        tensors = list(_tensors((args, kwargs)))
        ours = [value for value in tensors if any(value is target for target in self._targets)]
        if name in self._OF_TARGETS and ours:
            for other in tensors:
                if OUTPUTS in self._origins.of(other) and other.shape != ours[0].shape:
                    self._check(other.shape, ours[0].shape, "outputs {} with targets {}", at_all=True)
        elif name in self._LOSSES and len(tensors) > 1:
            left, right = tensors[:2]
            origins = self._origins.of(left), self._origins.of(right)
            if all(origins) and origins[0] | origins[1] == {OUTPUTS, TARGETS}:
                self._check(left.shape, right.shape, "values {} and {}, made of outputs and targets", at_all=False)
        result = func(*args, **kwargs)
        if name in self._SAME and ours and isinstance(result, Tensor):
            self._targets.append(result)
        return result

    def _check(self, left: torch.Size, right: torch.Size, words: str, *, at_all: bool) -> None:
        """Refuse shapes that would be broadcast against each other; unless `at_all`, only to more than both."""
        own, others = _own_lengths(left, right), _own_lengths(right, left)
        if left and right and ((own or others) if at_all else (own and others)):
            shape = tuple(torch.broadcast_shapes(left, right))
            compared = words.format(tuple(left), tuple(right))
            raise ValueError(
                f"the loss compares {compared}, which would be broadcast to {shape}: give targets in the shape of the "
                "outputs"
            )


def _own_lengths(shape: torch.Size, other: torch.Size) -> set[int]:
    """Return the lengths of axes that a shape brings into a result alone; none where PyTorch refuses the two."""
    n_axes = max(len(shape), len(other))
    pairs = list(zip(*((1,) * (n_axes - len(of)) + tuple(of) for of in (shape, other)), strict=True))
    if any(own != others and 1 not in (own, others) for own, others in pairs):
        return set()
    return {own for own, others in pairs if own > 1 and others == 1}


def _tensors(values: object) -> Iterator[Tensor]:
    return (value for value in tree_leaves(values) if isinstance(value, Tensor))
