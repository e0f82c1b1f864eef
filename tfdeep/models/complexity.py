"""The number of multiplications and additions of a forward pass."""

import math

import keras

from tfdeep.layers import (
    DenseBlock,
    DenseTransition,
    Repeat,
    ResidualBlock,
    StochasticDepth,
)


def multiply_adds(model: keras.Model) -> int:
    """Count the multiply-adds of a model's convolutions and dense layers.

    A convolution with a k x k kernel from c to f channels in g groups, with
    h x w output pixels, has h w k^2 (c / g) f of them: the figure that papers
    call FLOPs, for one image. Normalization, activations, pooling and biases
    are not counted. Every branch counts in full, whatever its survival
    probability: the expected figure of a training step is smaller.

    Counted are `Conv2D`, `GroupedConv2D` and `Dense` layers, in the model, in
    models inside it, in the blocks of `tfdeep.layers`, in the branch of a
    `StochasticDepth` and in each copy of a `Repeat`. Other kinds of layers,
    such as a depthwise convolution, count nothing.

    Args:
        model: a Functional model, or a Sequential model that is built, with
            known image sizes.

    Returns:
        The number of multiply-adds, an integer.

    Raises:
        ValueError: if it is no built model, an image size is unknown, or a
            layer is called more than once in the model.

    Example:
        >>> import tfdeep
        >>> net = tfdeep.models.ResNet(20)
        >>> tfdeep.models.multiply_adds(net)
        40551040
    """
    if not isinstance(model, keras.Model) or not model.built:
        raise ValueError(
            f"`model` came as {model!r}. The count needs a keras.Model with "
            "known image sizes. Build it with a full input_shape."
        )
    return sum(_count(*child) for child in _children(model, None))


def _count(layer, shape) -> int:
    """The multiply-adds of a layer called on a tensor of this shape."""
    if isinstance(layer, keras.layers.Conv2D):
        return _applications(layer, shape) * math.prod(layer.kernel.shape)
    if isinstance(layer, keras.layers.Dense):
        return _applications(layer, shape) * math.prod(layer.kernel.shape)
    if isinstance(layer, Repeat):
        return layer.num_repeats * _count(layer.template.layer, shape)
    return sum(_count(*child) for child in _children(layer, shape))


def _applications(layer, shape) -> int:
    """How often the kernel is applied to one sample: h w, or 1."""
    _, *sizes = layer.compute_output_shape(shape)
    first = getattr(layer, "data_format", None) == "channels_first"
    sizes = sizes[1:] if first else sizes[:-1]
    if None in sizes:
        raise ValueError(
            f"Layer {layer.name!r} came with an input of shape {tuple(shape)}."
            " The count needs known sizes. Build the model with a full "
            "input_shape, such as (32, 32, 3)."
        )
    return math.prod(sizes)


def _children(layer, shape):
    """The layers inside a layer, each with the shape of its input."""
    if isinstance(layer, keras.Model):
        _refuse_shared(layer)
        return [(child, _input_shape(child)) for child in layer.layers]
    if isinstance(layer, StochasticDepth):
        return [(layer.layer, shape)]
    if isinstance(layer, ResidualBlock):
        parts = (layer.branch, layer.shortcut)
        return [(part, shape) for part in parts if part is not None]
    if isinstance(layer, DenseTransition):
        return [(layer.transition, shape)]
    if isinstance(layer, DenseBlock):
        return list(
            zip(layer.dense_layers, _growing(layer, shape), strict=True)
        )
    return []


def _refuse_shared(model):
    """A model lists a layer once, however often it is called."""
    for entry in model.get_config()["layers"]:
        if len(entry.get("inbound_nodes", ())) < 2:
            continue
        layer = model.get_layer(entry["name"])
        if _count(layer, _input_shape(layer)):
            raise ValueError(
                f"Layer {layer.name!r} is called more than once in model "
                f"{model.name!r}. A layer is counted once. Count it with a "
                "model in which each call has a layer of its own."
            )


def _input_shape(layer):
    """The shape of what a layer of a model takes, or of each of several."""
    return keras.tree.map_structure(lambda tensor: tensor.shape, layer.input)


def _growing(block: DenseBlock, shape) -> list:
    """The shape that each layer of a dense block sees."""
    shapes = []
    for index in range(block.num_layers):
        seen = list(shape)
        seen[block.channel_axis] += index * block.growth_rate
        shapes.append(tuple(seen))
    return shapes
