"""What moves channels to other axes or repeats them."""

import math

import numpy as np
from keras import layers

from tfdeep.pruning.call import ChannelCall
from tfdeep.pruning.labels import Channels
from tfdeep.pruning.registry import channel_rule


def reshaped(call: ChannelCall, before, after) -> Channels | None:
    """The channels of a tensor whose values are counted in other axes.

    Where they come to lie on several axes, those that differ on others than
    the last one go together.
    """
    (channels,) = call.inputs[:1]
    if channels is None:
        return None
    if channels.axis == len(before) - 1 and before[-1] == after[-1]:
        return Channels(len(after) - 1, channels.labels)  # Whole rows.
    before, after = list(before[1:]), list(after[1:])
    known = None not in before and None not in after
    if not known or math.prod(before) != math.prod(after):
        call.freeze(channels, f"{call.path} has sizes that are not known")
        return None
    place = [1] * len(before)
    place[channels.axis - 1] = -1
    values = np.broadcast_to(channels.labels.reshape(place), before)
    return _along_one_axis(call, values.reshape(after))


def _along_one_axis(call: ChannelCall, values) -> Channels | None:
    roots = call.roots(values)
    axes = [a for a in range(roots.ndim) if _varies(roots, a)]
    if not axes:
        call.freeze(call.inputs[0], f"{call.path} hides what they are")
        return None
    axis = axes[-1]
    rows = np.moveaxis(values, axis, -1).reshape(-1, values.shape[axis])
    if len(axes) > 1:
        call.tie(rows, rows[0])
    return Channels(axis + 1, rows[0])


def _varies(values, axis: int) -> bool:
    return bool(np.any(values != np.take(values, [0], axis)))


@channel_rule(layers.Flatten)
def flattened(call: ChannelCall):
    """Each channel has a value for each position."""
    channels, shape = call.inputs[0], call.shapes[0]
    if call.layer.data_format == "channels_first" and len(shape) > 2:
        order = [0, *range(2, len(shape)), 1]  # Keras moves them to the end.
        channels = _moved(channels, order)
        shape = tuple(shape[axis] for axis in order)
        call.inputs = [channels]
    return reshaped(call, shape, (None, math.prod(shape[1:])))


@channel_rule(layers.Reshape)
def reshape_layer(call: ChannelCall):
    """`target_shape` without the batch counts what is left."""
    after = tuple(call.call.outputs[0].shape)
    result = reshaped(call, call.shapes[0], after)
    if result is not None:
        _count(call, "target_shape", result, result.axis - 1)
    return result


@channel_rule("reshape")
def reshape(call: ChannelCall):
    """`newshape` with the batch counts what is left."""
    after = tuple(call.call.outputs[0].shape)
    result = reshaped(call, call.shapes[0], after)
    if result is not None:
        _count(call, "newshape", result, result.axis)
    return result


def _count(call: ChannelCall, key: str, result: Channels, item: int) -> None:
    target = call.config[key]
    if isinstance(target, (list, tuple)) and target[item] not in (-1, None):
        call.counts(key, result.labels, item)


def _moved(channels: Channels | None, order) -> Channels | None:
    if channels is None:
        return None
    return Channels(list(order).index(channels.axis), channels.labels)


@channel_rule(layers.Permute)
def permuted(call: ChannelCall):
    """Axes without the batch, counted from 1."""
    return _moved(call.inputs[0], [0, *call.layer.dims])


@channel_rule("transpose")
def transpose(call: ChannelCall):
    """Axes in another order, by default the reverse one."""
    rank = len(call.shapes[0])
    axes = call.layer.axes
    order = range(rank)[::-1] if axes is None else [a % rank for a in axes]
    return _moved(call.inputs[0], order)


@channel_rule("swapaxes")
def swapped(call: ChannelCall):
    """Two axes in each other's place."""
    order = list(range(len(call.shapes[0])))
    one, other = call.layer.axis1, call.layer.axis2
    order[one], order[other] = order[other], order[one]
    return _moved(call.inputs[0], order)


@channel_rule("moveaxis")
def moved_axes(call: ChannelCall):
    """Axes in other places."""
    marks = np.zeros(tuple(range(1, len(call.shapes[0]) + 1)))
    shape = np.moveaxis(marks, call.layer.source, call.layer.destination).shape
    return _moved(call.inputs[0], [size - 1 for size in shape])


@channel_rule(layers.RepeatVector)
def repeat_vector(call: ChannelCall):
    """A new axis of equal vectors before the channels."""
    channels = call.inputs[0]
    return None if channels is None else Channels(2, channels.labels)


@channel_rule("expand_dims")
def expanded(call: ChannelCall):
    """New axes of one value."""
    channels = call.inputs[0]
    if channels is None:
        return None
    rank = len(call.call.outputs[0].shape)
    axes = call.layer.axis
    axes = axes if isinstance(axes, (list, tuple)) else [axes]
    new = [axis % rank for axis in axes]
    old = [axis for axis in range(rank) if axis not in new]
    return Channels(old[channels.axis], channels.labels)


@channel_rule("squeeze")
def squeezed(call: ChannelCall):
    """Axes of one value go."""
    channels, shape = call.inputs[0], call.shapes[0]
    if channels is None:
        return None
    axes = call.axes
    if axes is None:
        axes = [axis for axis, size in enumerate(shape) if size == 1]
    return _without(call, channels, axes)


def _without(
    call: ChannelCall, channels: Channels, gone: list[int]
) -> Channels | None:
    if channels.axis in gone:
        call.freeze(channels, f"{call.path} takes them together")
        return None
    before = sum(axis < channels.axis for axis in gone)
    return Channels(channels.axis - before, channels.labels)


REDUCTIONS = """all amax amin any argmax argmin average count_nonzero logsumexp
max mean median min nanmax nanmean nanmedian nanmin nanprod nanstd nansum nanvar
norm prod std sum var ptp quantile""".split()


@channel_rule(*REDUCTIONS)
def reduced(call: ChannelCall):
    """Along another axis it leaves channels by themselves."""
    channels, axes = call.inputs[0], call.axes
    if channels is None:
        return None
    if axes is None or len(call.inputs) > 1:
        call.freeze_inputs(f"{call.path} takes them together")
        return None
    left = _without(call, channels, axes)
    keeps = getattr(call.layer, "keepdims", False)
    return channels if keeps and left is not None else left


@channel_rule("cumsum", "cumprod", "diff", "sort", "argsort", "roll")
def along(call: ChannelCall):
    """Along another axis it leaves channels by themselves."""
    channels, axes = call.inputs[0], call.axes
    if channels is None:
        return None
    if axes is None or channels.axis in axes:
        call.freeze(channels, f"{call.path} takes them together")
        return None
    return channels


@channel_rule("flip")
def flipped(call: ChannelCall):
    """The other way round."""
    channels, axes = call.inputs[0], call.axes
    if channels is None:
        return None
    if axes is None or channels.axis in axes:
        return Channels(channels.axis, channels.labels[::-1])
    return channels


@channel_rule("repeat")
def repeated(call: ChannelCall):
    """Each channel several times."""
    channels, rank = call.inputs[0], len(call.shapes[0])
    axis, times = call.layer.axis, call.layer.repeats
    if channels is None:
        return None
    if axis is None or not isinstance(times, int):
        call.freeze(channels, f"{call.path} repeats them by number")
        return None
    if axis % rank != channels.axis:
        return channels
    return Channels(channels.axis, np.repeat(channels.labels, times))


@channel_rule("tile")
def tiled(call: ChannelCall):
    """All channels several times."""
    channels, rank = call.inputs[0], len(call.shapes[0])
    times = call.layer.repeats
    if channels is None:
        return None
    times = [times] if isinstance(times, int) else list(times)
    if len(times) > rank:
        call.freeze(channels, f"{call.path} adds axes")
        return None
    times = [1] * (rank - len(times)) + times
    return Channels(
        channels.axis, np.tile(channels.labels, times[channels.axis])
    )


@channel_rule("broadcast_to")
def broadcast(call: ChannelCall):
    """Other axes grow; the shape counts the channels."""
    channels = call.inputs[0]
    if channels is None:
        return None
    rank = len(call.call.outputs[0].shape)
    axis = channels.axis + rank - len(call.shapes[0])
    if len(channels.labels) != call.call.outputs[0].shape[axis]:
        call.freeze(channels, f"{call.path} repeats them")
        return None
    call.counts("shape", channels.labels, axis)
    return Channels(axis, channels.labels)


@channel_rule("unstack")
def unstacked(call: ChannelCall):
    """An axis goes."""
    channels, rank = call.inputs[0], len(call.shapes[0])
    if channels is None:
        return None
    return _without(call, channels, [call.layer.axis % rank])
