"""Masks that Keras hands on with tensors, read and attached.

Keras attaches to the outputs of a layer the mask that the layer computes.
Inside a loop, a conditional or a gradient of one's own, tensors are others and
their masks are lost: there they are read, handed on as tensors, and attached
again.

What JAX traces has no attributes of its own: of that, only layers are told.
"""

import keras

from tfdeep.keras_internals import mask_on, put_mask_on
from tfdeep.untracked import Untracked


class _WithMask(keras.layers.Layer):
    """Returns its input with a mask attached."""

    def __init__(self, mask):
        # Without a name it would get one that TensorFlow does not take.
        super().__init__(autocast=False, name="with_mask")
        self.supports_masking = True
        self.mask = Untracked(mask)

    def call(self, inputs):
        return inputs

    def compute_mask(self, inputs, previous_mask):
        return self.mask.value


class _MaskOf(keras.layers.Layer):
    """Notes the mask of its input."""

    def __init__(self):
        super().__init__(autocast=False, name="mask_of")
        self.supports_masking = True
        self.found = Untracked()

    def call(self, inputs, mask=None):
        self.found = Untracked(mask)
        return inputs


def mask_of(tensor):
    """The mask of a tensor, or `None`."""
    if hasattr(tensor, "__dict__"):
        return mask_on(tensor)
    reader = _MaskOf()
    reader(tensor)
    return reader.found.value


def with_mask(tensor, mask):
    """The tensor, with a mask attached if there is one."""
    if mask is None:
        return tensor
    if hasattr(tensor, "__dict__"):
        put_mask_on(tensor, mask)
        return tensor
    return _WithMask(mask)(tensor)


def without_masks(*tensors) -> tuple:
    """Take the masks off tensors, as layers do that use them up."""
    for tensor in tensors:
        if hasattr(tensor, "__dict__"):
            put_mask_on(tensor, None)
    return ()


def stand_in(tensor) -> keras.KerasTensor:
    """A symbol in the place of a tensor, with a mask if that has one.

    Layers that use a mask may take it off their input.
    """
    symbol = keras.KerasTensor(tensor.shape, tensor.dtype)
    mask = mask_of(tensor)
    if mask is not None:
        put_mask_on(symbol, keras.KerasTensor(mask.shape, "bool"))
    return symbol
