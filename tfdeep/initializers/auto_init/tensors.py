"""The tensors of a pass, and their values."""

import keras
import numpy as np
from keras import ops

from tfdeep import backend
from tfdeep.masks import mask_of, with_mask


def to_numpy(tensor) -> np.ndarray:
    """The values of a tensor; half precision as float32."""
    values = ops.convert_to_numpy(tensor)
    if values.dtype.name in ("float16", "bfloat16"):
        values = values.astype("float32")
    return values


def like(tensor, values):
    """A tensor of these values, of the same dtype and with the same mask."""
    result = ops.convert_to_tensor(values, dtype=tensor.dtype)
    return with_mask(result, mask_of(tensor))


def is_tensor(x) -> bool:
    """Whether x is a tensor of numbers."""
    return (
        hasattr(x, "shape")
        and hasattr(x, "dtype")
        and "float" in keras.backend.standardize_dtype(x.dtype)
    )


def concrete(structure) -> bool:
    """Whether all tensors have values: none is symbolic or being traced."""
    return all(
        backend.is_concrete(x)
        for x in keras.tree.flatten(structure)
        if hasattr(x, "shape")
    )


def channel_axis(rank: int) -> int:
    """Where channels are, by Keras' setting."""
    first = keras.config.image_data_format() == "channels_first"
    return 1 if first and rank > 3 else -1
