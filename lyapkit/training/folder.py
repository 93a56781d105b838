"""`RunFolder`: where a run is kept, by one process at a time."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import xarray as xr
from torch import Tensor

from lyapkit.files.datasets import save
from lyapkit.files.writing import make_folder
from lyapkit.models.network import Network
from lyapkit.provenance import provenance
from lyapkit.training.storage import checkpoint_path, checkpoints, damage, read_state, save_tensors

STATE, METRICS, LOCK = "state.safetensors", "metrics.nc", ".lock"


class RunFolder:
    """The folder of a run.

    Parameters
    ----------
    path : Path
        Made if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out within the block; the lock of a process that died is no lock.

        Raises
        ------
        ValueError
            If another run is in the folder.
        """
        make_folder(self.path)
        lock = filelock.FileLock(self.path / LOCK)
        owner = self.path / f"{LOCK}.owner"
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            who = owner.read_text(encoding="utf-8") if owner.is_file() else "another process"
            raise ValueError(f"{self.path} is in use by {who}: wait for it to end, or choose another folder") from None
        try:
            owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
            yield
        finally:
            owner.unlink(missing_ok=True)
            lock.release()

    def read(self, configuration: dict[str, Any], *, resume: bool) -> dict[str, Tensor] | None:
        """Return the state of the run in the folder; None if there is none.

        Parameters
        ----------
        configuration : dict
            That of the run which is to go on.
        resume : bool
            Whether a run in the folder is to be gone on with.

        Raises
        ------
        ValueError
            If there is a run, and it is not to be gone on with, is another one, or is damaged.
        """
        path = self.path / STATE
        if not path.is_file():
            return None
        if not resume:
            raise ValueError(f"{self.path} holds a run already: continue it with resume, or choose another folder")
        tensors, kept = read_state(path)
        wanted = json.loads(json.dumps(configuration))
        if words := _difference(kept, {name: wanted[name] for name in wanted if name in kept}):
            raise ValueError(f"{self.path} holds a run of another configuration: {words}")
        self._name_damaged(int(tensors["iteration"]))
        return tensors

    def _name_damaged(self, iteration: int) -> None:
        """Say which of the checkpoints written so far are damaged; the run does not need them to go on."""
        damaged = [
            f"{path.name} ({word})"
            for path in sorted(self.path.glob("network_*_step_*.safetensors"))
            if int(path.stem.rpartition("_")[2]) <= iteration and (word := damage(path))
        ]
        if damaged:
            warnings.warn(
                f"{self.path} holds damaged checkpoints, which training again in another folder would bring back: "
                f"{', '.join(damaged)}",
                stacklevel=4,
            )

    def write(self, state: dict[str, Tensor], configuration: dict[str, Any], metrics: xr.Dataset) -> None:
        """Write state and metrics."""
        save_tensors(state, self.path / STATE, {"configuration": configuration})
        save(metrics, self.path / METRICS)

    def has_checkpoints(self, n_networks: int, iteration: int) -> bool:
        """Return whether the networks of an iteration are there, and whole."""
        paths = [checkpoint_path(self.path, index, iteration) for index in range(n_networks)]
        return all(path.is_file() and not damage(path) for path in paths)

    def write_checkpoint(self, index: int, network: Network, iteration: int, about: dict[str, Any]) -> None:
        """Write a network to a file of its own."""
        path = checkpoint_path(self.path, index, iteration)
        save_tensors(network.state_dict(), path, {"iteration": iteration} | about | provenance())

    def kept_iterations(self) -> set[int]:
        """Return the iterations of which there are checkpoints of the first network."""
        try:
            return set(checkpoints(self.path, check=False))
        except FileNotFoundError:
            return set()


def _difference(kept: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Return in words where two configurations differ."""
    found = []
    for name in sorted(kept.keys() | wanted.keys()):
        old, new = kept.get(name), wanted.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            if words := _difference(old, new):
                found.append(words)
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            found += [
                words for pair in zip(old, new, strict=True) if (words := _difference({name: pair[0]}, {name: pair[1]}))
            ]
        elif old != new:
            found.append(_word(name, old, new))
    return "; ".join(found)


def _word(name: str, old: object, new: object) -> str:
    if name == "initial_sha256":
        return f"it began with other initial weights than those of the networks given ({name} is {old}, not {new})"
    if name == "fixed_sha256":
        return f"it began with other buffers or frozen parameters than those given ({name} is {old}, not {new})"
    return f"{name} is {old} there and {new} here"
