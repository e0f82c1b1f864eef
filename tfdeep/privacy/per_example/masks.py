"""Masks that Keras hands on with tensors, read and attached.

Keras attaches to the outputs of a layer the mask that the layer computes. It
has no public word for reading the mask of a tensor: it is done here alone.
"""

import keras


class _WithMask(keras.layers.Layer):
    """Returns its input with a mask attached."""

    def __init__(self, mask):
        # Without a name it would get one that TensorFlow does not take.
        super().__init__(autocast=False, name="with_mask")
        self.supports_masking = True
        self.mask = lambda: mask  # Keras would track what it holds.

    def call(self, inputs):
        return inputs

    def compute_mask(self, inputs, previous_mask):
        return self.mask()


def mask_of(tensor):
    """The mask of a tensor, or `None`."""
    return getattr(tensor, "_keras_mask", None)


def with_mask(tensor, mask):
    """The tensor, with a mask attached if there is one."""
    return tensor if mask is None else _WithMask(mask)(tensor)


def stand_in(tensor: keras.KerasTensor) -> keras.KerasTensor:
    """A symbol in the place of another, with a mask of its own if that has one.

    Layers that use a mask may take it off their input.
    """
    symbol = keras.KerasTensor(tensor.shape, tensor.dtype)
    mask = mask_of(tensor)
    if mask is not None:
        symbol._keras_mask = keras.KerasTensor(mask.shape, "bool")
    return symbol
