"""Normalization: by channel it is exact, across channels it is not."""

from keras import layers

from tfdeep.layers.sparse_prelu import SparsePReLU
from tfdeep.pruning.call import ChannelCall
from tfdeep.pruning.registry import channel_rule


@channel_rule(layers.BatchNormalization)
def batch_norm(call: ChannelCall):
    """Statistics, scale and shift of each channel."""
    layer, rank = call.layer, len(call.shapes[0])
    labels = call.on(call.inputs[0], layer.axis, rank)
    for variable in layer.variables:
        if len(variable.shape) == 1:
            call.scales(variable, 0, labels)
    return None if labels is None else call.inputs[0]


@channel_rule(
    layers.LayerNormalization,
    layers.RMSNormalization,
    layers.UnitNormalization,
)
def layer_norm(call: ChannelCall):
    """Exact along other axes than that of the channels."""
    channels, axes = call.inputs[0], call.axes
    if channels is None or axes is None:
        return None
    if channels.axis in axes:
        call.mixes(channels.labels)
        for variable in call.layer.weights:
            call.scales(variable, axes.index(channels.axis), channels.labels)
    return channels


@channel_rule(layers.GroupNormalization)
def group_norm(call: ChannelCall):
    """Index i of all groups; exact with a group for each channel."""
    layer, rank = call.layer, len(call.shapes[0])
    labels = call.on(call.inputs[0], layer.axis, rank)
    if labels is None:
        return None
    groups = len(labels) if layer.groups == -1 else layer.groups
    if groups < len(labels):
        call.tie(labels.reshape(groups, -1), labels[: len(labels) // groups])
        call.mixes(labels)
    elif layer.groups != -1:
        call.counts("groups", labels)
    for variable in layer.weights:
        call.scales(variable, 0, labels)
    return call.inputs[0]


@channel_rule(layers.PReLU)
def prelu(call: ChannelCall):
    """Slopes, of which axes may be shared."""
    (channels,) = call.inputs
    if channels is None:
        return None
    if call.layer.alpha.shape[channels.axis - 1] > 1:
        call.scales(call.layer.alpha, channels.axis - 1, channels.labels)
    return channels


@channel_rule(SparsePReLU)
def sparse_prelu(call: ChannelCall):
    """Slopes, and what is kept of those that are frozen."""
    (channels,) = call.inputs
    if channels is None:
        return None
    layer, axis = call.layer, channels.axis - 1
    if layer.slopes.shape[axis] > 1:
        for variable in (layer.slopes, layer.frozen, layer.kept):
            call.scales(variable, axis, channels.labels)
    return channels


@channel_rule("keras.LayerScale")
def layer_scale(call: ChannelCall):
    """The scale in the ConvNeXt of `keras.applications`."""
    channels, rank = call.inputs[0], len(call.shapes[0])
    labels = call.on(channels, -1, rank)
    call.scales(call.layer.gamma, 0, labels)
    call.counts("projection_dim", labels)
    return None if labels is None else channels
