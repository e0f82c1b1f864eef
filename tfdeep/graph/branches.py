"""Where a model adds up what has parted: its residual branches.

A tensor dominates another if every way from the inputs of the model to that
one leads through it. The operands of a sum part at the last tensor that
dominates all of them.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras
from keras import tree

from tfdeep.graph.trace import Call, Graph, ends
from tfdeep.inside import is_graph
from tfdeep.keras_internals import layers_of
from tfdeep.layers.drop_path import DropPath
from tfdeep.layers.stochastic_depth import StochasticDepth

# How layers of other libraries that drop a branch are called.
DROPPING = ("DropPath", "StochasticDepth")


@dataclass(eq=False)
class Branch:
    """One way to a sum, beside a shorter one: f in `shortcut(x) + f(x)`.

    Args:
        merge: the call that adds up.
        begin: the tensor x, at which the ways part.
        end: the tensor that is added.
        calls: those between the two, in order.
        shortcut: the calls of the shorter way, none for the identity.
        depth: the number of the sum in the model, from 1.
        drops: the calls among them that drop the branch already.
    """

    merge: Call
    begin: Any
    end: Any
    calls: list[Call]
    shortcut: list[Call]
    depth: int
    drops: list[Call]


def branches_of(graph: Graph) -> list[Branch]:
    """The residual branches of a model and of the models inside it.

    Of the operands of a sum the one with the fewest layers behind it is the
    shortcut, and each other one a branch, if it has weights, and if nothing
    else takes what is within it.
    """
    found: list[Branch] = []
    _search(graph.inputs, graph.outputs, graph.calls, found, set())
    depth, merge = 0, None
    for branch in found:
        depth += branch.merge is not merge
        merge, branch.depth = branch.merge, depth
    return found


def _search(inputs, outputs, calls, found: list[Branch], seen: set) -> None:
    level = _Level(inputs, outputs, calls)
    for call in calls:
        if is_graph(call.operation) and id(call.operation) not in seen:
            seen.add(id(call.operation))
            _search(*ends(call.operation), call.parts, found, seen)
        if is_sum(call):
            found.extend(level.branches(call))


def is_sum(call: Call) -> bool:
    """Whether a call adds up several tensors, and does nothing else."""
    kind = type(call.operation)
    if issubclass(kind, keras.Layer):
        return kind is keras.layers.Add  # A subclass may add otherwise.
    return kind.__name__ == "Add"


def drops_branch(operation: Any) -> bool:
    """Whether a layer drops all that an example, or the batch, has of it."""
    if isinstance(operation, (DropPath, StochasticDepth)):
        return True
    if isinstance(operation, keras.layers.Dropout):
        shape = operation.noise_shape
        return bool(shape) and all(size == 1 for size in shape[1:])
    is_layer = isinstance(operation, keras.Layer)
    named_so = is_layer and type(operation).__name__ in DROPPING
    return named_so and not operation.weights


class _Level:
    """The calls of a model, without those within others.

    Args:
        inputs: the symbolic inputs.
        outputs: the symbolic outputs.
        calls: the calls between them.
    """

    def __init__(self, inputs, outputs, calls: list[Call]):
        self.calls = calls
        self.maker: dict[int, Call] = {}
        self.takers: dict[int, list[Call]] = {}
        self.outputs = {id(tensor) for tensor in tree.flatten(outputs)}
        # Each tensor with those that dominate it, from the last to the first.
        self.above: dict[int, tuple] = {
            id(tensor): (tensor, None) for tensor in tree.flatten(inputs)
        }
        self.height: dict[int, int] = {key: 1 for key in self.above}
        for call in calls:
            for tensor in call.inputs:
                self.takers.setdefault(id(tensor), []).append(call)
            last = self.parting(call.inputs)
            for tensor in call.outputs:
                self.maker[id(tensor)] = call
                self.above[id(tensor)] = (tensor, last)
                self.height[id(tensor)] = 1 + self.height.get(id(last), 0)

    def parting(self, tensors: Iterable) -> Any:
        """The last tensor that dominates all of these, or `None`."""
        first, *others = tensors
        for other in others:
            while first is not other:
                if first is None or other is None:
                    return None
                if self.height[id(first)] >= self.height[id(other)]:
                    first = self.above[id(first)][1]
                else:
                    other = self.above[id(other)][1]
        return first

    def dominators(self, begin, end) -> set[int]:
        """The ids of the tensors that every way from `begin` to `end` has."""
        found = set()
        while end is not begin:
            found.add(id(end))
            end = self.above[id(end)][1]
        return found

    def between(self, begin, end) -> list[Call]:
        """The calls that lead from a tensor to one that it dominates."""
        found: dict[int, Call] = {}
        waiting = [] if end is begin else [end]
        while waiting:
            call = self.maker[id(waiting.pop())]
            if id(call) not in found:
                found[id(call)] = call
                waiting.extend(
                    each for each in call.inputs if each is not begin
                )
        return [call for call in self.calls if id(call) in found]

    def branches(self, merge: Call) -> list[Branch]:
        """The branches that a sum adds up; none if it is not of that form."""
        operands = merge.inputs
        if len(operands) < 2:
            return []
        begin = self.parting(operands)
        if begin is None or "float" not in str(begin.dtype):
            return []
        ways = [self.between(begin, operand) for operand in operands]
        ids = [id(call) for way in ways for call in way]
        sizes = [_size(way) for way in ways]
        shortest = min(sizes)
        if len(set(ids)) < len(ids) or sizes.count(shortest) > 1:
            return []
        shortcut = ways[sizes.index(shortest)]
        return [
            Branch(
                merge,
                begin,
                end,
                way,
                shortcut,
                0,
                self._drops(begin, end, way),
            )
            for end, way in zip(operands, ways, strict=True)
            if way is not shortcut and self._stands_alone(merge, end, way)
        ]

    def _stands_alone(self, merge: Call, end, way: list[Call]) -> bool:
        """Whether a way has weights, a value of the sum's form, one exit."""
        own = {id(call) for call in way}
        weights = any(getattr(call.operation, "weights", ()) for call in way)
        alike = end.shape == merge.outputs[0].shape and "float" in str(
            end.dtype
        )
        inner = [tensor for call in way for tensor in call.outputs]
        closed = all(
            id(taker) in own or (tensor is end and taker is merge)
            for tensor in inner
            for taker in self.takers.get(id(tensor), [])
        )
        shown = any(id(tensor) in self.outputs for tensor in inner)
        return weights and alike and closed and not shown

    def _drops(self, begin, end, way: list[Call]) -> list[Call]:
        """The calls on every way through a branch that drop it."""
        on_all = self.dominators(begin, end)
        return [
            call
            for call in way
            if id(call.outputs[0]) in on_all and drops_branch(call.operation)
        ]


def _size(way: list[Call]) -> tuple[int, int]:
    """The number of layers and of weights of some calls, to compare."""
    parts = [
        layers_of(call.operation)
        if isinstance(call.operation, keras.Layer)
        else [call.operation]
        for call in way
    ]
    return sum(map(len, parts)), size_of_weights(way)


def size_of_weights(calls: list[Call]) -> int:
    """The number of values in the weights of some calls, each once."""
    weights = {
        id(weight): math.prod(weight.shape)
        for call in calls
        for weight in getattr(call.operation, "weights", ())
    }
    return sum(weights.values())
