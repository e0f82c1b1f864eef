"""The calls of which a model consists, and a view of it that shows more.

A Functional or Sequential model is a graph of calls of layers and operations.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import tree

from tfdeep.inside import is_graph
from tfdeep.keras_internals import node_of


@dataclass(eq=False)
class Call:
    """One call of a layer or operation in a model.

    Args:
        path: names of the nested models around it and its own, joined by
            "/"; a further call of the same layer ends in "#2", "#3".
        operation: the layer or operation.
        args: positional arguments, with symbolic tensors.
        kwargs: keyword arguments.
        outputs: the symbolic tensors it made.
        parts: the calls within it, if it is a nested model.
    """

    path: str
    operation: Any
    args: tuple
    kwargs: dict
    outputs: list
    parts: list["Call"]

    @property
    def inputs(self) -> list:
        """The symbolic tensors among the arguments."""
        found = tree.flatten((self.args, self.kwargs))
        return [each for each in found if isinstance(each, keras.KerasTensor)]

    @property
    def rank(self) -> int | None:
        """The least number of axes of its inputs; `None` without any."""
        return min((len(each.shape) for each in self.inputs), default=None)


def ends(model: keras.Model) -> tuple[Any, Any]:
    """Symbolic inputs and outputs of a Functional or Sequential model."""
    if isinstance(model, keras.Sequential):
        inputs, outputs = model.inputs, model.outputs
        return (
            inputs[0] if len(inputs) == 1 else inputs,
            outputs[0] if len(outputs) == 1 else outputs,
        )
    return model.input, model.output


def calls_between(inputs: Any, outputs: Any, prefix: str = "") -> list[Call]:
    """The calls that lead from inputs to outputs, each after what it needs."""
    starts = {id(tensor) for tensor in tree.flatten(inputs)}
    found: list[Call] = []
    counts: dict[str, int] = {}
    for node in _ordered(starts, tree.flatten(outputs)):
        operation = node.operation
        name = operation.name
        if not isinstance(operation, keras.layers.Layer):
            name = type(operation).__name__.lower()  # Keras numbers these.
        count = counts[name] = counts.get(name, 0) + 1
        path = prefix + name + (f"#{count}" if count > 1 else "")
        parts = []
        if is_graph(operation):
            parts = calls_between(*ends(operation), prefix=f"{path}/")
        arguments = node.arguments
        found.append(
            Call(
                path,
                operation,
                arguments.args,
                arguments.kwargs,
                list(node.output_tensors),
                parts,
            )
        )
    return found


def _ordered(starts: set[int], outputs: Iterable) -> list:
    """Nodes behind the outputs, depth first; a deep net must not recurse."""
    done: dict[int, Any] = {}
    waiting = [(tensor, False) for tensor in reversed(list(outputs))]
    while waiting:
        tensor, ready = waiting.pop()
        node = None if id(tensor) in starts else node_of(tensor)
        if node is None or id(node) in done or not node.input_tensors:
            continue
        if ready:
            done[id(node)] = node
            continue
        waiting.append((tensor, True))
        waiting.extend((each, False) for each in reversed(node.input_tensors))
    return list(done.values())


def within(calls: Iterable[Call]) -> list[Call]:
    """The calls and all those inside them."""
    found = []
    for call in calls:
        found.append(call)
        found.extend(within(call.parts))
    return found


def made(calls: Iterable[Call]) -> list[str]:
    """The paths of the calls, in the order in which their outputs are made."""
    return [path for c in calls for path in (*made(c.parts), c.path)]


def tapped_view(
    inputs: Any, outputs: Any, calls: list[Call], taps: Sequence[Call]
) -> keras.Model:
    """A model that returns `[outputs, first output of each tapped call]`.

    It has the layers of the model that the calls are of, which stays as it
    is. Only where a nested model is opened are layers called once more.
    """
    new: dict[int, Any] = {}
    found: dict[int, Any] = {id(tap): None for tap in taps}
    _replay(calls, new, found)
    outputs = tree.map_structure(lambda tensor: _current(tensor, new), outputs)
    return keras.Model(inputs, [outputs, [found[id(tap)] for tap in taps]])


def _current(value, new):
    return new.get(id(value), value)


def _replay(calls: list[Call], new: dict[int, Any], found: dict) -> None:
    """Call again what depends on a tensor in `new`, or holds a tap."""
    for call in calls:
        opened = any(id(part) in found for part in within(call.parts))
        if opened or any(id(each) in new for each in call.inputs):
            results = _call_again(call, new, found, opened)
            new.update(zip(map(id, call.outputs), results, strict=True))
        if id(call) in found:
            found[id(call)] = _current(call.outputs[0], new)


def _call_again(call: Call, new: dict, found: dict, opened: bool) -> list:
    """Call with what the arguments are now; a view, if there are taps in it."""
    args, kwargs = tree.map_structure(
        lambda value: _current(value, new), (call.args, call.kwargs)
    )
    if not opened:
        return tree.flatten(call.operation(*args, **kwargs))
    taps = [part for part in within(call.parts) if id(part) in found]
    view = tapped_view(*ends(call.operation), call.parts, taps)
    outputs, shown = view(*args, **kwargs)
    found.update(zip(map(id, taps), shown, strict=True))
    return tree.flatten(outputs)
