"""Weights that a file or a module holds under other names, and in other dtypes: computed from what is stored.

Weight normalisation stores g and v of g v / ‖v‖, pruning a weight and its mask, weight drop the weight beside a copy
that dropout masked, spectral normalisation a weight and the two vectors that its largest singular value is read from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

_PARAMETRIZED = re.compile(r"^(?P<module>(?:.*\.)?)parametrizations\.(?P<leaf>[^.]+)\.(?P<part>.+)$")
ADVICE = (
    "remove it before saving (torch.nn.utils.parametrize.remove_parametrizations), or give the module itself to "
    "from_module"
)
ALIGNED = (
    0.5  # cosine between the vectors of a spectral norm and one power iteration, from which on they belong together
)


@dataclass
class StoredWeights:
    """Tensors by the names that PyTorch's modules give them.

    Attributes
    ----------
    tensors : dict
        Name to tensor.
    notes : list of str
        What was computed from what.
    refusals : dict
        Name of a weight that cannot be computed to the reason.
    parametrized : dict
        Name of a weight to what it was computed as, by tensors alone: other code may do something else with them.
    """

    tensors: dict[str, Tensor]
    notes: list[str] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)
    parametrized: dict[str, str] = field(default_factory=dict)

    def doubt(self, used: Collection[str]) -> str | None:
        """Return what a file cannot tell of the weights that are used; None if there is nothing."""
        found = {name: how for name, how in self.parametrized.items() if name in used}
        if not found:
            return None
        computed = "; ".join(f"{name} {how}" for name, how in found.items())
        return (
            f"{computed}, by the tensors that are stored; a parametrization of another kind, or one more that has no "
            f"tensors, would leave no trace: if there is any, {ADVICE}"
        )

    def put(self, name: str, weight: Tensor, parts: list[str], how: str) -> None:
        """Put a weight in the place of the parts that it was computed from."""
        for part in parts:
            del self.tensors[part]
        self.tensors[name] = weight
        self.notes.append(f"{name} {how}")


def stored_weights(tensors: Mapping[str, Tensor]) -> StoredWeights:
    """Return the weights that stored tensors stand for; what has nothing special about it stays as it is."""
    found = StoredWeights(dict(tensors))
    for suffix, restore in _BY_SUFFIX.items():
        for name in [name for name in found.tensors if name.endswith(suffix)]:
            if name in found.tensors:
                restore(found, name.removesuffix(suffix))
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if match := _PARAMETRIZED.match(name):
            groups.setdefault(match["module"] + match["leaf"], {})[match["part"]] = tensor
    for name, parts in groups.items():
        _parametrized(found, name, parts)
    return found


def widened(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Return tensors with all floating-point numbers in the widest dtype among them, at least float32, and notes."""
    notes: dict[str, list[str]] = {}
    floating = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    dtype = torch.float64 if any(t.dtype == torch.float64 for t in floating.values()) else torch.float32
    for name, tensor in floating.items():
        if tensor.dtype not in (torch.float32, torch.float64):
            notes.setdefault(str(tensor.dtype).removeprefix("torch."), []).append(name)
    width = str(dtype).removeprefix("torch.")
    said = [f"{', '.join(names)}: converted from {narrow} to {width}" for narrow, names in notes.items()]
    return dict(tensors) | {name: tensor.to(dtype) for name, tensor in floating.items()}, said


def _pruned(found: StoredWeights, name: str) -> None:
    parts = [f"{name}_orig", f"{name}_mask"]
    if name in found.tensors or parts[0] not in found.tensors:
        return
    weight, mask = (found.tensors[part].double() for part in parts)
    if weight.shape == mask.shape:
        found.put(name, weight * mask, parts, "is its pruned weight times the mask")


def _weight_normalized(found: StoredWeights, name: str) -> None:
    parts = [f"{name}_g", f"{name}_v"]
    if name in found.tensors or f"{name}_orig" in found.tensors or any(part not in found.tensors for part in parts):
        return
    weight = _normalized(*(found.tensors[part] for part in parts))
    if weight is not None:
        found.put(name, weight, parts, "is g v / ‖v‖ of weight_norm")


def _spectrally_normalized(found: StoredWeights, name: str) -> None:
    parts = [f"{name}_orig", f"{name}_u", f"{name}_v"]
    if name in found.tensors or any(part not in found.tensors for part in parts):
        return
    weight = _of_unit_norm(*(found.tensors[part] for part in parts))
    if weight is None:
        found.refusals[name] = f"its spectral norm cannot be told from the vectors stored: {ADVICE}"
    else:
        found.put(name, weight, parts, "is divided by the spectral norm that its vectors u and v give, as in eval mode")


def _dropped(found: StoredWeights, name: str) -> None:
    """Take the weight that weight drop keeps; the copy that the module holds is masked by dropout."""
    module, _, leaf = name.rpartition(".")
    raw = found.tensors[f"{name}_raw"]
    copies = [name, f"{module}.module.{leaf}".lstrip(".")]
    masked = next((copy for copy in copies if copy in found.tensors), None)
    if masked is not None and found.tensors[masked].shape != raw.shape:
        return
    parts = [f"{name}_raw"] + ([] if masked is None else [masked])
    found.put(masked or name, raw, parts, f"is {name}_raw, of which weight drop masks a copy in training")


def _parametrized(found: StoredWeights, name: str, parts: dict[str, Tensor]) -> None:
    """Compute what torch.nn.utils.parametrize stores: weight_norm and spectral_norm; nothing else can be known."""
    module, _, leaf = name.rpartition(".")
    stored = [f"{module}.parametrizations.{leaf}.{part}".lstrip(".") for part in parts]
    weight, how = None, ""
    if parts.keys() == {"original0", "original1"}:
        weight, how = _normalized(parts["original0"], parts["original1"]), "is g v / ‖v‖ of weight_norm"
    elif parts.keys() == {"original", "0._u", "0._v"}:
        weight = _of_unit_norm(parts["original"], parts["0._u"], parts["0._v"])
        how = "is divided by the spectral norm that its vectors u and v give, as in eval mode"
    if weight is not None and name not in found.tensors:
        found.put(name, weight, stored, how)
        found.parametrized[name] = how
        return
    kind = "orthogonal, or another parametrization" if "0.base" in parts else "a parametrization"
    found.refusals[name] = f"it is stored as {', '.join(stored)}, by {kind} that only code can compute: {ADVICE}"


def _normalized(g: Tensor, v: Tensor) -> Tensor | None:
    """Return g v / ‖v‖, norms taken over the dimensions in which g has one entry; None if g has another shape."""
    g, v = g.double(), v.double()
    if g.ndim == 0:
        return g * v / torch.linalg.vector_norm(v)
    kept = [dim for dim in range(v.ndim) if g.ndim == v.ndim and g.shape[dim] == v.shape[dim] and v.shape[dim] > 1]
    if g.ndim != v.ndim or len(kept) > 1 or g.numel() != (v.shape[kept[0]] if kept else 1):
        return None
    others = [dim for dim in range(v.ndim) if dim not in kept]
    return g * v / (torch.linalg.vector_norm(v, dim=others, keepdim=True) if others else v.abs())


def _of_unit_norm(weight: Tensor, u: Tensor, v: Tensor) -> Tensor | None:
    """Return W / (u W v), if u and v belong to W, as they do after any power iteration on it."""
    if weight.ndim != 2 or (len(u), len(v)) != tuple(weight.shape):
        return None
    weight, u, v = weight.double(), u.double(), v.double()
    along = torch.nn.functional.normalize(weight.mT @ u, dim=0)
    return weight / torch.dot(u, weight @ v) if bool(along @ v > ALIGNED) else None


_BY_SUFFIX: dict[str, Callable[[StoredWeights, str], None]] = {
    "_mask": _pruned,
    "_g": _weight_normalized,
    "_u": _spectrally_normalized,
    "_raw": _dropped,
}
