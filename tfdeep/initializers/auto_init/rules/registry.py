"""Which class has which rule, and what the rules share."""

import numpy as np

from tfdeep.initializers.auto_init.propagation import channel_axis

# By class, and by the name of a class of `keras.ops` nodes.
RULES: dict = {}
OPERATIONS: dict = {}


def rule(*kinds):
    """Register a rule for classes and what inherits from them."""

    def register(function):
        RULES.update(dict.fromkeys(kinds, function))
        return function

    return register


def first(args, kwargs):
    """The first tensor of a call."""
    return args[0] if args else next(iter(kwargs.values()))


def axis_of(layer, rank: int) -> int:
    """The axis of the channels of a layer's tensors."""
    data_format = getattr(layer, "data_format", None)
    if data_format is None:
        return channel_axis(rank)
    return 1 if data_format == "channels_first" else -1


def single(array):
    """float32, for the convolutions."""
    return np.asarray(array, "float32")
