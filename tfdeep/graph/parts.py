"""The layers that a layer is made of."""

import keras

from tfdeep.inside import is_graph
from tfdeep.keras_internals import layers_of


def parts_of(layer: keras.Layer) -> list[tuple[keras.Layer, int]] | None:
    """The layers directly within a layer, each with how often it is repeated.

    A layer says so by a method `inner_parts()`, which returns such a list. A
    layer that is repeated stands for as many layers of equal shape; a part
    that is called several times is there once.

    Args:
        layer: a built layer or model.

    Returns:
        A list of pairs `(layer, repeats)`, empty where there are none;
        `None` where the layer holds layers and does not say how.
    """
    if hasattr(layer, "inner_parts"):
        return list(layer.inner_parts())
    if is_graph(layer):
        return [(part, 1) for part in layer.layers]
    if not layers_of(layer)[1:]:
        return []
    if type(layer).__module__.partition(".")[0] != "keras":
        return None
    return [(part, 1) for part in held_by(layer)]


def held_by(layer: keras.Layer) -> list[keras.Layer]:
    """The layers that a layer holds, not those within them."""
    inside = layers_of(layer)[1:]
    deeper = {id(x) for part in inside for x in layers_of(part)[1:]}
    return [part for part in inside if id(part) not in deeper]


def every_part(layer: keras.Layer) -> list[keras.Layer]:
    """The layer and all layers in it at any depth, each once.

    What is opaque counts with all layers that it holds.
    """
    found = [layer]
    seen = {id(layer)}
    for each in found:  # It grows.
        parts = parts_of(each)
        inner = held_by(each) if parts is None else [p for p, _ in parts]
        for part in inner:
            if id(part) not in seen:
                seen.add(id(part))
                found.append(part)
    return found
