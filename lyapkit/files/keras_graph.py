"""A Keras model's description followed from its inputs to its outputs, to see what each recurrent layer reads.

No layer is built: what runs through the network are `Signal` objects, which say where they come from and what changed
them.
"""

from __future__ import annotations

import graphlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lyapkit.files.errors import CheckpointError
from lyapkit.files.keras_layers import KINDS, recurrent_layer
from lyapkit.files.keras_variables import Variables
from lyapkit.files.stored_layers import Signal, StoredEmbedding, StoredLayer, StoredNetwork, StoredReadout

_UNCHANGING = {  # when a network is used, not trained
    "InputLayer",
    "Identity",
    "Dropout",
    "SpatialDropout1D",
    "GaussianDropout",
    "GaussianNoise",
    "AlphaDropout",
    "ActivityRegularization",
}
_MODELS = ("Sequential", "Functional", "Model")
_OWN_MODULES = ("keras", "tf_keras", "tensorflow.keras")
MASKED = "a mask (Keras repeats the last state at the steps that it covers)"
MAX_DEPTH = 20
MAX_CALLS = 3000  # of layers: models in models that are used several times can ask for any number


@dataclass(frozen=True)
class Place:
    """Where a layer is: the path of its variables in Keras 3's files, and the names of the models that it is in."""

    path: str = ""
    names: tuple[str, ...] = ()

    def inner(self, path: str, name: str) -> Place:
        """Return the place of a part."""
        return Place(f"{self.path}/{path}".lstrip("/"), (*self.names, name))

    @property
    def name(self) -> str:
        """What to call it: names of models and layer, with slashes."""
        return "/".join(self.names)


def follow(config: Mapping[str, Any], variables: Variables) -> StoredNetwork:
    """Return the recurrent layers of the model that a Keras configuration describes, and what is around them.

    Raises
    ------
    CheckpointError
        If the model or its structure is not one that a configuration describes.
    """
    walk = _Walk(variables, StoredNetwork())
    try:
        outputs = walk.model(config, Place(), [])
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise CheckpointError(f"its configuration is not one of Keras: {type(error).__name__} {error}") from error
    network = walk.network
    read_last = {output.between[-1] for output in outputs if len(output.between) == 1}
    network.readouts = [
        replace(readout, after=readout.after or (None if f"Dense {readout.name!r}" in read_last else "other layers"))
        for readout in network.readouts
    ]
    return network


class _Walk:
    """One walk through a model; what it finds goes into `network`."""

    def __init__(self, variables: Variables, network: StoredNetwork) -> None:
        self.variables = variables
        self.network = network
        self.n_calls = 0

    def model(self, config: Mapping[str, Any], place: Place, inputs: list[Signal]) -> list[Signal]:
        """Return the outputs of a model for inputs, which are new ones if there are none."""
        if len(place.names) > MAX_DEPTH:
            raise CheckpointError(f"models are nested more than {MAX_DEPTH} deep")
        class_name = config["class_name"]
        if class_name not in _MODELS or not _is_kerass_own(config):
            raise CheckpointError(
                f"the model is a {class_name}, a class of its author's own, whose code is not in the file: save its "
                "weights, model.save_weights('name.weights.h5'), and choose the recurrent layer in them with prefix="
            )
        inner = config["config"]
        layers = inner["layers"] if isinstance(inner, Mapping) else inner  # a list in Keras 2.1
        paths = self._paths(layers, class_name, place)
        if class_name == "Sequential":
            signals = inputs[:1] or [Signal()]
            for layer, path in zip(layers, paths, strict=True):
                signals = self.layer(layer, place.inner(path, layer["config"]["name"]), signals)
            return signals
        return self._graph(inner, layers, paths, place, inputs)

    def _paths(self, layers: list[Mapping[str, Any]], class_name: str, place: Place) -> list[str]:
        """Return where Keras 3 puts the variables of each layer of a model."""
        counts: dict[str, int] = {}
        paths = []
        for layer in layers:
            kind = snake_case(layer["class_name"])
            has_none = class_name == "Sequential" and kind == "input_layer"
            if has_none or str(layer.get("module")).startswith(("keras.src.ops", "keras.ops")):
                paths.append("operations/" + kind)
                continue
            count = counts[kind] = counts.get(kind, -1) + 1
            paths.append(f"layers/{kind}_{count}" if count else f"layers/{kind}")
        return paths

    def _graph(
        self, config: Mapping[str, Any], layers: list[Mapping], paths: list[str], place: Place, inputs: list[Signal]
    ) -> list[Signal]:
        """Return the outputs of a functional model."""
        given = dict(zip([_history(entry)[0] for entry in _entries(config["input_layers"])], inputs, strict=False))
        known: dict[tuple[str, int, int], Signal] = {}
        calls: dict[tuple[str, int], tuple] = {}
        for layer, path in zip(layers, paths, strict=True):
            name = layer.get("name") or layer["config"]["name"]
            if (name, 0) in calls or (name, 0, 0) in known:
                raise CheckpointError(f"it has two layers called {name!r}")
            if layer["class_name"] == "InputLayer":
                known[name, 0, 0] = given.get(name, Signal())
                continue
            nodes = list(layer["inbound_nodes"])
            for index, call in enumerate(nodes):
                calls[name, index] = (layer, place.inner(path, name), len(nodes), call, _histories(call))
        for key in _in_order({key: {entry[:2] for entry in call[-1]} for key, call in calls.items()}):
            if key not in calls:
                continue  # an input
            layer, where, n_calls, call, histories = calls[key]
            signals = [known[entry] for entry in histories]
            if n_calls > 1:
                signals = [signals[0].through("being one of its several uses"), *signals[1:]]
            if _stays_in_training(call):
                signals = [signals[0].through(f"{layer['class_name']} {where.name!r} in training mode"), *signals[1:]]
            for number, output in enumerate(self.layer(layer, where, signals, is_masked=_names_mask(call))):
                known[*key, number] = output
        return [known[_history(entry)] for entry in _entries(config["output_layers"])]

    def layer(
        self, layer: Mapping[str, Any], place: Place, signals: list[Signal], is_masked: bool = False
    ) -> list[Signal]:
        """Return what a layer makes of its inputs; recurrent layers and readouts are noted down."""
        self.n_calls += 1
        if self.n_calls > MAX_CALLS:
            raise CheckpointError(f"its layers are called more than {MAX_CALLS} times")
        class_name, config = layer["class_name"], layer["config"]
        if class_name in _MODELS and _is_kerass_own(layer):
            return self.model(layer, place, signals)
        first, title = signals[0], f"{class_name} {place.name!r}"
        if is_masked:
            first = first.through(MASKED)
        if not _is_kerass_own(layer):
            if "return_sequences" in config:
                refusal = "it is of a class of its author's own, whose code is not in the file"
                self.network.layers.append(StoredLayer(place.name, class_name, {}, first, refusal=refusal))
            self._note(place, f"{title}, of a class of its author's own")
            return [first.through(title)]
        if class_name in _UNCHANGING or (class_name == "Activation" and config.get("activation") == "linear"):
            self._note(place, f"{title}, without effect when the network is used")
            return [first]
        if class_name in ("LSTM", "GRU", "SimpleRNN", "RNN"):
            return self._recurrent(class_name, config, place, first, signals[1:])
        if class_name == "Bidirectional":
            return self._bidirectional(config, place, first)
        if "LSTM" in class_name or "GRU" in class_name or "RNN" in class_name:
            refusal = "a kind of recurrent layer that is not understood"
            self.network.layers.append(StoredLayer(place.name, class_name, {}, first, refusal=refusal))
            self._note(place, f"{title}, not understood")
            return [Signal(source=place.name, is_last=not config.get("return_sequences", False))]
        if class_name == "Embedding" and first == Signal() and not config.get("mask_zero"):
            return [self._embedding(place, title, first)]
        if class_name == "Dense":
            self._readout(config, place, first)
        self._note(place, f"{title}, which reads {_described(first)}")
        changed = first.through(title if len(signals) == 1 else f"{title} with other signals")
        if class_name == "Masking" or (class_name == "Embedding" and config.get("mask_zero")):
            changed = changed.through(MASKED)
        return [changed]

    def _embedding(self, place: Place, title: str, tokens: Signal) -> Signal:
        """Note a table in front down, and return what it makes of tokens."""
        self._note(place, f"{title}, in front")
        own, tensors = self.variables.of(place.path, place.names, ("embeddings",))
        for name in own:
            self.network.embeddings.append(StoredEmbedding(place.name, tensors["embeddings"], name))
        return replace(tokens, embedding=place.name)

    def _recurrent(
        self, class_name: str, config: Mapping[str, Any], place: Place, first: Signal, states: list[Signal]
    ) -> list[Signal]:
        """Note a recurrent layer down, and return its outputs: its states, and the last of them if asked for."""
        if states:
            first = first.through("a start state that other layers give it")
        settings, cell = config, class_name
        if class_name == "RNN":
            cell = config["cell"]["class_name"]
            settings = {**config["cell"]["config"], "go_backwards": config.get("go_backwards")}
        if cell in KINDS and (class_name != "RNN" or _is_kerass_own(config["cell"])):
            own, tensors = self.variables.of(place.path + "/cell", place.names, ("kernel", "recurrent_kernel", "bias"))
            stored = recurrent_layer(place.name, cell, settings, tensors, first)
            self._note(place, f"recurrent layer {place.name!r}", own)
        else:
            refusal = f"its cell is a {cell}, which is not understood"
            stored = StoredLayer(place.name, "RNN", {}, first, refusal=refusal)
            self._note(place, f"recurrent layer {place.name!r}, not understood")
        if all(layer.name != stored.name for layer in self.network.layers):  # else it is used once more
            self.network.layers.append(stored)
        output = Signal(source=place.name, is_last=not config.get("return_sequences", False))
        state = Signal(source=place.name, is_last=True)
        return [output, state, state] if config.get("return_state") else [output]

    def _bidirectional(self, config: Mapping[str, Any], place: Place, first: Signal) -> list[Signal]:
        """Note the forward half of a bidirectional layer down; it can be chosen by its name."""
        title = f"Bidirectional {place.name!r}"
        half, settings = config["layer"]["class_name"], config["layer"]["config"]
        if half in ("LSTM", "GRU", "SimpleRNN"):
            name = settings["name"] if str(settings["name"]).startswith("forward_") else f"forward_{settings['name']}"
            forward = place.inner("forward_layer", name)
            reads = first.through(f"{title} (its other half reads the sequence from its end, so that no state evolves)")
            self._recurrent(half, settings, forward, reads, [])
        self._note(place, f"{title}, its backward half")
        return [Signal(source=place.name).through(title)]

    def _readout(self, config: Mapping[str, Any], place: Place, reads: Signal) -> None:
        _, tensors = self.variables.of(place.path, place.names, ("kernel", "bias"))
        if reads.source is None or reads.between or "kernel" not in tensors or tensors["kernel"].ndim != 2:
            return
        activation = config.get("activation", "linear")
        after = None if activation == "linear" else f"its activation, {activation!r}"
        weight = tensors["kernel"].mT.contiguous()
        self.network.readouts.append(StoredReadout(place.name, weight, tensors.get("bias"), reads, after))

    def _note(self, place: Place, role: str, own: Mapping[str, str] | None = None) -> None:
        """Say what a layer's tensors are."""
        for name in self.variables.within(place.path, place.names):
            self.network.roles.setdefault(name, role)
        for name, variable in (own or {}).items():
            self.network.roles[name] = f"{role}: {variable}"


def snake_case(name: str) -> str:
    """Return a class's name as Keras writes it in files."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _is_kerass_own(layer: Mapping[str, Any]) -> bool:
    """Return whether a layer is of a class of Keras' own, as far as its description tells (Keras 2 gives no module)."""
    module, registered = layer.get("module"), layer.get("registered_name")
    own = module is None or any(module == known or module.startswith(known + ".") for known in _OWN_MODULES)
    return own and (registered in (None, layer["class_name"]))


def _entries(value: Any) -> list[Any]:
    """Return a list of references to tensors, which may be a single one."""
    return [value] if value and isinstance(value[0], str) else list(value)


def _history(entry: list[Any]) -> tuple[str, int, int]:
    name, node, tensor = entry[:3]
    return name, int(node), int(tensor)


def _in_order(reads: Mapping[tuple[str, int], set]) -> Iterator[tuple[str, int]]:
    """Yield calls of layers so that each comes after those that it reads."""
    try:
        yield from graphlib.TopologicalSorter(reads).static_order()
    except graphlib.CycleError:
        raise CheckpointError("its configuration is damaged: the layers read one another in a circle") from None


def _histories(call: object, depth: int = 0) -> list[tuple[str, int, int]]:
    """Return which tensors a layer is called with, the data first."""
    return list(_found(call, depth))


def _found(value: object, depth: int) -> Iterator[tuple[str, int, int]]:
    if depth > MAX_DEPTH:
        raise CheckpointError(f"a layer's arguments are nested more than {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        history = (
            value.get("config", {}).get("keras_history") if value.get("class_name") == "__keras_tensor__" else None
        )
        if history is not None:
            yield _history(history)
        else:
            for name, inner in value.items():
                if name != "mask":
                    yield from _found(inner, depth + 1)
    elif isinstance(value, list | tuple):
        if len(value) in (3, 4) and isinstance(value[0], str) and all(isinstance(n, int) for n in value[1:3]):
            if value[0] != "_CONSTANT_VALUE":
                yield _history(list(value))
            yield from _found(value[3:], depth + 1)
        else:
            for inner in value:
                yield from _found(inner, depth + 1)


def _names_mask(call: object) -> bool:
    """Return whether a layer is called with a mask."""
    return isinstance(call, Mapping) and (call.get("kwargs") or {}).get("mask") is not None


def _stays_in_training(call: object, depth: int = 0) -> bool:
    """Return whether a layer is called with training=True, so that its dropout or noise is on at any time."""
    if depth > MAX_DEPTH or not isinstance(call, Mapping | list | tuple):
        return False
    if isinstance(call, Mapping) and call.get("training") is True:
        return True
    return any(_stays_in_training(i, depth + 1) for i in (call.values() if isinstance(call, Mapping) else call))


def _described(signal: Signal) -> str:
    origin = "the inputs" if signal.source is None else f"{signal.source!r}"
    return origin + (f" through {', '.join(signal.between)}" if signal.between else "")
