"""What a model costs without some of its channels.

Weights are products of the lengths of their axes. The multiply-adds of a
layer are proportional to the sizes of its kernels, each by its own factor.
"""

import math
from collections import defaultdict
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import tree

from tfdeep.graph import Call
from tfdeep.graph.count import Unknown, count_call
from tfdeep.pruning.channels import ChannelGraph


class Term(NamedTuple):
    """Multiply-adds that are proportional to a kernel.

    Args:
        path: of the call.
        times: how often each weight is used.
        variable: the kernel.
    """

    path: str
    times: float
    variable: Any


class Costs:
    """The cost of a model without some of its channels.

    Args:
        graph: the `ChannelGraph` of the model.
    """

    def __init__(self, graph: ChannelGraph):
        self._graph = graph
        self._axes = defaultdict(list)
        for axis in graph.axes:
            self._axes[id(axis.variable)].append((axis.axis, axis.labels))
        self._terms: list[Term] = []
        self._fixed = 0.0
        self.unknown: list[str] = []
        for call in graph.tracer.calls:
            self._count(call)

    def _count(self, call: Call) -> None:
        try:
            found = count_call(_of_one_example(call))
        except (Unknown, TypeError) as error:
            self.unknown.append(f"{call.path}: {error}")
            return
        kernels = [
            v
            for v in getattr(call.operation, "weights", [])
            if len(v.shape) > 1 and id(v) in self._axes
        ]
        size = sum(math.prod(v.shape) for v in kernels)
        if not size:
            self._fixed += found
        for kernel in kernels:
            self._terms.append(Term(call.path, found / size, kernel))

    def _size(self, variable, lost) -> int:
        """The number of values of a variable that are left."""
        lengths = [int(size) for size in variable.shape]
        for axis, labels in self._axes[id(variable)]:
            lengths[axis] -= int(np.count_nonzero(lost[labels]))
        return math.prod(lengths)

    def parameters(self, gone=()) -> int:
        """The number of weights without the channels of these roots."""
        lost = self._graph.lost(gone)
        return sum(self._size(v, lost) for v in self._graph.model.weights)

    def multiply_adds(self, gone=()) -> int:
        """The multiply-adds of one example without these channels."""
        lost = self._graph.lost(gone)
        found = self._fixed + sum(
            term.times * self._size(term.variable, lost)
            for term in self._terms
        )
        return round(found)

    def rows(self, gone=()) -> list[tuple]:
        """Layers that make channels.

        Returns:
            A list of `(path, channels before, after, parameters after,
            multiply-adds after)`.
        """
        lost = self._graph.lost(gone)
        adds: dict[str, float] = defaultdict(float)
        for term in self._terms:
            adds[term.path] += term.times * self._size(term.variable, lost)
        record, weights = self._graph.tracer.record, self._variables
        paths = {id(block.labels): block.path for block in record.labels.blocks}
        return [
            (
                paths[id(made)],
                len(made),
                len(made) - int(np.count_nonzero(lost[made])),
                sum(self._size(v, lost) for v in weights.get(layer, ())),
                round(adds[paths[id(made)]]),
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


def _of_one_example(call: Call) -> Call:
    """A call with a batch of one in the place of an unknown one."""

    def one(value):
        if not isinstance(value, keras.KerasTensor):
            return value
        batch, *rest = value.shape or (1,)
        shape = tuple(value.shape) and (1 if batch is None else batch, *rest)
        return keras.KerasTensor(shape, value.dtype)

    args, kwargs, outputs = tree.map_structure(
        one, (call.args, call.kwargs, call.outputs)
    )
    return Call(call.path, call.operation, args, kwargs, outputs, [])
