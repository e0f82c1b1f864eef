"""A model that shows what is inside another."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import tree

from tfdeep.graph.trace import Call, ends, within


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
