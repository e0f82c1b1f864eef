"""Numbers of classes as rows of zeros and ones, where there is such a class."""

import math

from keras import ops

from tfdeep import backend


def rows_of_classes(numbers, classes: int, dtype):
    """One-hot rows; one of NaN for what is no class.

    A row of zeros would say that a sample is of no class, and train on. As for
    the crossentropies of Keras, TensorFlow raises an error on top of it, but
    for programs compiled by XLA.

    Args:
        numbers: tensor of any shape, of whole numbers from 0.
        classes: integer, how many there are.
        dtype: that of the rows.

    Returns:
        A tensor of the shape of `numbers` and one more axis of `classes`.
    """
    whole = ops.cast(numbers, "int32")
    known = ops.logical_and(whole >= 0, whole < classes)
    known = ops.logical_and(known, ops.cast(whole, numbers.dtype) == numbers)
    backend.require(
        ops.all(known),
        f"Labels must be classes in [0, {classes}). Received: labels=",
        numbers,
    )
    rows = ops.one_hot(whole, classes, dtype=dtype)
    return ops.where(ops.expand_dims(known, -1), rows, math.nan)


def positive(x):
    """max(0, x), which is NaN for NaN on every backend."""
    return ops.where(ops.isnan(x), x, ops.relu(x))
