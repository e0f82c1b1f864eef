"""Convolutions: filters make channels, kernels take them."""

from typing import Any

import numpy as np
from keras import layers

from tfdeep.pruning.call import ChannelCall
from tfdeep.pruning.labels import Channels
from tfdeep.pruning.registry import channel_rule
from tfdeep.pruning.rules.activation import activated


def channel_axis(call: ChannelCall) -> int:
    """The axis of the channels of an input with positions."""
    first = getattr(call.layer, "data_format", None) == "channels_first"
    return 1 if first else len(call.shapes[0]) - 1


def taken(call: ChannelCall):
    """The labels of the only input's channels, or `None`."""
    return call.on(call.inputs[0], channel_axis(call), len(call.shapes[0]))


def _repeated(labels: Any, times: int) -> Any:
    return None if labels is None else np.repeat(labels, times)


def _channels(call: ChannelCall, labels: Any) -> Channels | None:
    return None if labels is None else Channels(channel_axis(call), labels)


@channel_rule(layers.Conv1D, layers.Conv2D, layers.Conv3D)
def convolution(call: ChannelCall):
    """Filters make channels; of a grouped one, index i of all groups."""
    layer, axis = call.layer, channel_axis(call)
    x = taken(call)
    if layer.groups > 1:
        return _grouped(call, x)
    made = call.new(layer.filters)
    call.takes(layer.kernel, -2, x)
    call.makes(layer.kernel, -1, made)
    call.scales(layer.bias, 0, made)
    call.counts("filters", made)
    return activated(call, Channels(axis, made))


def _grouped(call: ChannelCall, x):
    layer, axis, groups = call.layer, channel_axis(call), call.layer.groups
    each = layer.filters // groups
    if layer.kernel.shape[-2] == 1:  # Depthwise: a group for each channel.
        call.takes(layer.kernel, -2, None)
        made = _repeated(x, each)
        call.makes(layer.kernel, -1, made)
        call.scales(layer.bias, 0, made)
        call.counts("filters", made)
        call.counts("groups", x)
        return activated(call, _channels(call, made))
    made = call.new(layer.filters)
    call.tie(made.reshape(groups, each), made[:each])
    if x is not None:
        call.tie(x.reshape(groups, -1), x[: len(x) // groups])
        x = x[: len(x) // groups]
    call.takes(layer.kernel, -2, x)
    call.makes(layer.kernel, -1, made)
    call.scales(layer.bias, 0, made)
    call.counts("filters", made)
    return activated(call, Channels(axis, made))


@channel_rule(
    layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose
)
def transposed(call: ChannelCall):
    """The kernel has the filters before the channels that it takes."""
    layer = call.layer
    x = taken(call)
    if getattr(layer, "groups", 1) > 1:
        call.freeze_inputs(f"{call.path} is transposed and in groups")
        return None
    made = call.new(layer.filters)
    call.takes(layer.kernel, -1, x)
    call.makes(layer.kernel, -2, made)
    call.scales(layer.bias, 0, made)
    call.counts("filters", made)
    return activated(call, Channels(channel_axis(call), made))


@channel_rule(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def depthwise(call: ChannelCall):
    """Each channel has filters of its own."""
    layer = call.layer
    x = taken(call)
    made = _repeated(x, layer.depth_multiplier)
    call.scales(layer.kernel, -2, x)
    call.scales(layer.bias, 0, made)
    return activated(call, _channels(call, made))


@channel_rule(layers.SeparableConv1D, layers.SeparableConv2D)
def separable(call: ChannelCall):
    """A depthwise convolution, and one that takes what it makes."""
    layer = call.layer
    x = taken(call)
    between = _repeated(x, layer.depth_multiplier)
    made = call.new(layer.filters)
    call.scales(layer.depthwise_kernel, -2, x)
    call.takes(layer.pointwise_kernel, -2, between)
    call.makes(layer.pointwise_kernel, -1, made)
    call.scales(layer.bias, 0, made)
    call.counts("filters", made)
    return activated(call, Channels(channel_axis(call), made))
