"""Where several tensors become one."""

import numpy as np
from keras import layers, tree

from tfdeep.pruning.call import ChannelCall, symbols
from tfdeep.pruning.labels import FIXED, Channels
from tfdeep.pruning.registry import channel_rule

BINARY = """add subtract multiply divide true_divide divide_no_nan floor_divide
power maximum minimum fmax fmin fmod mod arctan2 equal not_equal greater
greater_equal less less_equal logical_and logical_or logical_xor logaddexp
logaddexp2 hypot where squared_difference nextafter copysign heaviside ldexp
bitwise_and bitwise_or bitwise_xor left_shift right_shift bitwise_left_shift
bitwise_right_shift isclose addcmul""".split()


@channel_rule(
    layers.Add,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
    layers.Multiply,
    layers.Subtract,
    "keras.CustomScaleLayer",
    *BINARY,
)
def elementwise(call: ChannelCall):
    """Channels at the same place go together; one value serves all."""
    rank = max(len(shape) for shape in call.shapes)
    found = [c for c in _aligned(call, rank) if c is not None]
    if not found:
        return None
    axis = found[0].axis
    if any(channels.axis != axis for channels in found):
        call.freeze_inputs(f"{call.path} meets other axes with them")
        return None
    if _meets_fixed(call, rank, axis):
        call.freeze_inputs(f"{call.path} meets what is fixed with them")
        return None
    wide = [c for c in found if len(c.labels) > 1] or found
    for channels in wide[1:]:
        call.tie(wide[0].labels, channels.labels)
    return Channels(axis, wide[0].labels)


def _aligned(call: ChannelCall, rank: int) -> list:
    """The channels of the inputs, with axes counted as in the result."""
    return [
        None if c is None else Channels(c.axis + rank - len(shape), c.labels)
        for c, shape in zip(call.inputs, call.shapes, strict=True)
    ]


def _meets_fixed(call: ChannelCall, rank: int, axis: int) -> bool:
    """Whether an operand without channels has several values on an axis."""
    operands = tree.flatten((call.call.args, call.call.kwargs))
    for operand in operands:
        if call.of(operand) is not None or isinstance(operand, (str, bool)):
            continue
        shape = tuple(getattr(operand, "shape", ()))
        place = axis - rank + len(shape)
        if place >= 0 and shape[place] != 1:
            return True
    return False


@channel_rule(layers.Concatenate, "concatenate")
def concatenated(call: ChannelCall):
    """Channels one after the other; on other axes they go together."""
    rank = len(call.shapes[0])
    axis = call.layer.axis % rank
    found = [c for c in call.inputs if c is not None]
    if not found:
        return None
    if all(c.axis == axis for c in found):
        labels = [
            np.full(shape[axis], FIXED) if c is None else c.labels
            for c, shape in zip(call.inputs, call.shapes, strict=True)
        ]
        return Channels(axis, np.concatenate(labels))
    return _side_by_side(call, axis)


def _side_by_side(call: ChannelCall, axis: int):
    """Channels of several tensors on one axis, that is not the joined one."""
    first = call.inputs[0]
    if first is None or any(
        c is None or c.axis != first.axis for c in call.inputs
    ):
        call.freeze_inputs(f"{call.path} meets what is fixed with them")
        return None
    if first.axis == axis:
        return None
    for channels in filter(None, call.inputs[1:]):
        call.tie(first.labels, channels.labels)
    return first


@channel_rule("stack")
def stacked(call: ChannelCall):
    """A new axis beside the channels."""
    rank = len(call.shapes[0]) + 1
    axis = call.layer.axis % rank
    if all(c is None for c in call.inputs):
        return None
    channels = _side_by_side(call, -1)
    if channels is None:
        return None
    return Channels(channels.axis + (axis <= channels.axis), channels.labels)


@channel_rule("matmul")
def product(call: ChannelCall):
    """The columns of the second factor pass, what is summed over stays."""
    x, y = call.call.args[:2]
    for value in symbols([x]):
        call.freeze(call.of(value), f"{call.path} multiplies with them")
    columns = call.of(y)
    rank = len(y.shape)
    if columns is None:
        return None
    if rank < 2 or columns.axis != rank - 1:
        call.freeze(columns, f"{call.path} multiplies with them")
        return None
    result = len(call.call.outputs[0].shape)
    return Channels(result - 1, columns.labels)
