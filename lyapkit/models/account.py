"""What every tensor of a file is for: the recurrent network, its readout, what cannot matter, or unexplained.

A recurrent network is taken for what its names say only if nothing lies beside its tensors that would change its
equations. What lies *elsewhere* in the model, in modules of its own, is let be if it can only act before the recurrent
module or after it: for nn.RNN, nn.GRU and nn.LSTM, which run over a whole sequence by themselves, that is modules with
matrices (embeddings, linear layers, convolutions); for cells, whose users write the loop over time, only those whose
names say what they are. All else is unexplained, until the user says that it does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from torch import Tensor

from lyapkit.files.errors import listed
from lyapkit.files.tensors import CheckpointError

_FRONT = re.compile(
    r"(\w*embed\w*|\w*encoder\w*|wte|inputs?|input_(layer|proj\w*|linear)|in_proj|\w*cnn\w*|conv\w*|features?|backbone|frontend)\d*",
    re.IGNORECASE,
)
_BACK = re.compile(
    r"(\w*decoder\w*|\w*readout\w*|\w*head\w*|fc\w*|\w*out|output\w*|\w*classifier\w*|linear|lin|dense|proj\w*|logits|"
    r"mlp|predict\w*|actor|critic|policy|value)\d*",
    re.IGNORECASE,
)
_WEIGHING = re.compile(r"att|pool|gate|query|key|score|mask|mix", re.IGNORECASE)
_TABLE = re.compile(r"\w*embed\w*|\w*encoder\w*|wte", re.IGNORECASE)  # what may be looked up in, among _FRONT
_TRAINING = re.compile(
    r"(optim|optimi[sz]ers?|criterion|loss(es)?|loss_f(n|unc\w*)|\w+_loss|(\w+_)?metrics?|(lr_)?scheduler)\d*"
)
_COUNTER = re.compile(r"(.*\.)?(n_averaged|num_batches_tracked|num_updates|step|epoch|global_step|version)")
_ODD_NAMES = re.compile(
    r"weight_(ih|hh|hr)|bias_(ih|hh)|(^|[._])(w|b|weight|bias)_?(ih|hh|ci|cf|co|ch|mh|mi|mih|mhh)(?![a-z])|"
    r"(^|[._])(lora|adapters?|delta)(?![a-z])|peephole",
    re.IGNORECASE,
)


GIVES = "what gives the inputs: inputs are to be given as it returns them"
READS = "what reads the states"


@dataclass(frozen=True)
class Sizes:
    """What modules before and after a recurrent one must fit: its inputs, its outputs, and its gates' units."""

    inputs: int
    outputs: int
    units: int


@dataclass
class Account:
    """What the tensors of a file are for, by their names in it.

    Attributes
    ----------
    recurrent, readout : list of str
        What the network is made of.
    irrelevant : dict
        What cannot matter, with the reason.
    elsewhere : dict
        What is assumed to act before the recurrent module or after it, with what it looks like.
    unexplained : dict
        What may change the equations, with the reason.
    doubtful : list of str
        Of `elsewhere`, what nothing but its place tells.
    """

    recurrent: list[str] = field(default_factory=list)
    readout: list[str] = field(default_factory=list)
    irrelevant: dict[str, str] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)
    unexplained: dict[str, str] = field(default_factory=dict)
    doubtful: list[str] = field(default_factory=list)

    def require_complete(self, remedy: str = "give the module with its own code to from_module") -> None:
        """Refuse a file with unexplained tensors, and say what to do.

        Raises
        ------
        CheckpointError
            That names them and the ways out. The message lacks the file's name.
        """
        if not self.unexplained:
            return
        reasons = "; ".join(dict.fromkeys(self.unexplained.values()))
        first = next(iter(self.unexplained))
        raise CheckpointError(
            f"holds tensors beside the recurrent ones that may change what the network computes, "
            f"{listed(self.unexplained)} ({reasons}): {remedy}, or, if they do not act, say so by "
            f"ignore=[{first!r}, …], names or patterns with *"
        )

    def doubt_what_may_lie_between(
        self, tensors: Mapping[str, Tensor], below: str, above: str, n_given: int, n_taken: int
    ) -> None:
        """Let what could take what one part gives to what the next one takes be unexplained, wherever it seems to lie.

        Parameters
        ----------
        tensors : mapping
            All of the file.
        below, above : str
            What the two parts are called.
        n_given, n_taken : int
            Their features.
        """
        modules: dict[str, list[str]] = {}
        for name in self.elsewhere:
            modules.setdefault(_sibling(name, above, False) or name, []).append(name)
        for names in modules.values():
            matrices = [tensors[name].shape for name in names if tensors[name].ndim >= 2]
            if matrices:
                fits = n_given in {shape[1] for shape in matrices} and n_taken in {shape[0] for shape in matrices}
            else:
                fits = bool({tensors[name].numel() for name in names} & {n_given, n_taken})
            if fits:
                self.unexplained |= dict.fromkeys(names, f"they may lie between {below!r} and {above!r}")
        self.elsewhere = {name: role for name, role in self.elsewhere.items() if name not in self.unexplained}

    @property
    def notes(self) -> list[str]:
        """What was assumed, a sentence without a full stop each."""
        parts = {name.rpartition(".")[0] or name: role for name, role in self.elsewhere.items()}
        return [f"{name} is taken for {role}" for name, role in parts.items()]

    def describe(self) -> str:
        """Return the account as text, one line per group."""
        lines = []
        for title, names in {"recurrent": self.recurrent, "readout": self.readout}.items():
            if names:
                lines.append(f"{title}: {', '.join(names)}")
        for title in ("elsewhere", "irrelevant", "unexplained"):
            for reason in dict.fromkeys((group := getattr(self, title)).values()):
                names = [name for name, given in group.items() if given == reason]
                lines.append(f"{title} ({reason}): {', '.join(names)}")
        return "\n".join(lines)


def account_for(
    tensors: Mapping[str, Tensor],
    recurrent: set[str],
    prefix: str,
    sizes: Sizes,
    *,
    is_cell: bool,
    is_own: bool,
    others: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Account:
    """Return what the tensors of a file are for, seen from one of its recurrent networks.

    Parameters
    ----------
    tensors : mapping
        All of them.
    recurrent : set of str
        Names of those of which the network is made.
    prefix : str
        How the names of the recurrent module begin.
    sizes : Sizes
        Of the network.
    is_cell : bool
        Whether the loop over time is the user's code.
    is_own : bool
        Whether the network is of a class that lyapkit knows, so that modules inside it are no part of its recurrence.
    others : sequence of str
        Prefixes of other recurrent modules.
    ignore : sequence of str
        Names, or patterns with * and ?, of tensors that the user says do not matter.
    """
    account = Account(recurrent=[name for name in tensors if name in recurrent])
    siblings: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name in recurrent:
            continue
        if any(name == pattern or fnmatchcase(name, pattern) for pattern in ignore):
            account.irrelevant[name] = "ignored as asked"
        elif _COUNTER.fullmatch(name) and _is_counter(tensor):
            account.irrelevant[name] = "bookkeeping of a training"
        elif any(other and name.startswith(other) for other in others):
            account.irrelevant[name] = "of another recurrent module"
        elif (sibling := _sibling(name, prefix, is_own)) is None:
            place = f"in the recurrent module {prefix!r} itself" if name.startswith(prefix) else "of the model itself"
            account.unexplained[name] = f"parameters {place}, that PyTorch's have not"
        elif _TRAINING.fullmatch(sibling.rpartition(".")[2]):
            account.irrelevant[name] = "bookkeeping of a training"
        elif _ODD_NAMES.search(name):
            account.unexplained[name] = "named like recurrent weights"
        else:
            siblings.setdefault(sibling, {})[name] = tensor
    for sibling, inside in siblings.items():
        role, is_sure = _role(sibling.split(".")[-1], list(inside.values()), sizes, is_cell)
        if role is None:
            why = "only the code of the loop over time tells what they do" if is_cell else "they may act on the states"
            account.unexplained |= dict.fromkeys(inside, f"modules beside the recurrent one: {why}")
        else:
            account.elsewhere |= dict.fromkeys(inside, role)
            account.doubtful += [] if is_sure else [sibling]
    return account


def may_be_another_readout(prefix: str, n_outputs: int) -> bool:
    """Return whether a linear layer on the states may be a readout of its own; else it weighs states, an attention."""
    is_called_so = any(_BACK.fullmatch(part) for part in prefix.split("."))
    return is_called_so or (n_outputs > 1 and _WEIGHING.search(prefix) is None)


def _is_counter(tensor: Tensor) -> bool:
    return tensor.numel() == 1 and not tensor.is_floating_point()


def _sibling(name: str, prefix: str, is_own: bool) -> str | None:
    """Return the module in which a tensor lies, on the level where its way parts from that of the recurrent module.

    None if it lies in the recurrent module, or is a parameter of one that contains it.
    """
    inside, way = name.split("."), prefix.split(".")[:-1]
    shared = next((level for level, part in enumerate(way) if inside[level : level + 1] != [part]), len(way))
    if (shared == len(way) and not is_own) or len(inside) <= shared + 1:
        return None
    return ".".join(inside[: shared + 1])


def _role(name: str, tensors: Sequence[Tensor], sizes: Sizes, is_cell: bool) -> tuple[str | None, bool]:
    """Return what a module beside the recurrent one is taken for, None if it may be anything, and if that is sure."""
    shapes = [tensor.shape for tensor in tensors if tensor.ndim >= 2]
    acts = {sizes.outputs, sizes.units, 1} | {gates * sizes.units for gates in (2, 3, 4)}
    may_act = not shapes and bool({tensor.numel() for tensor in tensors} & acts)  # a norm, a leak, time constants
    is_front, is_back = bool(_FRONT.fullmatch(name)), bool(_BACK.fullmatch(name))
    is_table = _TABLE.fullmatch(name) is not None and any(len(s) == 2 and s[1] == sizes.inputs for s in shapes)
    if is_front and (is_table or any(shape[0] == sizes.inputs for shape in shapes)):
        takes_states = any(shape[1] in _with_states(sizes) for shape in shapes) and not is_table
        return (None, False) if is_cell and takes_states else (GIVES, True)
    if is_cell:
        reads = [shape for shape in shapes if shape[1] == sizes.outputs]
        gates = any(shape[1] in _with_states(sizes) - {sizes.outputs} for shape in shapes)
        if not is_back or gates or not reads:
            return None, False
        return READS, not any(shape[0] == sizes.outputs for shape in reads)  # else it may as well act on them
    if may_act:
        return (READS, False) if is_back else (None, False)
    widths = {size for shape in shapes for size in shape[:2]}
    if is_back and (sizes.outputs in widths or not shapes):
        return READS, True
    takes_states = any(len(shape) == 2 and shape[1] == sizes.outputs for shape in shapes)
    is_square = (sizes.outputs, sizes.outputs) in [tuple(shape[:2]) for shape in shapes]  # it may act on them
    is_of_gates = any(shape[0] in (3 * sizes.units, 4 * sizes.units) for shape in shapes)  # be added to weights
    is_sure = (takes_states and not is_square and not is_of_gates) or is_back or (is_front and sizes.inputs in widths)
    return (READS if takes_states else "something before or after the recurrent module"), is_sure


def _with_states(sizes: Sizes) -> set[int]:
    """Return how many features there are where states, perhaps of h and c, are put beside inputs or alone."""
    return {states + inputs for states in (sizes.outputs, 2 * sizes.outputs) for inputs in (0, sizes.inputs)}
