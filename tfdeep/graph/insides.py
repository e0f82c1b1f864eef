"""What is within the calls of layers that are made of layers."""

import dataclasses
from typing import Any

import keras
from keras import tree

from tfdeep.graph.holders import held_call, is_holder
from tfdeep.graph.opening import (
    CannotOpen,
    Opened,
    is_composite,
    is_symbol,
    open_call,
    takes_training,
)
from tfdeep.graph.trace import Call
from tfdeep.inside import is_graph
from tfdeep.masks import mask_of


class Insides:
    """The calls within calls, as they can be written out in a model.

    Each call is opened once, so that its tensors stay the same. It stays
    closed where what is within is not the same calls in training and at
    inference, or makes masks.
    """

    def __init__(self):
        self._found: dict[int, tuple] = {}  # With the call, by its output.

    def of(self, call: Call) -> Opened | None:
        """What is within a call of a layer; `None` if it stays closed.

        For a layer that holds another one and decides when it runs it is the
        call of that.
        """
        key = id(call.outputs[0])
        if key not in self._found:
            self._found[key] = (call, _opened(call))
        return self._found[key][1]

    def every_call(self, calls: list[Call]) -> list[Call]:
        """The calls and all within them: in nested models and in layers.

        A layer that stays closed is there without those within it.
        """
        found = []
        for call in calls:
            found.append(call)
            inside = None if call.parts else self.of(call)
            found += self.every_call(inside.calls if inside else call.parts)
        return found


def _opened(call: Call) -> Opened | None:
    if not is_composite(call.operation):
        return None
    if is_holder(call):
        layer = call.operation.layer
        if not is_graph(layer) and mask_of(call.args[0]) is not None:
            return None  # A model in its place would end the mask.
        held = held_call(call)
        return Opened([held], list(held.args), held.outputs, [], [])
    try:
        inside = open_call(call)
        if takes_training(call.operation):
            kwargs = {**call.kwargs, "training": False}
            untrained = open_call(dataclasses.replace(call, kwargs=kwargs))
            if _form(untrained) != _form(inside):
                return None
    except CannotOpen:
        return None
    masked = any(map(is_symbol, [*inside.worn, *inside.masks]))
    return None if masked else inside


def _form(inside: Opened) -> list:
    """What a layer calls on what, but for what it says of training."""
    numbers = {id(tensor): n for n, tensor in enumerate(inside.inputs)}

    def shown(value: Any) -> Any:
        return numbers.get(id(value), -1) if is_symbol(value) else repr(value)

    found = []
    for call in inside.calls:
        operation = call.operation
        is_layer = isinstance(operation, keras.Layer)
        told = {k: v for k, v in call.kwargs.items() if k != "training"}
        given = [shown(each) for each in tree.flatten((call.args, told))]
        found.append((operation if is_layer else type(operation), given))
        for tensor in call.outputs:
            numbers[id(tensor)] = len(numbers)
    found.append(("returned", [shown(each) for each in inside.outputs]))
    return found
