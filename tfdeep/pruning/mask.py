"""Channels set to zero, without making anything smaller."""

import warnings

import keras
import numpy as np
from keras import ops

from tfdeep.pruning.channels import ChannelGraph


def mask(graph: ChannelGraph, gone) -> None:
    """Set the weights of channels to zero, in place.

    Where a channel is made, scaled and taken: what an activation makes of 0
    reaches nothing then.

    Args:
        graph: the `ChannelGraph` of the model.
        gone: roots of the channels.
    """
    lost = graph.lost(gone)
    for axis in graph.axes:
        variable = axis.variable
        keep = ~lost[axis.labels]
        # Statistics stay: a variance of 0 would be divided by.
        if np.all(keep) or not _is_weight(axis):
            continue
        shape = [1] * len(variable.shape)
        shape[axis.axis] = -1
        factor = ops.convert_to_tensor(keep.reshape(shape))
        value = variable.value
        variable.assign(ops.where(factor, value, ops.zeros_like(value)))
    _warn_when_saved(graph.model)


def _is_weight(axis) -> bool:
    return not (axis.role == "parameter" and "moving_" in axis.variable.path)


def _warn_when_saved(model: keras.Model) -> None:
    """Let every way of saving a masked model say that it is as large.

    Functions and callbacks of Keras that write files ask the model for its
    weights by `save_own_variables`; `save` writes HDF5 files without.
    """
    inside: list = []  # Of a `save` that has warned.

    def warning(method):
        def saving(*args, **kwargs):
            if not inside:
                warnings.warn(
                    "Channels of this model are masked, and nothing is "
                    "smaller: `plan.compact(model)` makes the small model.",
                    stacklevel=2,
                )
            inside.append(method)
            try:
                return method(*args, **kwargs)
            finally:
                inside.pop()

        saving.says_masked = True
        return saving

    for name in ("save", "save_own_variables", "export"):
        method = getattr(model, name)
        if not getattr(method, "says_masked", False):
            setattr(model, name, warning(method))
