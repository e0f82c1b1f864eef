"""The calls within a layer or model, at tensors that are there.

A Functional model is the graph it was made as. Whatever else is made of layers
is called once with symbols in the place of its tensors.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from tfdeep.graph.opening import CannotOpen, is_composite, open_call
from tfdeep.graph.program import Program, as_started
from tfdeep.graph.trace import Call, calls_between, ends
from tfdeep.inside import is_graph
from tfdeep.keras_internals import calls_forgotten, nodes_as_run, number_of
from tfdeep.masks import mask_of, stand_in, with_mask


def program_within(
    operation: Any, args: tuple, kwargs: dict
) -> tuple[Program, list] | None:
    """The calls within a layer or model, and the tensors that they start from.

    They come in the order in which Keras runs them; models and layers that
    are made of layers are one call each.

    Args:
        operation: a layer, model or operation.
        args: the positional arguments of its call.
        kwargs: the keyword arguments.

    Returns:
        `(program, inputs)`, of which `program.run(inputs, True, handler)`
        returns what the call does in training; `None` for what is not made of
        layers.

    Raises:
        CannotOpen: if it cannot be traced: its Python asks for values, or it
            uses weights beside those of its layers.
    """
    if is_graph(operation):
        return _of_graph(operation, args, kwargs)
    if is_composite(operation):
        return _of_layer(operation, args, kwargs)
    return None


def run_showing(
    handler: Callable, operation: Any, args: tuple, kwargs: dict
) -> Any:
    """What a call does in training, with each call within it shown.

    What cannot be traced runs as it is, and shows nothing within.

    Args:
        handler: `handler(operation, call, args, kwargs)`, which returns what
            the call returns; `call(*args, **kwargs)` makes it, and shows what
            is within it in turn.
        operation: a layer, model or operation.
        args: the positional arguments of its call.
        kwargs: the keyword arguments.

    Returns:
        What the call returns.
    """
    try:
        found = program_within(operation, args, kwargs)
    except CannotOpen:
        found = None
    if found is None:
        return operation(*args, **kwargs)
    program, inputs = found

    def shown(step, args, kwargs):
        def call(*args, **kwargs):
            return run_showing(handler, step.operation, args, kwargs)

        return handler(step.operation, call, args, kwargs)

    return program.run(inputs, True, shown)


def _of_graph(model: keras.Model, args: tuple, kwargs: dict):
    """Those of a Functional or Sequential model."""
    starts, results = ends(model)
    given = tree.flatten(args)
    told = {name for name, value in kwargs.items() if value is not None}
    fits = len(given) == len(tree.flatten(starts))
    if not (fits and told <= {"training"}):
        raise CannotOpen(model.name)
    calls = calls_between(starts, results)
    if not isinstance(model, keras.Sequential):
        places = {
            id(tensor): place
            for place, node in enumerate(nodes_as_run(model))
            for tensor in node.output_tensors
        }
        calls.sort(key=lambda call: places[id(call.outputs[0])])
    program = Program(starts, results, [_whole(call) for call in calls])
    tensors = [ops.convert_to_tensor(each) for each in given]
    return program, as_started(tree.flatten(starts), tensors)


def _whole(call: Call) -> Call:
    """A call of a model as one step of a program."""
    return dataclasses.replace(call, parts=[])


def _of_layer(layer: keras.Layer, args: tuple, kwargs: dict):
    """Those of a layer that is made of layers, or of a hand-written model."""
    args, kwargs = tree.map_structure(
        lambda each: _as_given(layer, each), (args, kwargs)
    )
    tensors = [t for t in tree.flatten((args, kwargs)) if ops.is_tensor(t)]
    symbols = {id(tensor): stand_in(tensor) for tensor in tensors}
    args, kwargs = tree.map_structure(
        lambda each: symbols.get(id(each), each), (args, kwargs)
    )
    call = Call(layer.name, layer, args, kwargs, [], [])
    with calls_forgotten(layer):
        inside = open_call(call, arguments=True)
    calls = [_whole(part) for part in inside.calls]
    calls.sort(key=lambda part: max(map(number_of, part.outputs)))
    returned = tree.map_structure(
        lambda t: keras.KerasTensor(t.shape, t.dtype), inside.returned
    )
    call.outputs = tree.flatten(returned)
    opened = {id(call): dataclasses.replace(inside, calls=calls)}
    return Program(call.inputs, returned, [call], opened), tensors


def _as_given(layer: keras.Layer, value: Any) -> Any:
    """An argument as a layer gets it when it is called: in its dtype."""
    if isinstance(value, np.ndarray):
        value = ops.convert_to_tensor(value)
    if not ops.is_tensor(value):
        return value
    dtype = keras.backend.standardize_dtype(value.dtype)
    if layer.autocast and "float" in dtype and dtype != layer.compute_dtype:
        return with_mask(ops.cast(value, layer.compute_dtype), mask_of(value))
    return value
