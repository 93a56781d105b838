"""Where Keras keeps the variables of a layer, in the files of Keras 3 and in the older ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor

from lyapkit.files.errors import CheckpointError
from lyapkit.files.keras_hdf5 import Hdf5


class Variables(ABC):
    """The arrays of a file, asked for by layer: `path` is where Keras 3 keeps it, `names` those of models and layer."""

    def __init__(self, content: Hdf5) -> None:
        self.arrays = content.arrays
        self.attributes = content.attributes

    @abstractmethod
    def of(
        self, path: str, names: tuple[str, ...], variables: Sequence[str]
    ) -> tuple[dict[str, str], dict[str, Tensor]]:
        """Return which arrays are a layer's variables, name in the file to variable, and these by their own names."""

    @abstractmethod
    def within(self, path: str, names: tuple[str, ...]) -> list[str]:
        """Return the names of all arrays of a layer and of its parts."""


class NumberedVariables(Variables):
    """Keras 3: `layers/lstm/cell/vars/0`, `…/1`, in the order in which a layer makes them."""

    def of(
        self, path: str, names: tuple[str, ...], variables: Sequence[str]
    ) -> tuple[dict[str, str], dict[str, Tensor]]:
        """Return which arrays are a layer's variables, name in the file to variable, and these by their own names."""
        self._check_name(path, names)
        prefix = f"{path}/vars/"
        numbers = sorted(name.removeprefix(prefix) for name in self.arrays if name.startswith(prefix))
        if numbers != [str(number) for number in range(len(numbers))] or len(numbers) > len(variables):
            raise CheckpointError(f"layer {'/'.join(names)!r} has the variables {numbers}, expected 0, 1, …")
        own = {prefix + number: variable for number, variable in zip(numbers, variables, strict=False)}
        return own, {variable: self.arrays[name] for name, variable in own.items()}

    def within(self, path: str, names: tuple[str, ...]) -> list[str]:
        """Return the names of all arrays of a layer and of its parts."""
        return [name for name in self.arrays if name.startswith(path + "/")]

    def _check_name(self, path: str, names: tuple[str, ...]) -> None:
        """Check the layer's name, which Keras writes beside its variables since 3.6, against the configuration."""
        owner = path.removesuffix("/cell")
        said = self.attributes.get(f"{owner}/vars", {}).get("name", names[-1])
        if said != names[-1]:
            raise CheckpointError(f"{owner!r} holds the variables of layer {said!r}, not of {names[-1]!r}")


class NamedVariables(Variables):
    """Keras 2, and the .h5 files of Keras 3: a group per layer of the outermost model, which lists names of weights."""

    def __init__(self, content: Hdf5, root: str) -> None:
        super().__init__(content)
        self.root = root

    def of(
        self, path: str, names: tuple[str, ...], variables: Sequence[str]
    ) -> tuple[dict[str, str], dict[str, Tensor]]:
        """Return which arrays are a layer's variables, name in the file to variable, and these by their own names."""
        own = {name: variable_name(name) for name in self.within(path, names)}
        if len(set(own.values())) != len(own):
            raise CheckpointError(f"it holds several layers called {names[-1]!r}: their variables cannot be told apart")
        return own, {variable: self.arrays[name] for name, variable in own.items()}

    def within(self, path: str, names: tuple[str, ...]) -> list[str]:
        """Return the names of all arrays of a layer and of its parts."""
        group = f"{self.root}/{names[0]}".lstrip("/")
        listed = self.attributes.get(group, {}).get("weight_names", [])
        return [
            f"{group}/{weight}"
            for weight in listed
            if f"{group}/{weight}" in self.arrays and (len(names) == 1 or names[-1] in weight.split("/"))
        ]


def variable_name(name: str) -> str:
    """Return what a variable is called in its layer: "kernel" for "lstm/lstm_cell/kernel:0"."""
    return name.rpartition("/")[2].partition(":")[0]


def roles_of_others(arrays: Mapping[str, Tensor], roles: Mapping[str, str]) -> dict[str, str]:
    """Return what the arrays are that belong to no layer of a model."""
    return {
        name: "optimiser state" if name.startswith(("optimizer/", "optimizer_weights/")) else "not explained"
        for name in arrays
        if name not in roles
    }
