"""Layers of this package: opened into Keras layers, passed on, or frozen."""

import keras

from tfdeep import layers
from tfdeep.layers.seed_state import Dropout
from tfdeep.pruning.call import ChannelCall
from tfdeep.pruning.labels import Channels
from tfdeep.pruning.registry import channel_rule
from tfdeep.pruning.rules.activation import activated
from tfdeep.pruning.rules.convolution import channel_axis, convolution, taken
from tfdeep.pruning.rules.passing import passed

# Blocks of one width, and wrappers that only matter while training.
OPENED = (
    layers.DenseBlock,
    layers.DenseTransition,
    layers.Recompute,
    layers.ResidualBlock,
    layers.ZeroPadShortcut,
)
# What Keras has itself, where it does the same.
PLAIN = {
    layers.GroupedConv2D: keras.layers.Conv2D,
    Dropout: keras.layers.Dropout,
}
# What a compact model has no more: it has those, or none.
TAKEN_OUT = (*PLAIN, layers.BatchEntropy)

channel_rule(layers.DropPath, layers.BatchEntropy, Dropout)(passed)
channel_rule(layers.GroupedConv2D)(convolution)


@channel_rule(layers.WeightStandardizedConv2D)
def standardized(call: ChannelCall):
    """A filter is standardized by all that it takes: that stays."""
    layer, x = call.layer, taken(call)
    reason = f"{call.path} standardizes its kernel over them"
    if layer.groups > 1:
        call.freeze_inputs(reason)
        return None
    if x is not None:
        call.freeze_labels(x, reason)
    made = call.new(layer.filters)
    call.takes(layer.kernel, -2, x)
    call.makes(layer.kernel, -1, made)
    for variable in layer.weights:
        if len(variable.shape) == 1:
            call.scales(variable, 0, made)
    call.counts("filters", made)
    return activated(call, Channels(channel_axis(call), made))


@channel_rule(layers.Repeat)
def repeat(call: ChannelCall):
    """Its copies share one width."""
    call.freeze_inputs(
        f"{call.path} is a Repeat: convert the model with "
        "tfdeep.models.unstack first"
    )


@channel_rule(
    layers.CapsuleLength,
    layers.CapsuleMask,
    layers.PrimaryCapsules,
    layers.ReversibleCapsule,
    layers.ReversibleStack,
    layers.RoutingCapsules,
)
def frozen(call: ChannelCall):
    """They have one width, or route what they take."""
    call.freeze_inputs(
        f"{call.path} ({type(call.layer).__name__}) has one width throughout"
    )
