"""The model without some of its channels."""

from typing import Any

import keras
import numpy as np
from keras import tree

from tfdeep import layers
from tfdeep.graph import Call, Edited, rewrite
from tfdeep.graph.opening import Opened
from tfdeep.graph.trace import ends
from tfdeep.graph.twins import twin_of
from tfdeep.inside import is_graph
from tfdeep.keras_internals import layers_of
from tfdeep.pruning.channels import ChannelGraph
from tfdeep.pruning.rules.ours import PLAIN, TAKEN_OUT


def compact(graph: ChannelGraph, gone, optimizer: str = "keep"):
    """A new model without the channels of these roots.

    Args:
        graph: the `ChannelGraph` of the model.
        gone: array of roots.
        optimizer: as of `rewrite`.
    """
    return rewrite(graph.model, Compacting(graph, gone), optimizer=optimizer)


class Compacting:
    """The edit that makes narrower layers.

    Args:
        graph: the `ChannelGraph` of the model.
        gone: roots of the channels that go.
    """

    def __init__(self, graph: ChannelGraph, gone):
        self.graph = graph
        self._lost = graph.lost(gone)
        self.record = graph.tracer.record
        self.opened = graph.tracer.opened
        self.axes: dict[int, list] = {}
        for axis in graph.axes:
            self.axes.setdefault(id(axis.variable), []).append(axis)
        self.made: dict[int, tuple] = {}  # (old, new) by the `id` of the old.

    def keep(self, labels) -> np.ndarray:
        """Which labels stay."""
        return ~self._lost[labels]

    def __call__(self, call: Call, args: tuple, kwargs: dict):
        opened = self.opened.get(call.path)
        if opened is None and not self._changes(call):
            return None
        pairs: list = []
        if opened is None:
            outputs = self._called(call, args, kwargs, None, pairs)
        elif isinstance(call.operation, layers.StochasticDepth):
            outputs = self._branch(call, opened, args, kwargs, None, pairs)
        else:
            begin = [each for each in tree.flatten(args) if _is_symbol(each)]
            outputs = self._replayed(opened, begin, pairs)
        return Edited(outputs, pairs)

    def _changes(self, call: Call) -> bool:
        """Whether a call is another one in the new model."""
        operation = call.operation
        if isinstance(operation, TAKEN_OUT):
            return True
        if call.path in self.record.arguments:
            return True
        counted = [
            labels
            for labels, _ in self.record.sizes.get(id(operation), {}).values()
        ]
        axes = [
            axis.labels
            for variable in getattr(operation, "variables", [])
            for axis in self.axes.get(id(variable), ())
        ]
        if any(not np.all(self.keep(each)) for each in [*counted, *axes]):
            return True
        return isinstance(operation, keras.Layer) and _is_ours(
            operation.get_config()
        )

    def _called(self, call, args, kwargs, name, pairs: list):
        """The outputs of a call of a layer's twin."""
        operation = call.operation
        if isinstance(operation, layers.BatchEntropy):
            return args[0]  # It matters in training alone.
        rearrange = self.record.arguments.get(call.path)
        if rearrange is not None:
            args, kwargs = rearrange(args, kwargs, self.keep)
        if id(operation) not in self.made:
            twin = self._twin(operation, name)
            self.made[id(operation)] = (operation, twin)
            outputs = twin(*args, **kwargs)
            if isinstance(operation, keras.Layer):
                pairs.extend(self._pairs(operation, twin))
            return outputs
        return self.made[id(operation)][1](*args, **kwargs)

    def _twin(self, operation, name: str | None):
        """The layer with what is left of its channels."""
        changes: dict[str, Any] = {}
        config = operation.get_config()
        sizes = self.record.sizes.get(id(operation), {})
        for (key, item), (labels, value) in sizes.items():
            kept = self.keep(labels)
            if item is None:
                changes[key] = value(kept)
            else:
                sequence = list(changes.get(key, config[key]))
                sequence[item] = value(kept)
                changes[key] = tuple(sequence)
        if isinstance(operation, keras.Layer):
            changes["name"] = name or operation.name
            config = _without_ours({**config, **changes})
            changes = config
        for kind, plain in PLAIN.items():
            if type(operation) is kind:
                return plain.from_config(changes)
        return twin_of(operation, **changes)

    def _pairs(self, old, new) -> list:
        """Where the weights of a twin come from, cut as they are."""
        for before, after in zip(layers_of(old), layers_of(new), strict=True):
            if before.trainable != after.trainable:
                after.trainable = before.trainable
        return [
            (target, self._cut(source))
            for source, target in zip(old.variables, new.variables, strict=True)
        ]

    def _cut(self, variable):
        kept: list = [None] * len(variable.shape)
        for axis in self.axes.get(id(variable), ()):
            stays = self.keep(axis.labels)
            if not np.all(stays):
                kept[axis.axis] = np.flatnonzero(stays).tolist()
        if all(indices is None for indices in kept):
            return variable
        return (variable, tuple(kept))

    def _replayed(self, opened: Opened, begin: list, pairs: list) -> list:
        """The calls within a layer, made by the model itself."""
        known = dict(zip(map(id, opened.inputs), begin, strict=True))
        self._run(opened.calls, known, pairs)
        return [known[id(each)] for each in opened.outputs]

    def _run(self, calls: list[Call], known: dict, pairs: list) -> None:
        for call in calls:
            args, kwargs = tree.map_structure(
                lambda each: known.get(id(each), each), (call.args, call.kwargs)
            )
            kwargs.pop("training", None)
            outputs = tree.flatten(self._inner(call, args, kwargs, pairs))
            known.update(zip(map(id, call.outputs), outputs, strict=True))

    def _inner(self, call: Call, args, kwargs, pairs: list):
        """A call within a layer that is opened."""
        operation, opened = call.operation, self.opened.get(call.path)
        begin = [each for each in tree.flatten(args) if _is_symbol(each)]
        name = call.path.partition("#")[0].replace("/", "_")
        if isinstance(operation, layers.StochasticDepth) and opened:
            return self._branch(call, opened, args, kwargs, name, pairs)
        if opened is not None:
            return self._replayed(opened, begin, pairs)
        if is_graph(operation):
            inputs, outputs = (tree.flatten(e) for e in ends(operation))
            inside = Opened(call.parts, inputs, outputs, [], [])
            return self._replayed(inside, begin, pairs)
        return self._called(call, args, kwargs, name, pairs)

    def _branch(self, call, opened: Opened, args, kwargs, name, pairs: list):
        """A `StochasticDepth` around the calls of its branch."""
        layer = call.operation
        if id(layer) not in self.made:
            (x, *_) = (e for e in tree.flatten(args) if _is_symbol(e))
            begin = keras.Input(batch_shape=x.shape, dtype=x.dtype)
            (end,) = self._replayed(opened, [begin], pairs)
            held = keras.Model(begin, end, name=layer.layer.name)
            config = {**layer.get_config(), "name": name or layer.name}
            del config["layer"]
            self.made[id(layer)] = (layer, type(layer)(held, **config))
            twin = self.made[id(layer)][1]
            outputs = twin(*args, **kwargs)
            pairs.append(
                (twin.seed_generator.state, layer.seed_generator.state)
            )
            return outputs
        return self.made[id(layer)][1](*args, **kwargs)


def _is_symbol(value) -> bool:
    return isinstance(value, keras.KerasTensor)


def _ours(value) -> bool:
    """Whether it is the configuration of something of this package."""
    return isinstance(value, dict) and str(
        value.get("registered_name")
    ).startswith("tfdeep>")


def _is_ours(config: dict) -> bool:
    return any(_ours(value) for value in config.values())


def _without_ours(config: dict) -> dict:
    """A configuration that Keras alone can read.

    Initializers of this package become that of Keras: the weights are there.
    Of a regularizer around another the other one is left.
    """
    return {
        key: _plain(key, value) if _ours(value) else value
        for key, value in config.items()
    }


def _plain(key: str, value: dict):
    """What stands for something of this package in a configuration."""
    if key.endswith("_initializer"):
        return keras.initializers.serialize(keras.initializers.HeNormal())
    if key.endswith("_regularizer") and "regularizer" in value["config"]:
        return value["config"]["regularizer"]
    return value
