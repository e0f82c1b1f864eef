"""Dense layers and embeddings."""

import numpy as np
from keras import layers

from tfdeep.pruning.call import ChannelCall
from tfdeep.pruning.labels import FIXED, Channels
from tfdeep.pruning.registry import channel_rule
from tfdeep.pruning.rules.activation import activated


@channel_rule(layers.Dense)
def dense(call: ChannelCall):
    """Units make channels; rows of the kernel take them."""
    layer, rank = call.layer, len(call.shapes[0])
    made = call.new(layer.units)
    call.takes(layer.kernel, 0, call.on(call.inputs[0], -1, rank))
    call.makes(layer.kernel, 1, made)
    call.scales(layer.bias, 0, made)
    call.counts("units", made)
    return activated(call, Channels(rank - 1, made))


@channel_rule(layers.EinsumDense)
def einsum_dense(call: ChannelCall):
    """Axes of the kernel that are summed over take, the last one makes."""
    layer, rank = call.layer, len(call.shapes[0])
    left, right, result = _axes(layer.equation, rank)
    x = call.inputs[0]
    letter = left[x.axis] if x is not None else ""
    if letter and (letter in result or letter not in right):
        call.freeze(x, f"{call.path} takes them for positions")
        x = None
    if x is not None:
        call.takes(layer.kernel, right.index(letter), x.labels)
    last = result[-1]
    if last not in right or last in left:
        return None
    made = call.new(layer.kernel.shape[right.index(last)])
    call.makes(layer.kernel, right.index(last), made)
    if layer.bias is not None:
        axes = [axis for axis in result if axis in layer.bias_axes]
        if last in axes:
            shape = layer.bias.shape
            call.scales(
                layer.bias, len(shape) - len(axes) + axes.index(last), made
            )
    shape = call.config["output_shape"]
    item = None if isinstance(shape, int) else len(shape) - 1
    call.counts("output_shape", made, item)
    return activated(call, Channels(len(result) - 1, made))


def _axes(equation: str, rank: int) -> tuple[str, str, str]:
    """The letters of the axes of input, kernel and output, without dots."""
    inputs, result = equation.replace(" ", "").split("->")
    left, right = inputs.split(",")
    missing = rank - len(left.replace("...", ""))
    free = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in equation]
    dots = "".join(free[:missing])
    return (
        left.replace("...", dots),
        right.replace("...", ""),
        result.replace("...", dots),
    )


@channel_rule(layers.Embedding)
def embedding(call: ChannelCall):
    """Columns make channels."""
    layer = call.layer
    call.freeze_inputs(f"{call.path} looks them up")
    made = call.new(layer.output_dim)
    call.makes(layer.embeddings, 1, made)
    call.counts("output_dim", made)
    return Channels(len(call.shapes[0]), made)


@channel_rule(layers.ReversibleEmbedding)
def reversible_embedding(call: ChannelCall):
    """In the other direction the columns take what they have made."""
    layer = call.layer
    backwards = call.call.kwargs.get("reverse", False)
    if len(call.call.args) > 1:
        backwards = call.call.args[1]
    made = call.new(layer.output_dim)
    call.makes(layer.embeddings, 1, made)
    call.counts("output_dim", made)
    if not layer.tie_weights:
        call.takes(layer.reverse_embeddings, 0, made)
    if not backwards:
        return Channels(len(call.shapes[0]), made)
    x = call.on(call.inputs[0], -1, len(call.shapes[0]))
    call.tie(made, np.full(len(made), FIXED) if x is None else x)
    return None
