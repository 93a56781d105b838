"""Networks from files of other libraries, which describe their layers: Keras and ONNX."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import groupby

from torch import nn

from lyapkit.files.errors import CheckpointError, CheckpointWarning, listed
from lyapkit.files.stored_layers import StoredLayer, StoredNetwork, StoredReadout, as_parameters
from lyapkit.models.compositions import Composition
from lyapkit.models.network import RecurrentNetwork
from lyapkit.models.recurrent import Recurrent
from lyapkit.models.signals import Embedding
from lyapkit.models.ties import warn_of_lost_ties
from lyapkit.models.wild_values import warn_of_wild_values


def described_system(
    network: StoredNetwork,
    prefix: str | Sequence[str] | None = None,
    nonlinearity: str | None = None,
    source: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
    embedding: str | None = None,
) -> Recurrent | Composition:
    """Return the stack of recurrent layers that a file describes, or of those that `prefix` names.

    Parameters
    ----------
    network : StoredNetwork
        What the file holds.
    prefix : str or sequence of str, optional
        As for `StoredNetwork.stack`.
    nonlinearity : "tanh" or "relu", optional
        Of Elman layers, if the file does not tell.
    source : mapping, optional
        What a result file should say about where the weights come from.
    ignore : sequence of str
        Not for such files: must be empty.
    embedding : str, optional
        What the inputs, tokens, are looked up in. Default: inputs are what the lowest layer is given.

    Raises
    ------
    CheckpointError
        If the layers are no stack, or their nonlinearity is not known or another than was said.
    """
    if ignore:
        raise CheckpointError("describes its layers: ignore= has no say, prefix= chooses layers by their names")
    stack = network.stack(prefix)
    assumptions = network.assumptions + [said for said in dict.fromkeys(layer.assumption for layer in stack) if said]
    if embedding is None and stack[0].reads.embedding is not None:
        assumptions.append(
            f"the embedding {stack[0].reads.embedding!r} lies in front: inputs are the vectors that it makes of "
            "tokens; embedding= lets them be the tokens"
        )
    assumed = {"assumptions": "; ".join(assumptions)} if assumptions else {}
    system = _built(stack, nonlinearity, {**(source or {}), **assumed})
    if embedding is not None:
        table = network.embedding_of(stack[0], embedding)
        system = Composition([Embedding(table.weight), system], {"composition": f"{table.name!r} gives the inputs"})
    of_layers = {f"{name} of {layer}": tensor for layer in stack for name, tensor in layer.weights.items()}
    warn_of_wild_values((source or {}).get("checkpoint", "the file"), of_layers)
    for assumption in assumptions:
        warnings.warn(assumption, CheckpointWarning, stacklevel=3)
    return system


def described_network(
    network: StoredNetwork,
    prefix: str | Sequence[str] | None = None,
    nonlinearity: str | None = None,
    readout: str | None = None,
    source: Mapping[str, str] | None = None,
    ignore: Sequence[str] = (),
) -> RecurrentNetwork:
    """Return the stack and the linear layer that reads its last state, or the one that `readout` names.

    The other arguments are those of `described_system`. Equal matrices are warned of: such files do not tell whether
    they are tied, and here they are parameters of their own.

    Raises
    ------
    CheckpointError
        As there; or if there is no such readout or several, something follows it, or the layers have no counterpart
        among PyTorch's modules (different widths, a GRU whose reset gate comes before the weights).
    """
    stack = network.stack(prefix)
    linear = _readout(network, stack[-1], readout)
    system = described_system(network, prefix, nonlinearity, source, ignore)
    if not isinstance(system, Recurrent):
        raise CheckpointError(
            f"holds {system}: layers of different kinds make no module of PyTorch's, as a loss needs here"
        )
    result = RecurrentNetwork(system.pytorch_module(), linear)
    result.source = system.source
    own = {f"{name} of {layer}": tensor for layer in stack for name, tensor in layer.weights.items()}
    own["weight of the readout"] = linear.weight.detach()
    tables = {f"weight of {table}": table.weight for table in network.embeddings}
    warn_of_lost_ties((source or {}).get("checkpoint", "the file"), own | tables, own)
    return result


def described_modules(network: StoredNetwork) -> dict[str, str]:
    """Return the recurrent layers in a file: name to a line that describes the layer and what it reads."""
    lines = {}
    for layer in network.layers:
        if layer.refusal is not None:
            lines[layer.name] = f"not usable: {layer.refusal}"
            continue
        try:
            line = str(_built([layer], layer.nonlinearity or "tanh", {}))
        except ValueError as error:
            lines[layer.name] = f"not usable: {error}"
            continue
        if layer.kind == "RNN" and layer.nonlinearity is None:
            line = line.replace("tanh RNN", "RNN")
        lines[layer.name] = f"{line}, {_reads(layer, network.order_is_known)}"
    return lines


def _reads(layer: StoredLayer, order_is_known: bool) -> str:
    through = f" through {', '.join(layer.reads.between)}" if layer.reads.between else ""
    if not order_is_known:
        return "which reads what the file does not tell" + (f" ({', '.join(layer.reads.between)})" if through else "")
    origin = "the inputs" if layer.reads.source is None else repr(layer.reads.source)
    return f"which reads {origin}{through}"


def _built(
    stack: Sequence[StoredLayer], nonlinearity: str | None, source: Mapping[str, str]
) -> Recurrent | Composition:
    """Return layers as one system: a `Recurrent` for layers of one form, or several of these in a row."""
    groups = [
        list(group)
        for _, group in groupby(stack, key=lambda layer: (layer.kind, layer.nonlinearity, layer.reset_after))
    ]
    try:
        parts = [_of_one_form(group, nonlinearity, source) for group in groups]
        return parts[0] if len(parts) == 1 else Composition(parts, source)
    except ValueError as error:
        raise CheckpointError(f"holds {listed(map(str, stack), quoted=False)}, but {error}") from error


def _of_one_form(layers: Sequence[StoredLayer], nonlinearity: str | None, source: Mapping[str, str]) -> Recurrent:
    known = layers[0].nonlinearity
    if known is not None and nonlinearity not in (None, known):
        raise ValueError(f"the activation function of {layers[0].name!r} is {known}, not {nonlinearity}")
    return Recurrent.from_parameters(
        as_parameters(layers), known or nonlinearity, source, reset_after=layers[0].reset_after
    )


def _readout(network: StoredNetwork, top: StoredLayer, wanted: str | None) -> nn.Linear:
    """Return the linear layer that reads the last state of the uppermost layer, or the one asked for."""
    on_top = [readout for readout in network.readouts if readout.reads.source == top.name]
    if wanted is not None:
        found = [readout for readout in on_top if readout.name == wanted.rstrip("./")]
    else:
        found = [readout for readout in on_top if readout.reads.is_last]
    if len(found) != 1:
        what = f"called {wanted!r}" if wanted else "for its last state"
        raise CheckpointError(
            f"holds {'no' if not found else 'more than one'} linear layer {what} on {top.name!r}; these read it: "
            f"{listed(readout.name for readout in on_top) or 'none'}; choose one with readout="
        )
    (readout,) = found
    if readout.after is not None:
        raise CheckpointError(
            f"changes the outputs of {readout.name!r} by {readout.after}, and a loss here is given the outputs as they "
            "are: save the network without it"
        )
    return _linear(readout)


def _linear(readout: StoredReadout) -> nn.Linear:
    n_outputs, n_units = readout.weight.shape
    linear = nn.Linear(n_units, n_outputs, bias=readout.bias is not None, dtype=readout.weight.dtype)
    linear.load_state_dict({"weight": readout.weight} | ({} if readout.bias is None else {"bias": readout.bias}))
    return linear
