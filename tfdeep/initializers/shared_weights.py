"""Weights that another network needs, too.

A layer does not know the models that hold it, but it remembers each symbolic
call of it, and so the networks in which it was called are found from the
model's own layers. What is not found: hand-written models that call a shared
layer with numbers alone. What is found although it is of no use any more:
networks whose model was deleted, as the layer cannot know.
"""

import keras

from tfdeep.graph.networks import networks_with
from tfdeep.graph.parts import every_part
from tfdeep.keras_internals import calls_of, kept_layers


def check_not_shared(model: keras.Model) -> None:
    """Raise if another network would be left half as it was.

    That is a network, neither within this model nor around it, in which a
    layer with trainable weights of the model is called and a layer with
    weights of its own besides. Further calls of the model's layers alone, such
    as for a model that returns activations, are not another network.

    Raises:
        ValueError: naming the two layers.
    """
    calls = _changing_calls(model)
    others = _others(model, calls)
    if not others:
        return
    layer = next(c.operation for c in calls if _others(model, [c]))
    raise ValueError(
        "`model` must share no weights with another network, half of which "
        f"would change. Received: model={model.name!r}, whose layer "
        f"{layer.name!r} is also called in a network with the layer "
        f"{others[0]!r}, which is not part of it. Share layers after "
        "initialization, or pass a clone; a network that is no longer needed "
        "counts as long as the layer lives."
    )


def _changing_calls(model) -> list:
    """The calls of parts with trainable weights, but those in the model.

    Networks in which the model is called as a whole are around it.
    """
    changing = {id(v) for v in model.trainable_weights}
    around = {id(node) for node in networks_with(calls_of(model))}
    return [
        node
        for part in every_part(model)
        if part is not model and any(id(v) in changing for v in part.weights)
        for node in calls_of(part)
        if id(node) not in around
    ]


def _others(model, calls) -> list[str]:
    """The names of layers with weights of their own in these networks."""
    own = {id(v) for v in model.weights}
    parts = {id(part) for part in kept_layers(model)}
    return [
        node.operation.name
        for node in networks_with(calls)
        if id(node.operation) not in parts
        and any(id(v) not in own for v in _weights(node.operation))
    ]


def _weights(operation) -> list:
    return operation.weights if isinstance(operation, keras.Layer) else []
