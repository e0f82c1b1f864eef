"""Runs of equal layers in the graph of a model."""

import json
from collections import Counter

import keras

from tfdeep.inside import without_names
from tfdeep.layers.repeat import Repeat


def runs_of_equal_layers(model: keras.Model) -> list[list]:
    """Layers that follow one another and differ in their weights alone.

    Args:
        model: a Functional or Sequential model.

    Returns:
        Lists of two or more layers each, in the order of the calls.
    """
    if isinstance(model, keras.Sequential):
        pairs = zip(model.layers, model.layers[1:], strict=False)
        follows = {id(one): other for one, other in pairs}
    else:
        follows = _followers(model)
    runs: list[list] = []
    seen: set[int] = set()
    for layer in model.layers:
        if id(layer) in seen or not _can_repeat(layer):
            continue
        run = [layer]
        while id(run[-1]) in follows:
            other = follows[id(run[-1])]
            if not (_can_repeat(other) and kind_of(other) == kind_of(layer)):
                break
            run.append(other)
        seen.update(map(id, run))
        if len(run) > 1:
            runs.append(run)
    return runs


def kind_of(layer) -> str:
    """What equal layers have in common, as text."""
    config = layer.get_config()
    config.pop("survival_probability", None)
    return f"{type(layer)} {json.dumps(without_names(config), default=str)}"


def _can_repeat(layer) -> bool:
    """Whether it has weights and gives what it takes, in a single call."""
    if isinstance(layer, (Repeat, keras.Model)) or not layer.variables:
        return False
    try:
        x, y = layer.input, layer.output
    except (AttributeError, ValueError):  # Called more than once.
        return False
    return (
        isinstance(x, keras.KerasTensor)
        and isinstance(y, keras.KerasTensor)
        and (x.shape, x.dtype) == (y.shape, y.dtype)
    )


def _followers(model) -> dict:
    """The only layer that takes a layer's output, by the `id` of that."""
    config = model.get_config()
    takes: dict = {}
    taken = Counter(_sources(config["output_layers"]))
    for entry in config["layers"]:
        sources = list(_sources(entry["inbound_nodes"]))
        taken.update(sources)
        if len(sources) == 1:
            takes[entry["name"]] = sources[0]
    layers = {layer.name: layer for layer in model.layers}
    return {
        id(layers[source]): layers[name]
        for name, source in takes.items()
        if taken[source] == 1 and source in layers and name in layers
    }


def _sources(nodes):
    """The names of the layers whose outputs are mentioned."""
    if isinstance(nodes, dict):
        if "keras_history" in nodes:
            yield nodes["keras_history"][0]
            return
        nodes = list(nodes.values())
    if isinstance(nodes, (list, tuple)):
        if len(nodes) == 3 and isinstance(nodes[0], str):
            yield nodes[0]
            return
        for node in nodes:
            yield from _sources(node)
