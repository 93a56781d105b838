"""For `child_server`: the arrays and attributes of an HDF5 file to a safetensors file. Imports nothing of lyapkit."""

import json
import math
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
import safetensors.numpy

MAX_OBJECTS, MAX_DEPTH, MAX_ATTRIBUTE = 10_000, 40, 50_000_000
FREE_EXPANSION, MAX_EXPANSION = 64 * 2**20, 100  # bytes that may be declared however little is stored; else the ratio


def answers(source: str, target: str, max_bytes: int) -> Iterator[dict[str, Any]]:
    """Write the arrays of an HDF5 file to a safetensors file, its attributes and what was left out as metadata."""
    arrays: dict[str, np.ndarray] = {}
    attributes: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    with h5py.File(source, "r") as file:
        datasets: dict[str, h5py.Dataset] = {}
        seen, n_objects = set(), 0
        pending: list[tuple[str, h5py.Group]] = [("", file)]
        while pending:
            path, group = pending.pop()
            address = h5py.h5o.get_info(group.id).addr
            if address in seen:
                raise ValueError(f"group {path!r} lies inside itself or is linked to twice")
            seen.add(address)
            n_objects += len(group)
            if path.count("/") > MAX_DEPTH or n_objects > MAX_OBJECTS:
                raise ValueError(f"its groups are nested more than {MAX_DEPTH} deep, or there are too many")
            attributes[path] = read_attributes(group)
            for name in group:
                inner = f"{path}/{name}" if path else name
                kind = group.get(name, getlink=True)
                if not isinstance(kind, h5py.HardLink):
                    raise ValueError(f"{inner!r} is a link to elsewhere ({type(kind).__name__}), which is not followed")
                item = group[name]
                if isinstance(item, h5py.Group):
                    pending.append((inner, item))
                elif isinstance(item, h5py.Dataset):
                    datasets[inner] = item
        check_sizes(datasets, max_bytes)
        for path, dataset in datasets.items():
            values = read_array(dataset)
            if values is None:
                left_out[path] = f"holds {dataset.dtype}, not numbers"
            else:
                arrays[path] = np.ascontiguousarray(values).reshape(dataset.shape)
    metadata = {"attributes": json.dumps(attributes), "left_out": json.dumps(left_out)}
    safetensors.numpy.save_file(arrays, target, metadata=metadata)
    yield {"written": True}


def check_sizes(datasets: dict[str, h5py.Dataset], max_bytes: int) -> None:
    """Raise ValueError if datasets lie in other files, or declare far more than the file holds or than is allowed."""
    declared = stored = 0
    for path, dataset in datasets.items():
        if dataset.external or dataset.is_virtual:
            raise ValueError(f"the values of {path!r} lie in another file, which is not followed")
        if dataset.shape is None:
            raise ValueError(f"{path!r} is empty")
        declared += math.prod(dataset.shape) * dataset.dtype.itemsize
        stored += dataset.id.get_storage_size()
    if declared > max_bytes:
        raise ValueError(
            f"it would take {declared / 2**30:.3g} GiB of memory, more than the {max_bytes / 2**30:.3g} GiB that a "
            "file may: if that is meant, raise the limit with --max-size, or lyapkit.maximum_size in Python"
        )
    if declared > FREE_EXPANSION and declared > MAX_EXPANSION * stored:
        raise ValueError(f"it declares {declared / 2**20:.3g} MiB of arrays but stores {stored / 2**20:.3g} MiB")


def read_array(dataset: h5py.Dataset) -> np.ndarray | None:
    """Return a dataset's values, or None if they are not numbers; bfloat16 (raw bytes in HDF5) becomes float32."""
    if dataset.dtype.kind == "V" and dataset.dtype.itemsize == 2 and dataset.attrs.get("dtype") == "bfloat16":
        return (np.asarray(dataset[()]).view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    if dataset.dtype.kind not in "fiub" or dataset.dtype.itemsize > 8:
        return None
    values = np.asarray(dataset[()])
    return values.astype(values.dtype.newbyteorder("="))


def read_attributes(item: h5py.Group) -> dict[str, Any]:
    """Return those attributes of a group that are text or lists of texts."""
    found: dict[str, str | list[str]] = {}
    for name in item.attrs:
        stored = item.attrs.get_id(name)
        if math.prod(stored.shape) * stored.dtype.itemsize > MAX_ATTRIBUTE:
            raise ValueError(f"attribute {name!r} is too large")
        value = item.attrs[name]
        if isinstance(value, str | bytes):
            found[name] = as_text(value)
        elif isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "OSU":
            found[name] = [as_text(entry) for entry in value.tolist()]
        elif isinstance(value, np.ndarray) and not value.size:
            found[name] = []
    return found


def as_text(value: object) -> str:
    """Return text that may be bytes."""
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
