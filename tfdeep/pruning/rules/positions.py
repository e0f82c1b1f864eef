"""Pooling, padding and resizing: what moves positions, channel by channel."""

from keras import layers

from tfdeep.pruning.call import ChannelCall
from tfdeep.pruning.labels import Channels
from tfdeep.pruning.registry import channel_rule
from tfdeep.pruning.rules.convolution import channel_axis, taken

DIMENSIONS = ("1D", "2D", "3D")
SAME_AXIS = [
    getattr(layers, name + dimension)
    for name in (
        "AveragePooling",
        "AdaptiveAveragePooling",
        "AdaptiveMaxPooling",
        "Cropping",
        "MaxPooling",
        "SpatialDropout",
        "UpSampling",
        "ZeroPadding",
    )
    for dimension in DIMENSIONS
    if hasattr(layers, name + dimension)
]
GLOBAL = [
    getattr(layers, f"Global{name}Pooling{dimension}")
    for name in ("Average", "Max")
    for dimension in DIMENSIONS
]


@channel_rule(
    *SAME_AXIS,
    layers.CenterCrop,
    layers.Resizing,
    "adaptive_average_pool",
    "adaptive_max_pool",
    "average_pool",
    "avg_pool",
    "max_pool",
    "resize",
)
def moved(call: ChannelCall):
    """The channels stay where they are."""
    return None if taken(call) is None else call.inputs[0]


@channel_rule(*GLOBAL)
def pooled(call: ChannelCall):
    """All positions become one."""
    labels = taken(call)
    if labels is None:
        return None
    if call.layer.keepdims:
        return Channels(channel_axis(call), labels)
    return Channels(1, labels)
