"""Which recurrent networks a file's tensors make, by names and shapes: PyTorch's, and registered ones of lyapkit's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from lyapkit.files.tensors import CheckpointError
from lyapkit.models import extra_state
from lyapkit.models.architectures import ARCHITECTURES, network_class
from lyapkit.models.network import Network
from lyapkit.models.recurrent import Recurrent
from lyapkit.models.stored_weights import StoredWeights, stored_weights, widened
from lyapkit.models.ties import tie

_RECURRENT = re.compile(
    r"^(?P<prefix>(?:.*\.)?)(?P<name>(?:weight_(?:ih|hh|hr)|bias_(?:ih|hh))(?:_l(?:0|[1-9]\d*))?(?:_reverse)?)$"
)
_KINDS = {"lstm": "LSTM", "gru": "GRU"}  # that a name may say
_OTHERS = re.compile(  # what a name may say that PyTorch's modules have not
    r"zoneout|leaky|peephole|coupled|cifg|ind_?rnn|ctrnn|clockwork|highway|residual|layer_?norm|(?<![a-z])(ln|hard)_",
    re.IGNORECASE,
)
_PARTS = ("recurrent.", "readout.", extra_state.NAME)  # of a RecurrentNetwork


@dataclass
class Module:
    """A recurrent module among named tensors.

    Attributes
    ----------
    prefix : str
        How its tensors' names begin.
    parameters : dict
        Its tensors by its own names; of a network of lyapkit's own, all that begin with the prefix.
    own : str
        The class of lyapkit's that it is, by name; "" for PyTorch's modules.
    notes : list of str
        What was computed or converted.
    refusals : dict
        Names of weights that cannot be computed to reasons.
    """

    prefix: str
    parameters: dict[str, Tensor] = field(default_factory=dict)
    own: str = ""
    notes: list[str] = field(default_factory=list)
    refusals: dict[str, str] = field(default_factory=dict)

    @property
    def is_cell(self) -> bool:
        """Whether it is a cell of PyTorch's, whose user wrote the loop over time."""
        return not self.own and not any(re.search(r"_l\d+(_reverse)?$", name) for name in self.parameters)

    def contradiction(self, network: Recurrent | Network) -> str | None:
        """Return what the module's name says and its tensors do not, if anything."""
        said = [kind for word, kind in _KINDS.items() if word in self.prefix.lower()]
        if isinstance(network, Recurrent) and len(said) == 1 and said[0] not in str(network):
            return f"its name says {said[0]}"
        other = _OTHERS.search(self.prefix)
        return f"its name says {other.group()!r}, and PyTorch's modules have no such thing" if other else None

    def network(
        self, nonlinearity: str | None, source: Mapping[str, str] | None = None, *, needs_readout: bool = False
    ) -> Recurrent | Network:
        """Return the network; if its readout is needed, one of lyapkit's own must not be without.

        Raises
        ------
        ValueError
            If the parameters do not make one.
        """
        for name, reason in self.refusals.items():
            raise ValueError(f"{self.prefix}{name} cannot be computed: {reason}")
        if not self.own:
            return Recurrent.from_parameters(self.parameters, nonlinearity, source)
        kind = network_class(self.own)
        if kind is None:
            raise ValueError(
                f"it is a {self.own}, a network that is not registered here: import the module of yours that calls "
                "lyapkit.register for it first"
            )
        network = (kind.from_parameters if needs_readout else kind.recurrence)(self.parameters, source)
        if isinstance(network, Network) and extra_state.NAME in self.parameters:
            said = extra_state.decoded(self.parameters[extra_state.NAME])
            network.every_step = bool(said.get("every_step"))
            try:
                tie(network, said.get("ties", ()), self.parameters)
            except (AttributeError, TypeError, KeyError) as error:
                raise ValueError(f"its ties are not those of a {self.own}: {error}") from error
        return network

    def names(self, network: Recurrent | Network) -> set[str]:
        """Return the names in the file of the tensors that make the network."""
        if self.own and not isinstance(network, Network):  # its recurrent module; what else it has is its readout
            return {self.prefix + name for name in self.parameters if name.startswith(_PARTS)}
        names = network.state_dict() if isinstance(network, Network) else self.parameters
        return {self.prefix + name for name in names}


@dataclass
class Found:
    """The recurrent modules of a file by their prefixes, and all its weights, by the names that modules give them."""

    stored: StoredWeights
    modules: dict[str, Module]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Name to tensor."""
        return self.stored.tensors


def find_modules(tensors: Mapping[str, Tensor]) -> Found:
    """Return the recurrent modules among named tensors."""
    stored = stored_weights(tensors)
    modules = _own_networks(stored.tensors)
    for full_name in [*stored.tensors, *stored.refusals]:
        match = _RECURRENT.match(full_name)
        if match is None or any(full_name.startswith(prefix) and modules[prefix].own for prefix in modules):
            continue
        module = modules.setdefault(match["prefix"], Module(match["prefix"]))
        if full_name in stored.refusals:
            module.refusals[match["name"]] = stored.refusals[full_name]
        else:
            module.parameters[match["name"]] = stored.tensors[full_name]
    found = {
        prefix: module
        for prefix, module in modules.items()
        if module.own or any(name.startswith("weight_hh") for name in [*module.parameters, *module.refusals])
    }
    for module in found.values():
        module.parameters, module.notes = widened(module.parameters)
    return Found(stored, found)


def choose(found: Found, prefix: str | None) -> Module:
    """Return the one recurrent module, or the one asked for.

    Raises
    ------
    CheckpointError
        If there is none, or several and none is asked for, or another is. The message lacks the file's name.
    """
    if not found.modules:
        raise CheckpointError(
            "holds no recurrent layer: no tensor is called weight_hh_l0 or weight_hh, as in nn.RNN, nn.GRU, "
            "nn.LSTM and their cells, or as in lyapkit's own networks; 'lyapkit inspect' lists what it holds"
        )
    known = ", ".join(repr(known) for known in sorted(found.modules))
    if prefix is None:
        if len(found.modules) > 1:
            raise CheckpointError(
                f"holds several recurrent modules, {known}: choose one with prefix=, or name several in a row, from "
                "the input upwards; where anything lies between them, build the module and give it to from_module"
            )
        return next(iter(found.modules.values()))
    wanted = with_dot(prefix)
    if wanted not in found.modules:
        raise CheckpointError(f"holds no recurrent module with prefix {prefix!r}, only {known}")
    return found.modules[wanted]


def with_dot(prefix: str) -> str:
    """Return the beginning of names with a dot at its end, unless it is empty."""
    return prefix if prefix.endswith(".") or not prefix else prefix + "."


def _own_networks(tensors: Mapping[str, Tensor]) -> dict[str, Module]:
    """Return networks of lyapkit's own: by what their state dicts say, or by a tensor that no other network has."""
    own: dict[str, str] = {}
    for full_name, tensor in tensors.items():
        before, dot, leaf = full_name.rpartition(".")
        if leaf == extra_state.NAME and (name := _said(tensor)):
            own[before + dot] = name
    for kind in {entry.network for entry in ARCHITECTURES.values()}:
        for full_name in tensors:
            if kind.known_by and f".{full_name}".endswith(f".{kind.known_by}"):
                own.setdefault(full_name.removesuffix(kind.known_by), kind.__name__)
    outermost = {p: name for p, name in own.items() if not any(p != q and p.startswith(q) for q in own)}
    return {
        prefix: Module(prefix, {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}, name)
        for prefix, name in outermost.items()
    }


def _said(state: Tensor) -> str:
    """Return the name of the network that an extra state is of, "" if it says none."""
    try:
        name = extra_state.decoded(state).get("network")
    except ValueError:
        return ""
    return name if isinstance(name, str) else ""
