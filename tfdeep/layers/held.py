"""What a layer asks of the layer that it holds, whichever way that was written.

A layer of one's own need not have `build` nor `compute_output_shape`: Keras
then calls it with symbols, which makes its parts and tells its outputs.
"""

import inspect
from dataclasses import dataclass
from typing import Any

import keras
from keras import tree

from tfdeep.keras_internals import layers_of

# What there is where nothing was written: it builds none of the parts.
DEFAULTS = (keras.Layer.build, keras.Model.build)


@dataclass(frozen=True)
class Shapes:
    """The shapes that a layer was built for; Keras tracks no such object.

    Args:
        inputs: a shape, or a structure of shapes.
        output: that of the output then.
    """

    inputs: Any
    output: Any


def build_held(layer: keras.Layer, shapes) -> None:
    """Build a layer with all of its parts.

    Args:
        layer: the layer, built or not.
        shapes: those of its input: a shape, or a structure of shapes.
    """
    if not layer.built and type(layer).build not in DEFAULTS:
        layer.build(shapes)
    if not all(part.built for part in layers_of(layer)):
        layer(_symbols(shapes, layer.input_dtype))


def output_shape(layer: keras.Layer, shapes):
    """The shape of a layer's output, or a structure of shapes."""
    try:
        return layer.compute_output_shape(shapes)
    except NotImplementedError:
        build_held(layer, shapes)
        outputs = layer.compute_output_spec(_symbols(shapes, layer.input_dtype))
        return tree.map_structure(lambda y: tuple(y.shape), outputs)


def output_shape_in_call(layer: keras.Layer, inputs, known) -> tuple:
    """The shape of a layer's single output, where it may be traced.

    Nothing can be called with symbols there: on JAX a step takes the values of
    variables away.

    Args:
        layer: a built layer.
        inputs: a tensor, or a structure of them.
        known: the `Shapes` that it was built for.

    Returns:
        A tuple, with `None` for the sizes that are not known.
    """
    shapes = shapes_of(inputs)
    try:
        return tuple(layer.compute_output_shape(shapes))
    except NotImplementedError:
        if _without_batch(known.inputs) == _without_batch(shapes):
            return tuple(known.output)
        return (None,) * len(known.output)


def _without_batch(shapes) -> list:
    """The sizes of each sample."""
    if is_shape(shapes):
        return list(shapes[1:])
    if isinstance(shapes, dict):
        shapes = [shapes[key] for key in sorted(shapes)]
    return [_without_batch(each) for each in shapes]


def takes(layer: keras.Layer, argument: str) -> bool:
    """Whether the layer's call has an argument of this name."""
    return argument in inspect.signature(layer.call).parameters


def call_arguments(layer: keras.Layer, mask, training) -> dict:
    """What the layer is called with besides its inputs."""
    if mask is not None and takes(layer, "mask"):
        return {"training": training, "mask": mask}
    return {"training": training}


def hands_on_masks(layer: keras.Layer) -> bool:
    """Whether its outputs may have masks: those of a model have its layers'."""
    return layer.supports_masking or isinstance(layer, keras.Model)


def shapes_of(tensors):
    """The shapes of a structure of tensors, with `None` for unknown sizes."""
    return tree.map_structure(lambda x: _known(x.shape), tensors)


def is_shape(value) -> bool:
    """Whether it is one shape, and no structure of them."""
    return isinstance(value, (list, tuple)) and all(
        size is None or isinstance(size, int) for size in value
    )


def _known(shape) -> tuple:
    return tuple(size if isinstance(size, int) else None for size in shape)


def _symbols(shapes, dtype):
    if is_shape(shapes):
        return keras.KerasTensor(tuple(shapes), dtype)
    if isinstance(shapes, dict):
        return {key: _symbols(each, dtype) for key, each in shapes.items()}
    return [_symbols(each, dtype) for each in shapes]
