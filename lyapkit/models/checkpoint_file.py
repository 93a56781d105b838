"""`CheckpointFile`: named tensors, the recurrent modules that they make, and the account of what lies beside them."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from lyapkit.files.tensors import CheckpointError, CheckpointWarning, NamedTensors
from lyapkit.models.account import Account, Sizes, account_for
from lyapkit.models.compositions import Composition
from lyapkit.models.network import Network, RecurrentNetwork
from lyapkit.models.readouts import find_readout
from lyapkit.models.recognition import Found, Module, choose, find_modules
from lyapkit.models.recurrent import Recurrent
from lyapkit.models.signals import Embedding
from lyapkit.models.ties import keep_ties, ties_of, warn_of_lost_ties
from lyapkit.models.wild_values import warn_of_wild_values

AnyNetwork = TypeVar("AnyNetwork", bound=Recurrent | Network)


class CheckpointFile:
    """A checkpoint file and the recurrent modules in it.

    Parameters
    ----------
    path : Path
        For messages, and for what a result says of its origin.
    tensors : NamedTensors
        Its content.
    nonlinearity : "tanh" or "relu", optional
        Of Elman networks whose file does not tell.
    ignore : sequence of str
        Names, or patterns, of tensors that do not act on the recurrence.
    """

    def __init__(self, path: Path, tensors: NamedTensors, nonlinearity: str | None, ignore: Sequence[str]) -> None:
        self.path, self.nonlinearity = path, nonlinearity
        self.ignore = [ignore] if isinstance(ignore, str) else list(ignore)
        self.found: Found = find_modules(tensors)
        self._notes = [*tensors.notes, *self.found.stored.notes]

    def chosen(self, prefix: str | None, *, needs_readout: bool = False) -> tuple[Module, Recurrent | Network, Account]:
        """Return the only recurrent module or the one of a prefix, its network, and the account seen from it."""
        module = choose(self.found, prefix)
        network = module.network(self.nonlinearity, source_of(self.path), needs_readout=needs_readout)
        return module, network, account_of(self.found, module, network, self.ignore)

    def system(self, prefix: str | None) -> Recurrent | Network:
        """Return the only recurrent module, or the one of a prefix, as a system."""
        module, network, account = self.chosen(prefix)
        account.require_complete()
        return self._finished(module, network, account)

    def network(self, prefix: str | None, readout: str | None) -> Network:
        """Return the only recurrent module, or the one of a prefix, with its readout."""
        module, network, account = self.chosen(prefix, needs_readout=True)
        if isinstance(network, Network):
            account.require_complete()
            names = {module.prefix + own: own for own, _ in network.named_parameters(remove_duplicate=False)}
            return self._finished(module, network, account, names)
        recurrent = network.pytorch_module()
        head = find_readout(self.found.tensors, account, recurrent.proj_size or recurrent.hidden_size, readout)
        account.require_complete("give the code of the module by module=, or --module")
        with_readout = RecurrentNetwork(recurrent, head)
        with_readout.source = network.source
        layered = "_l0" * module.is_cell
        names = {module.prefix + own: f"recurrent.{own}{layered}" for own in module.parameters}
        names |= {name: f"readout.{name.rpartition('.')[2]}" for name in account.readout}
        return self._finished(module, with_readout, account, names)

    def composition(self, prefixes: Sequence[str | None], embedding: str | None) -> Composition:
        """Return recurrent modules in a row, from the input upwards, with an embedding in front if one is named."""
        # what it is called, part, and how many features it gives
        parts: list[tuple[str, Embedding | Recurrent | Network, int]] = []
        if embedding is not None:
            name, table = self._embedding(embedding)
            self.ignore.append(name)
            parts.append((name, table, table.size))
        chosen = []
        for prefix in prefixes:
            module, network, account = self.chosen(prefix)
            if parts:
                below, _, size = parts[-1]
                account.doubt_what_may_lie_between(self.found.tensors, below, module.prefix, size, network.input_size)
            account.require_complete()
            parts.append((module.prefix, network, sizes_of(network).outputs))
            chosen.append((module, network, account))
        for one in chosen:  # what is refused is not warned of before
            self._finished(*one)
        composition = Composition([part for _, part, _ in parts])
        composition.source["composition"] = "; ".join(f"{a!r} drives {b!r}" for (a, *_), (b, *_) in pairwise(parts))
        return composition

    def _embedding(self, wanted: str) -> tuple[str, Embedding]:
        """Return the full name of a table, and the table."""
        tensors = self.found.tensors
        recurrent = {prefix + own for prefix, module in self.found.modules.items() for own in module.parameters}
        for name in (wanted, f"{wanted.removesuffix('.')}.weight"):
            if name in recurrent:
                raise CheckpointError(f"holds {name!r} as a weight of a recurrent module, not as an embedding")
            if name in tensors:
                weight = tensors[name]
                return name, Embedding(weight.float() if weight.dtype.itemsize < 4 else weight)
        tables = [name for name, tensor in tensors.items() if tensor.ndim == 2 and "weight_" not in name]
        raise CheckpointError(f"holds no tensor {wanted!r}; tables are {', '.join(tables[:9]) or 'none'}")

    def _finished(
        self,
        module: Module,
        network: AnyNetwork,
        account: Account,
        parameters: Mapping[str, str] | None = None,
    ) -> AnyNetwork:
        """Return the network with what was assumed, and what is doubtful, said; its parameters tied as in the file."""
        ties = []
        if parameters is not None:  # it can learn
            assert isinstance(network, Network)
            stored = {name: own for name, own in parameters.items() if name in self.found.tensors}
            ties = keep_ties(network, self.found.tensors, stored)
            tied = [[name for name, own in stored.items() if own in group] for group in ties_of(network)]
            warn_of_lost_ties(self.path, self.found.tensors, stored, tied)
        used = [*account.recurrent, *account.readout]
        warn_of_wild_values(self.path, {name: self.found.tensors[name] for name in used})
        if doubt := self.found.stored.doubt(used):
            warnings.warn(f"{self.path}: {doubt}", CheckpointWarning, stacklevel=4)
        if not module.own and (said := module.contradiction(network)):
            warnings.warn(
                f"{self.path}: {module.prefix!r} was taken for {network} by its tensors, but {said}: if it computes "
                "something else, give the module with its own code to from_module",
                CheckpointWarning,
                stacklevel=4,
            )
        if account.doubtful:
            warnings.warn(
                f"{self.path}: {', '.join(account.doubtful)} are taken to act before the recurrent module "
                f"{module.prefix!r} or after it, since they lie elsewhere in the model: inputs are to be given as "
                "the recurrent module gets them; ignore= says that this is right",
                CheckpointWarning,
                stacklevel=4,
            )
        if notes := [*self._notes, *module.notes, *account.notes, *ties]:
            network.source = {**network.source, "assumptions": "; ".join(notes)}
        return network


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Name the file in what is wrong with it."""
    try:
        yield
    except CheckpointError as error:
        raise type(error)(f"{path} {error}") from error
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path}: {' '.join(str(error).split())}") from error


def source_of(path: str | Path) -> dict[str, str]:
    """Return what a result file says about where weights come from."""
    return {"checkpoint": Path(path).name, "checkpoint_sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}


def sizes_of(network: Recurrent | Network) -> Sizes:
    """Return what modules before and after a network must fit."""
    if isinstance(network, Recurrent):
        uppermost = network.layers[-1]
        return Sizes(network.input_size, uppermost.sizes[0], uppermost.hidden_size)
    units = getattr(network, "hidden_size", network.state_size)
    return Sizes(network.input_size, units, units)


def account_of(found: Found, module: Module, network: Recurrent | Network, ignore: Sequence[str] = ()) -> Account:
    """Return what the tensors of a file are for, seen from one of its recurrent modules."""
    return account_for(
        found.tensors,
        module.names(network),
        module.prefix,
        sizes_of(network),
        is_cell=module.is_cell,
        is_own=bool(module.own),
        others=[prefix for prefix in found.modules if prefix != module.prefix],
        ignore=ignore,
    )
