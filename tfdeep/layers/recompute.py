"""A layer that is computed again in the backward pass."""

import keras
from keras import tree

from tfdeep import backend
from tfdeep.checks import check_no_tensor
from tfdeep.layers.frozen_parts import KeepsFrozenParts
from tfdeep.layers.held import (
    build_held,
    call_arguments,
    hands_on_masks,
    output_shape,
)
from tfdeep.masks import mask_of, with_mask


@keras.saving.register_keras_serializable(package="tfdeep")
class Recompute(KeepsFrozenParts, keras.layers.Wrapper):
    """Keeps a layer's inputs for the backward pass, and nothing inside it.

    Use it around a layer or model whose insides take much memory: a block of
    attention, the stages of a network. Outputs, gradients and losses are
    those of the layer; a training step takes one more forward pass of it.
    The second pass gets the state of the first: dropout masks are the same,
    and batch statistics and random streams move on once.

        keras.remat              wrong masks with Dropout and two updates of
                                 BatchNormalization on TensorFlow, an error
                                 on JAX
        tf.recompute_grad        TensorFlow only, closes over variables

    For chains of residual blocks `ReversibleStack` keeps less: not even
    their inputs.

    Reference:
        Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016,
        section 3.

    Args:
        layer: any Keras layer or model.
        **kwargs: `name` and further arguments of a Keras layer.

    Call arguments:
        inputs: what the layer takes: a tensor or a structure of tensors.
        mask: optional mask, handed to the layer if it takes one.
        training: boolean, handed to the layer.

    Input shape:
        That of the layer.

    Output shape:
        That of the layer.

    Raises:
        TypeError: if `layer` is a tensor.
        ValueError: if `layer` is no Keras layer.

    Example:
        >>> import keras, numpy as np, tfdeep
        >>> inner = keras.Sequential(
        ...     [keras.layers.Dense(64, "relu"), keras.layers.Dense(4)]
        ... )
        >>> layer = tfdeep.layers.Recompute(inner)
        >>> tuple(layer(np.ones((2, 4)), training=True).shape)
        (2, 4)
    """

    def __init__(self, layer, **kwargs):
        check_no_tensor(
            "layer", layer, "Recompute(layer)(x) with a layer or model"
        )
        if not isinstance(layer, keras.Layer):
            raise ValueError(
                "`layer` must be a Keras layer. Received: "
                f"layer={type(layer).__name__}. Pass an instance, such as "
                "keras.layers.Dense(8)."
            )
        kwargs.setdefault("dtype", layer.dtype_policy)
        super().__init__(layer, autocast=False, **kwargs)
        self.supports_masking = hands_on_masks(layer)

    def build(self, input_shape):
        build_held(self.layer, input_shape)

    def call(self, inputs, mask=None, training=None):
        arguments = call_arguments(self.layer, mask, training)
        if not training:
            return self.layer(inputs, **arguments)
        outputs, state, losses = recomputed(self.layer, inputs, arguments)
        backend.write_variables(self.layer, state)
        for loss in losses:
            self.add_loss(loss)
        return outputs

    def compute_mask(self, inputs, previous_mask):
        if not self.layer.supports_masking:
            return None  # What a model hands on is on its outputs.
        return self.layer.compute_mask(inputs, previous_mask)

    def inner_parts(self) -> list:
        """The layers within, each with how often it is repeated."""
        return [(self.layer, 1)]

    def compute_output_shape(self, input_shape):
        return output_shape(self.layer, input_shape)


def recomputed(layer, inputs, arguments):
    """`backend.stateless_call` of a layer, computed again for gradients.

    Args:
        layer: a built layer.
        inputs: its inputs.
        arguments: dictionary of further arguments of the call.

    Returns:
        `(outputs, new_state, losses)`; the state is `None` where the layer
        only reads it.
    """
    trainable, state = backend.read_variables(layer)
    structure = (inputs, arguments)
    leaves = tree.flatten(structure)
    moving = [i for i, x in enumerate(leaves) if _is_tensor(x, floating=True)]
    fixed = [i for i, x in enumerate(leaves) if _is_tensor(x, floating=False)]
    form: dict = {}

    def run(tensors, constants, trainable):
        given = list(leaves)
        for index, value in zip(moving, tensors, strict=True):
            given[index] = value
        for index, value in zip(fixed, constants, strict=False):
            given[index] = value
        x, keywords = tree.pack_sequence_as(structure, given)
        old = constants[len(fixed) :]
        outputs, new, losses = backend.stateless_call(
            layer, trainable, old, x, **keywords
        )
        flat = tree.flatten(outputs)
        masks = [mask_of(y) for y in flat]
        form["changed"] = [a is not b for a, b in zip(new, old, strict=True)]
        form["outputs"] = tree.map_structure(lambda _: 0, outputs)
        form["floats"] = [_is_tensor(y, floating=True) for y in flat]
        form["masked"] = [mask is not None for mask in masks]
        floats, others = _parted(flat, form["floats"])
        masks, _ = _parted(masks, form["masked"])
        return [*floats, *losses], [*others, *masks, *new]

    count = len(moving)

    def forward(primals, constants):
        return *run(primals[:count], constants, primals[count:]), []

    def backward(primals, constants, kept, cotangents):
        tensors, weights = backend.after(
            list(cotangents), primals[:count], primals[count:]
        )

        def function(*primals):
            found = run(primals[:count], constants, list(primals[count:]))
            return found[0]

        return backend.vjp(function, [*tensors, *weights], list(cotangents))

    values, extras = backend.custom_vjp(
        forward,
        backward,
        [*(leaves[i] for i in moving), *trainable],
        [*(leaves[i] for i in fixed), *state],
    )
    number = sum(form["floats"])
    floats, rest = iter(values[:number]), iter(extras)
    flat = [next(floats if is_float else rest) for is_float in form["floats"]]
    flat = [
        with_mask(y, next(rest)) if masked else y
        for y, masked in zip(flat, form["masked"], strict=True)
    ]
    outputs = tree.pack_sequence_as(form["outputs"], flat)
    pairs = zip(rest, form["changed"], strict=True)
    new_state = [value if changed else None for value, changed in pairs]
    return outputs, new_state, values[number:]


def _is_tensor(x, floating: bool) -> bool:
    if not (hasattr(x, "shape") and hasattr(x, "dtype")):
        return False
    dtype = keras.backend.standardize_dtype(x.dtype)
    return keras.backend.is_float_dtype(dtype) == floating


def _parted(values, wanted):
    """Those that are wanted, and the others."""
    pairs = list(zip(values, wanted, strict=True))
    return [v for v, w in pairs if w], [v for v, w in pairs if not w]
