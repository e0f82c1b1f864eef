"""Runs of equal layers in the graph of a model."""

import json
from collections import Counter

import keras
from keras import tree

from tfdeep.graph.trace import Call, graph_of
from tfdeep.inside import without_names
from tfdeep.layers.repeat import Repeat


def runs_of_equal_layers(model: keras.Model) -> list[list]:
    """Layers that follow one another and differ in their weights alone.

    Nothing else takes what is between them.

    Args:
        model: a Functional or Sequential model.

    Returns:
        Lists of two or more layers each, in the order of the calls.
    """
    graph = graph_of(model)
    takers = Counter(id(x) for call in graph.calls for x in call.inputs)
    takers.update(id(y) for y in tree.flatten(graph.outputs))
    times = Counter(id(call.operation) for call in graph.calls)
    runs: list[list] = []
    ending: dict[int, list] = {}  # The run that ends in a tensor.
    for call in graph.calls:
        if times[id(call.operation)] > 1 or not _can_repeat(call):
            continue
        ((x,), (y,)) = call.inputs, call.outputs
        run = ending.get(id(x), [])
        follows = run and takers[id(x)] == 1
        if not follows or kind_of(run[-1]) != kind_of(call.operation):
            run = []
            runs.append(run)
        run.append(call.operation)
        ending[id(y)] = run
    return [run for run in runs if len(run) > 1]


def kind_of(layer) -> str:
    """What equal layers have in common, as text."""
    config = layer.get_config()
    config.pop("survival_probability", None)
    return f"{type(layer)} {json.dumps(without_names(config), default=str)}"


def _can_repeat(call: Call) -> bool:
    """Whether it is a layer with weights that gives what it takes."""
    layer = call.operation
    if isinstance(layer, (Repeat, keras.Model)):
        return False
    if not isinstance(layer, keras.Layer) or not layer.variables:
        return False
    if len(call.inputs) != 1 or len(call.outputs) != 1:
        return False
    ((x,), (y,)) = call.inputs, call.outputs
    return (x.shape, x.dtype) == (y.shape, y.dtype)
