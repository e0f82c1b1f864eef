"""What cuts channels up, picks some of them, or adds constant ones."""

from typing import Any

import numpy as np

from tfdeep.pruning.call import ChannelCall
from tfdeep.pruning.labels import Channels
from tfdeep.pruning.registry import channel_rule


@channel_rule("pad")
def padded(call: ChannelCall):
    """Channels of a constant join those that are there."""
    channels = call.inputs[0]
    if channels is None:
        return None
    widths = call.layer.pad_width
    if isinstance(widths, int) or isinstance(widths[0], int):
        call.freeze(channels, f"{call.path} pads every axis")
        return None
    widths = list(widths)
    widths = widths * len(call.shapes[0]) if len(widths) == 1 else widths
    before, after = widths[channels.axis]
    if not before and not after:
        return channels
    if call.layer.mode != "constant":
        call.freeze(channels, f"{call.path} repeats them")
        return None
    new = call.new(before + after)
    first, last = new[:before], new[before:]

    def width(kept):
        return (int(kept[:before].sum()), int(kept[before:].sum()))

    call.counts("pad_width", new, channels.axis, width)
    return Channels(
        channels.axis, np.concatenate([first, channels.labels, last])
    )


@channel_rule("split", "array_split")
def split(call: ChannelCall):
    """Each part has its channels."""
    channels, rank = call.inputs[0], len(call.shapes[0])
    if channels is None:
        return None
    axis = call.layer.axis % rank
    if axis != channels.axis:
        return channels
    sizes = [int(each.shape[axis]) for each in call.call.outputs]
    ends = np.cumsum(sizes)[:-1]
    call.counts(
        "indices_or_sections",
        channels.labels,
        value=lambda kept: [int(kept[:end].sum()) for end in ends],
    )
    return [Channels(axis, part) for part in np.split(channels.labels, ends)]


@channel_rule("get_item")
def sliced(call: ChannelCall):
    """A part of the channels, in a row."""
    channels, (shape, *_) = call.inputs[0], call.shapes
    if channels is None:
        return None
    places = _places(call, shape)
    if places is None:
        call.freeze_inputs(f"{call.path} picks them by number")
        return None
    number = [axis for axis, _ in places].index(channels.axis)
    key = places[number][1]
    axis = sum(not isinstance(k, int) for _, k in places[:number])
    if key == slice(None):
        return Channels(axis, channels.labels)
    if not isinstance(key, slice) or key.step not in (None, 1):
        call.freeze_inputs(f"{call.path} picks them by number")
        return None
    start, stop, _ = key.indices(len(channels.labels))
    labels = channels.labels

    def rearrange(args, kwargs, keep):
        kept = keep(labels)
        part = slice(int(kept[:start].sum()), int(kept[:stop].sum()))
        keys = [part if n == number else k for n, (_, k) in enumerate(places)]
        return (args[0], tuple(keys)), kwargs

    call.rearranges(rearrange)
    return Channels(axis, labels[start:stop])


def _places(call: ChannelCall, shape) -> list | None:
    """Pairs of an axis and its key, all axes named; `None` if it cannot be."""
    key = call.call.args[1]
    keys = list(key) if isinstance(key, tuple) else [key]
    simple = (int, slice, type(None), type(Ellipsis))
    if not all(isinstance(k, simple) for k in keys):
        return None
    used = sum(k is not None and k is not Ellipsis for k in keys)
    rest = [slice(None)] * (len(shape) - used)
    if Ellipsis in keys:
        place = keys.index(Ellipsis)
        keys[place : place + 1] = rest
    else:
        keys += rest
    places, axis = [], 0
    for k in keys:
        places.append((axis, k))
        axis += k is not None
    return [(-1 if k is None else axis, k) for axis, k in places]


@channel_rule("take")
def taken(call: ChannelCall):
    """Numbered channels, in their order."""
    channels, rank = call.inputs[0], len(call.shapes[0])
    axis = call.layer.axis
    if channels is None:
        return None
    indices: Any = call.call.args[1] if len(call.call.args) > 1 else None
    numbers = isinstance(indices, (list, tuple, np.ndarray))
    if axis is None or not numbers or np.ndim(indices) != 1:
        call.freeze_inputs(f"{call.path} picks them by number")
        return None
    if axis % rank != channels.axis:
        return channels
    picked = np.asarray(indices, int) % len(channels.labels)
    labels = channels.labels

    def rearrange(args, kwargs, keep):
        kept = keep(labels)
        place = np.cumsum(kept) - 1
        return (args[0], [int(place[i]) for i in picked if kept[i]]), kwargs

    call.rearranges(rearrange)
    return Channels(channels.axis, labels[picked])
