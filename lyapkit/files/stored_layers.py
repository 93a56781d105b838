"""What a reader of other libraries' files makes of a network: recurrent layers in PyTorch's layout, and their order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from lyapkit.files.errors import CheckpointError

MOST_CHANGES = 12  # of a signal that are named
N_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


@dataclass(frozen=True)
class Signal:
    """What runs along one edge of a network.

    Attributes
    ----------
    source : str or None
        The recurrent layer whose hidden states it carries, None for the network's inputs.
    between : tuple of str
        What changed it since, by names that a reader of the network would know.
    is_last : bool
        Whether it is the state after the last step alone.
    axes : tuple of str
        What its dimensions are, where the reader keeps track.
    embedding : str or None
        The table from which the network's inputs were looked up before, by the name of its layer.
    """

    source: str | None = None
    between: tuple[str, ...] = ()
    is_last: bool = False
    axes: tuple[str, ...] = ()
    embedding: str | None = None

    def through(self, what: str) -> Signal:
        """Return the signal after it was changed by `what`; of very many changes, the first ones are remembered."""
        if len(self.between) > MOST_CHANGES:
            return self
        what = "others" if len(self.between) == MOST_CHANGES else what
        return replace(self, between=(*self.between, what))


@dataclass(frozen=True)
class StoredLayer:
    """A recurrent layer.

    Attributes
    ----------
    name : str
        What the file calls it.
    kind : str
        "RNN", "GRU" or "LSTM".
    weights : dict
        `weight_ih`, `weight_hh` and, with biases, `bias_ih` and `bias_hh`, gates in PyTorch's order. Empty if refused.
    reads : Signal
        Its input.
    nonlinearity : str or None
        Of an RNN: "tanh" or "relu"; None if the file does not tell.
    reset_after : bool
        Of a GRU: whether the reset gate multiplies U h + b, as in PyTorch, or h.
    refusal : str or None
        What about it has no counterpart here.
    assumption : str or None
        What about it the file does not tell and was taken for granted.
    """

    name: str
    kind: str
    weights: Mapping[str, Tensor]
    reads: Signal
    nonlinearity: str | None = None
    reset_after: bool = True
    refusal: str | None = None
    assumption: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}"


@dataclass(frozen=True)
class StoredReadout:
    """A linear layer that reads hidden states: `weight` (O, H), `bias` (O) or None, and what is done to its output."""

    name: str
    weight: Tensor
    bias: Tensor | None
    reads: Signal
    after: str | None = None


@dataclass(frozen=True)
class StoredEmbedding:
    """A table `weight` (tokens, features) that the network's inputs are looked up in, and its tensor's name."""

    name: str
    weight: Tensor
    tensor: str

    def __str__(self) -> str:
        return f"the embedding {self.name!r}"


@dataclass
class StoredNetwork:
    """What there is in a file.

    Attributes
    ----------
    layers : list of StoredLayer
        In the order in which signals reach them.
    readouts : list of StoredReadout
        Linear layers directly on top of one of them.
    embeddings : list of StoredEmbedding
        What the inputs, tokens, are looked up in, or may be.
    tensors : dict
        Every tensor of the file by the name that it has there.
    roles : dict
        What each of these is.
    assumptions : list of str
        What the file does not tell and was taken for granted, besides what it does not tell about single layers.
    order_is_known : bool
        Whether `reads` of the layers is what the file says; if not, it says nothing.
    """

    layers: list[StoredLayer] = field(default_factory=list)
    readouts: list[StoredReadout] = field(default_factory=list)
    embeddings: list[StoredEmbedding] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)
    assumptions: list[str] = field(default_factory=list)
    order_is_known: bool = True

    def stack(self, prefix: str | Sequence[str] | None = None) -> list[StoredLayer]:
        """Return the layers that make the network to analyse, from its inputs upwards.

        Parameters
        ----------
        prefix : str or sequence of str, optional
            Names of the layers, in this order. Their inputs are then what the lowest of them is given, whatever lies
            in front of it. Default: all there are, which must follow directly on one another and on the inputs.

        Raises
        ------
        CheckpointError
            If there is no recurrent layer or none of that name; if one has no counterpart here; or if something lies
            in front of them or in between.
        """
        if not self.layers:
            raise CheckpointError(
                "holds no recurrent layer, or none that it calls one; 'lyapkit inspect' lists what it holds"
            )
        if prefix is None:
            chosen = self.layers
        else:
            names = [prefix] if isinstance(prefix, str) else list(prefix)
            chosen = [self._named(name) for name in names]
        for layer in chosen:
            if layer.refusal is not None:
                raise CheckpointError(
                    f"cannot be analysed, {layer}: {layer.refusal}{self._ways_out(layer) if prefix is None else ''}"
                )
        for below, layer in zip([None, *chosen], chosen, strict=False):
            if below is None and prefix is not None:
                continue
            obstacle = self._obstacle(below, layer, prefix is not None)
            if obstacle is not None:
                raise CheckpointError(f"is no plain stack: {layer} {obstacle}{self._ways_out()}")
        return list(chosen)

    def embedding_of(self, lowest: StoredLayer, wanted: str) -> StoredEmbedding:
        """Return the embedding, called as its layer or as its tensor is, in which the inputs of a layer are looked up.

        Raises
        ------
        CheckpointError
            If there is no such embedding, or something else than what it returns is the layer's input.
        """
        found = [table for table in self.embeddings if wanted.rstrip("./") in (table.name, table.tensor)]
        if len(found) != 1:
            known = ", ".join(repr(table.name) for table in self.embeddings) or "none"
            raise CheckpointError(f"holds no embedding {wanted!r} that the inputs are looked up in, only {known}")
        (table,) = found
        if self.order_is_known and lowest.reads.embedding != table.name:
            raise CheckpointError(f"does not give {lowest} what it looks up in {table}")
        if lowest.reads.between:
            raise CheckpointError(f"does not give {lowest} what it looks up in {table} but {self._path(lowest)}")
        return table

    @staticmethod
    def _path(layer: StoredLayer) -> str:
        return f"what has gone through {', '.join(layer.reads.between)}"

    def _named(self, name: str) -> StoredLayer:
        found = [layer for layer in self.layers if layer.name == name.rstrip("./")]
        if len(found) != 1:
            raise CheckpointError(
                f"holds {'no' if not found else 'more than one'} recurrent layer called {name!r}, only "
                + ", ".join(repr(layer.name) for layer in self.layers)
            )
        return found[0]

    def _obstacle(self, below: StoredLayer | None, layer: StoredLayer, is_said: bool) -> str | None:
        """Return why a layer cannot be said to read the one below, or the network's inputs, and nothing else."""
        if not self.order_is_known:
            if below is not None and not is_said:
                return f"and {below} lie side by side in the file, which does not tell what lies between them"
            return f"reads {', '.join(layer.reads.between)}" if layer.reads.between and not is_said else None
        if layer.reads.source != (None if below is None else below.name):
            origin = "the network's inputs" if layer.reads.source is None else repr(layer.reads.source)
            return f"reads {origin}, not {'the inputs' if below is None else repr(below.name)}"
        if layer.reads.between:
            where = "the inputs" if below is None else f"{below.name!r}"
            return f"does not read {where} directly but through {', '.join(layer.reads.between)}"
        if layer.reads.is_last:
            return f"reads the last state of {layer.reads.source!r} alone"
        return None

    def _ways_out(self, refused: StoredLayer | None = None) -> str:
        """Return what to do, as the end of an error message."""
        usable = [layer.name for layer in self.layers if layer.refusal is None and layer is not refused]
        if not usable:
            return ""
        return (
            f"; to analyse one layer alone, along its own inputs, name it: prefix={usable[0]!r}"
            if len(usable) == 1
            else f"; to analyse one layer alone, along its own inputs, choose it with prefix=, of {usable}"
        )


def as_parameters(stack: Sequence[StoredLayer]) -> dict[str, Tensor]:
    """Return the parameters of a stack as those of an `nn.RNN`, `nn.GRU` or `nn.LSTM`, by their names there."""
    return {f"{name}_l{index}": tensor for index, layer in enumerate(stack) for name, tensor in layer.weights.items()}


def in_pytorch_order(tensor: Tensor, order: Sequence[int]) -> Tensor:
    """Return rows (gates · H, …) with their gates in another order: the i-th becomes the one that was `order[i]`-th."""
    blocks = tensor.unflatten(0, (len(order), -1))
    return blocks[list(order)].flatten(0, 1).contiguous()
