"""A model in which every channel has a gate: a factor of 1.

A gate stands where a channel is handed to layers that take it: behind
normalization, activation and sums. The gates of a channel that goes on
through several sums are one, or one each.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfdeep import backend
from tfdeep.graph import Call, Edited, rewrite
from tfdeep.pruning.channels import ChannelGraph
from tfdeep.pruning.compact import Compacting
from tfdeep.pruning.criteria.batches import in_mode
from tfdeep.untracked import Untracked


class Gates:
    """The gates of a model.

    Args:
        graph: the `ChannelGraph` of the model.
        loss: function of targets and outputs.
        training: boolean, whether the model is in training mode.
        shared: boolean, whether a channel has one gate, or one at each
            place.

    Attributes:
        names: the free groups, in the order of their channels.
        owner: for each gate the number of its channel, counted through all
            free groups.
    """

    def __init__(
        self,
        graph: ChannelGraph,
        loss: Callable,
        training: bool = False,
        shared: bool = True,
    ):
        self.groups = graph.free
        self.channels = sum(group.channels for group in self.groups)
        places = _places(graph)
        indices, self.owner = _indices(graph, places, shared)
        self.variable = keras.Variable(
            np.ones(len(self.owner)), dtype=_dtype(graph.model), trainable=False
        )
        gating = _Gating(graph, indices, self.variable)
        self.model = rewrite(graph.model, gating, optimizer="new")
        self._loss = loss
        self._training = training

    def values(self) -> np.ndarray:
        """All gates open."""
        return np.ones(len(self.owner), self.variable.dtype)

    def loss(self, z, x, y):
        """The loss of a mini-batch with these values of the gates."""
        mapping = [(self.variable, z)]
        return self._loss(y, in_mode(self.model, mapping, x, self._training))

    def first_order(self) -> Callable:
        """A function `(z, x, y) -> (loss, gradient by the gates)`."""
        run = backend.compiled_pullback(
            lambda primals, data: (self.loss(primals[0], *data), ())
        )

        def compute(z, x, y):
            value, _, pullback = run([ops.convert_to_tensor(z)], (x, y))
            return float(value), ops.convert_to_numpy(pullback()[0])

        return compute

    def value(self) -> Callable:
        """A function `(z, x, y) -> loss`."""
        run = backend.compiled_pullback(
            lambda primals, data: (self.loss(primals[0], *data), ())
        )
        return lambda z, x, y: float(run([ops.convert_to_tensor(z)], (x, y))[0])

    def second_order(self) -> Callable:
        """A function `(z, x, y) -> diagonal of the Hessian by the gates`."""

        def along(primals, constants):
            direction, *data = constants
            _, (slope,) = backend.value_and_gradients(
                lambda z: self.loss(z[0], *data), primals
            )
            return ops.sum(slope * direction), ()

        run = backend.compiled_pullback(along)

        def compute(z, x, y):
            z = ops.convert_to_tensor(z)
            diagonal = np.zeros(len(self.owner))
            for number in range(len(diagonal)):
                direction = np.zeros(len(diagonal), self.variable.dtype)
                direction[number] = 1
                direction = ops.convert_to_tensor(direction)
                _, _, pullback = run([z], (direction, x, y))
                diagonal[number] = ops.convert_to_numpy(pullback()[0])[number]
            return diagonal

        return compute

    def by_group(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Values of all channels, as an array for each group."""
        ends = np.cumsum([group.channels for group in self.groups])[:-1]
        parts = np.split(values, ends)
        return {g.name: v for g, v in zip(self.groups, parts, strict=True)}

    def per_channel(self, values: np.ndarray) -> np.ndarray:
        """Values of gates, summed up for each channel."""
        return np.bincount(self.owner, values, minlength=self.channels)


def _dtype(model: keras.Model) -> str:
    double = any(str(v.dtype) == "float64" for v in model.variables)
    return "float64" if double else "float32"


def _places(graph: ChannelGraph) -> dict[tuple[str, int], Any]:
    """Where tensors are made that layers take channels from.

    Returns:
        The channels by `(path of the call, number of the output)`.
    """
    tracer = graph.tracer
    found: dict[int, Any] = {}
    for tensor, _ in tracer.record.taken.values():
        for each in _origins(tracer, tensor):
            found[id(each)] = each
    return {
        tracer.places[key]: tracer.known[key]
        for key in found
        if key in tracer.places and tracer.known[key] is not None
    }


def _origins(tracer, tensor) -> list:
    """The tensors, as outputs of single layers, that a tensor is made of.

    Without what only makes 0 of 0: a gate before it does the same.
    """
    if id(tensor) in tracer.ends:
        return _origins(tracer, tracer.ends[id(tensor)])
    if id(tensor) in tracer.begins:
        return [
            each
            for outer in tracer.begins[id(tensor)]
            for each in _origins(tracer, outer)
        ]
    if id(tensor) in tracer.sources:
        return _origins(tracer, tracer.sources[id(tensor)])
    return [tensor]


def _indices(graph: ChannelGraph, places: dict, shared: bool) -> tuple:
    """Which gate each position of a tensor has, -1 for none.

    Returns:
        The axis and the numbers of the gates by place, and the channel of
        each gate.
    """
    number: dict[int, int] = {}
    for group in graph.free:
        for root in group.roots.tolist():
            number[root] = len(number)
    owner = list(range(len(number))) if shared else []
    indices = {}
    for place, channels in places.items():
        roots = graph.roots(channels.labels).tolist()
        owned = [number.get(root, -1) for root in roots]
        if not shared:
            mine = sorted(set(owned) - {-1})
            start = {channel: len(owner) + n for n, channel in enumerate(mine)}
            owner.extend(mine)
            owned = [start.get(channel, -1) for channel in owned]
        if any(each >= 0 for each in owned):
            indices[place] = (channels.axis, np.array(owned))
    return indices, np.array(owner, int)


class _Gate(keras.layers.Layer):
    """Multiplies each channel with its gate."""

    def __init__(self, variable: keras.Variable, axis: int, numbers):
        super().__init__(dtype=variable.dtype, autocast=False)
        self.gates = Untracked(variable)
        self.axis = axis
        self.numbers = numbers

    def call(self, inputs):
        z = ops.convert_to_tensor(self.gates.value.value)
        z = ops.concatenate([z, ops.ones((1,), z.dtype)])
        z = ops.take(z, self.numbers % z.shape[0])
        shape = [1] * len(inputs.shape)
        shape[self.axis] = len(self.numbers)
        return inputs * ops.cast(ops.reshape(z, shape), inputs.dtype)


class _BatchNorm(keras.layers.BatchNormalization):
    """Batch normalization with a second derivative.

    TensorFlow's variance takes the mean for a constant, which is right for a
    gradient, and not for the gradient of one.
    """

    def call(self, inputs, training=None, mask=None):
        if not training or mask is not None or not self.trainable:
            return super().call(inputs, training=training, mask=mask)
        axes = list(range(len(inputs.shape)))
        del axes[self.axis]
        centered = inputs - ops.mean(inputs, axes, keepdims=True)
        variance = ops.mean(ops.square(centered), axes, keepdims=True)
        outputs = centered * ops.rsqrt(variance + self.epsilon)
        shape = [1] * len(inputs.shape)
        shape[self.axis] = -1
        if self.scale:
            outputs *= ops.reshape(ops.cast(self.gamma, outputs.dtype), shape)
        if self.center:
            outputs += ops.reshape(ops.cast(self.beta, outputs.dtype), shape)
        return outputs


class _Gating(Compacting):
    """The edit that puts gates behind calls."""

    def __init__(self, graph: ChannelGraph, indices: dict, variable):
        super().__init__(graph, ())
        self.indices = indices
        self.variable = variable

    def __call__(self, call: Call, args: tuple, kwargs: dict):
        edited = super().__call__(call, args, kwargs)
        if not self._gated(call):
            return edited
        if edited is None:
            pairs: list = []
            outputs = self._called(call, args, kwargs, None, pairs)
            edited = Edited(outputs, pairs)
        return Edited(self._behind(call, edited.outputs), edited.weights)

    def _changes(self, call: Call) -> bool:
        smooth = type(call.operation) is keras.layers.BatchNormalization
        return smooth or super()._changes(call)

    def _twin(self, operation, name: str | None):
        twin = super()._twin(operation, name)
        if type(twin) is keras.layers.BatchNormalization:
            return _BatchNorm.from_config(twin.get_config())
        return twin

    def _inner(self, call: Call, args, kwargs, pairs: list):
        return self._behind(call, super()._inner(call, args, kwargs, pairs))

    def _gated(self, call: Call) -> bool:
        return any(
            (call.path, number) in self.indices
            for number in range(len(call.outputs))
        )

    def _behind(self, call: Call, outputs: Any) -> list:
        found = tree.flatten(outputs)
        for number, tensor in enumerate(found):
            axis, numbers = self.indices.get((call.path, number), (0, None))
            if numbers is not None:
                found[number] = _Gate(self.variable, axis, numbers)(tensor)
        return found
