"""Finding the state dict in what a file holds: it may lie in dictionaries and lists of any depth, and not alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from lyapkit.files.errors import CheckpointError, listed

MOST = 200_000  # containers and entries that are looked at; real training states have thousands
DEEPEST = 100
USUAL = ("state_dict", "model_state_dict", "model")  # wrappings that everybody writes: not worth a word


class StateDict(NamedTuple):
    """Named tensors, the keys that lead to them, and the names of what lies among them and is no tensor."""

    tensors: dict[str, Tensor]
    place: str
    others: list[str]

    @property
    def is_usual(self) -> bool:
        """Whether everybody would look for it there."""
        return _is_usual(self.place)


def find_state_dict(content: object, key: str | None) -> StateDict:
    """Return the state dict in what a file holds, and where it lies.

    A state dict is a mapping of names to tensors, some of which have two dimensions or more. What optimisers keep
    (`state` and `param_groups`) and extra states of modules are none.

    Parameters
    ----------
    content : object
        Tensors in plain containers.
    key : str, optional
        Which mapping to take, by the keys and indices that lead to it, separated by "/"; "" is the outermost one.

    Raises
    ------
    CheckpointError
        If there is none, or several and no `key`. The message lacks the file's name.
    """
    found = dict(_named_tensors(content))
    if key is not None:
        if key.strip("/") not in found:
            raise CheckpointError(f"holds no tensors under key {key!r}, only under {listed(found) or 'none'}")
        return _state_dict(key.strip("/"), found)
    candidates = {place: m for place, m in found.items() if any(_is_matrix(value) for value in m.values())} or found
    if not candidates:
        kind = type(content).__name__
        raise CheckpointError(f"holds no state dict, a mapping of names to tensors, but a {kind}{_contents(content)}")
    is_one = len({id(mapping) for mapping in candidates.values()}) == 1 and all(map(_is_usual, candidates))
    if len(candidates) > 1 and not is_one:
        raise CheckpointError(
            f"holds {len(candidates)} state dicts, under the keys {listed(candidates)}: choose one with key=, or --key"
        )
    return _state_dict(next(iter(candidates)), candidates)


def _named_tensors(content: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield mappings that hold named tensors, with the keys that lead to them, from the outside inwards."""
    waiting: list[tuple[str, int, Any]] = [("", 0, content)]
    seen: set[int] = set()
    entries = 0
    while waiting:
        place, depth, container = waiting.pop(0)
        if depth > DEEPEST:
            raise CheckpointError(f"holds containers in one another, more than {DEEPEST} deep")
        if isinstance(container, Mapping):
            if {"state", "param_groups"} <= container.keys():
                continue
            if any(isinstance(name, str) and isinstance(value, Tensor) for name, value in container.items()):
                yield place, container  # also the same one again, in another place
        if id(container) in seen:
            continue
        seen.add(id(container))
        if isinstance(container, Mapping):
            inner = [(str(name), v) for name, v in container.items() if not str(name).endswith("_extra_state")]
        else:
            inner = [(str(index), value) for index, value in enumerate(container)]
        entries += len(inner)
        if entries > MOST:
            raise CheckpointError(f"holds more than {MOST} entries, more than a checkpoint can have")
        waiting += [(f"{place}/{name}".lstrip("/"), depth + 1, value) for name, value in inner if _is_container(value)]


def _is_usual(place: str) -> bool:
    return all(part in USUAL for part in place.split("/") if part)


def _is_container(value: object) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, Sequence) and not isinstance(value, (str, bytes)))


def _is_matrix(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim >= 2


def _state_dict(place: str, found: Mapping[str, Mapping[str, Any]]) -> StateDict:
    mapping = found[place]
    tensors = {name: value for name, value in mapping.items() if isinstance(name, str) and isinstance(value, Tensor)}
    others = [str(name) for name, value in mapping.items() if name not in tensors and not _is_container(value)]
    return StateDict(tensors, place, others)


def _contents(content: object) -> str:
    return f" with {listed(content)}" if isinstance(content, Mapping) and content else ""
