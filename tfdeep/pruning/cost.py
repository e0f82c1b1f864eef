"""What a model costs without some of its channels.

Weights are products of the lengths of their axes. The multiply-adds of a
layer are proportional to the sizes of its kernels, each by its own factor.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import tree

from tfdeep.graph import Call
from tfdeep.graph.count import Unknown, calls_at, count_call, symbol
from tfdeep.graph.program import Program
from tfdeep.pruning.channels import ChannelGraph
from tfdeep.pruning.rules.attention import projections, sources

ATTENTION = (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention)


class Term(NamedTuple):
    """Multiply-adds that are proportional to a kernel.

    Args:
        layer: the `id` of the layer.
        times: how often each weight is used.
        variable: the kernel.
        axes: the axes of it that count, `None` for all.
    """

    layer: int
    times: float
    variable: Any
    axes: tuple[int, ...] | None = None


class Costs:
    """The cost of a model without some of its channels.

    Args:
        graph: the `ChannelGraph` of the model.

    Attributes:
        unknown: the paths of calls whose multiply-adds are not known.
        sized: whether the sizes of the inputs are known.
    """

    def __init__(self, graph: ChannelGraph):
        self._graph = graph
        self._axes = defaultdict(list)
        for axis in graph.axes:
            self._axes[id(axis.variable)].append((axis.axis, axis.labels))
        self._terms: list[Term] = []
        self._products: list[tuple] = []
        self._fixed = 0.0
        tracer = graph.tracer
        self._made = {
            place: tracer.known[key] for key, place in tracer.places.items()
        }
        self.unknown: list[str] = []
        self.sized = True
        inputs = tree.flatten(graph.graph.inputs)
        if any(None in each.shape[1:] for each in inputs):
            self.unknown.append("inputs whose sizes are not known")
            self.sized = False
            return
        program = Program(
            graph.graph.inputs, graph.graph.outputs, graph.graph.calls
        )
        for call in self._calls(program, [_one(each) for each in inputs]):
            self._count(call)

    def _calls(self, program: Program, inputs: list) -> Iterator[Call]:
        """The calls of a program, with those within layers that are opened."""
        for call in calls_at(program, inputs):
            opened = self._graph.tracer.opened.get(call.path)
            if opened is None:
                yield call
            else:
                inner = Program(opened.inputs, opened.outputs, opened.calls)
                given = call.inputs[: len(opened.inputs)]
                yield from self._calls(inner, given)

    def _count(self, call: Call) -> None:
        try:
            found = count_call(call)
        except Unknown:
            self.unknown.append(call.path)
            return
        if isinstance(call.operation, ATTENTION):
            self._terms += _of_attention(call, found)
            return
        kernels = [
            v
            for v in getattr(call.operation, "weights", [])
            if len(v.shape) > 1 and id(v) in self._axes and v.name != "bias"
        ]
        size = sum(math.prod(v.shape) for v in kernels)
        if not size:
            self._count_product(call, found)
        for kernel in kernels:
            self._terms.append(Term(id(call.operation), found / size, kernel))

    def _count_product(self, call: Call, found: int) -> None:
        """Of a product of tensors, by the channels that it hands on."""
        channels = self._made.get((call.path, 0))
        if found and channels is not None:
            labels = channels.labels
            self._products.append((found / len(labels), labels))
        else:
            self._fixed += found

    def _size(self, variable, lost, axes=None) -> int:
        """The number of values of a variable that are left."""
        lengths = [int(size) for size in variable.shape]
        for axis, labels in self._axes[id(variable)]:
            lengths[axis] -= int(np.count_nonzero(lost[labels]))
        return math.prod(
            lengths if axes is None else [lengths[axis] for axis in axes]
        )

    def parameters(self, gone=()) -> int:
        """The number of weights without the channels of these roots."""
        lost = self._graph.lost(gone)
        return sum(self._size(v, lost) for v in self._graph.model.weights)

    def multiply_adds(self, gone=()) -> int | None:
        """The multiply-adds of one example without these channels.

        `None` where the sizes of the inputs are not known.
        """
        if not self.sized:
            return None
        lost = self._graph.lost(gone)
        found = self._fixed + sum(
            term.times * self._size(term.variable, lost, term.axes)
            for term in self._terms
        )
        found += sum(
            times * np.count_nonzero(~lost[labels])
            for times, labels in self._products
        )
        return round(found)

    def rows(self, gone=()) -> list[tuple]:
        """Layers that make channels.

        Returns:
            A list of `(path, channels before, after, parameters after,
            multiply-adds after)`.
        """
        lost = self._graph.lost(gone)
        adds: dict[int, float] = defaultdict(float)
        for term in self._terms:
            size = self._size(term.variable, lost, term.axes)
            adds[term.layer] += term.times * size
        record, weights = self._graph.tracer.record, self._variables
        paths = {id(block.labels): block.path for block in record.labels.blocks}
        return [
            (
                paths[id(made)],
                len(made),
                len(made) - int(np.count_nonzero(lost[made])),
                sum(self._size(v, lost) for v in weights.get(layer, ())),
                round(adds[layer]) if self.sized else None,
            )
            for (layer, _), made in record.made.items()
        ]

    @property
    def _variables(self) -> dict[int, list]:
        return {
            id(call.operation): call.operation.weights
            for call in self._graph.tracer.calls
            if isinstance(call.operation, keras.Layer)
        }


def _of_attention(call: Call, found: int) -> list[Term]:
    """Projections at each place, and products of a head with a head."""
    layer = id(call.operation)
    parts = projections(call.operation)
    given = sources(call)
    terms = [
        Term(layer, math.prod(value.shape[:-1]), parts[name][0])
        for name, value in given.items()
    ]
    kernel = parts["attention_output"][0]
    places = math.prod(given["query"].shape[:-1])
    terms.append(Term(layer, places, kernel))
    rest = found - sum(t.times * math.prod(t.variable.shape) for t in terms)
    return [*terms, Term(layer, rest / kernel.shape[0], kernel, (0,))]


def _one(tensor: keras.KerasTensor) -> keras.KerasTensor:
    """A symbolic tensor for a batch of one example, if it has one."""
    batch, *rest = tensor.shape
    return symbol((1 if batch is None else batch, *rest), tensor.dtype)
