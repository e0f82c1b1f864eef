"""Attention: heads are channels of their own."""

import numpy as np
from keras import layers

from tfdeep.graph import Call
from tfdeep.pruning.call import ChannelCall
from tfdeep.pruning.labels import Channels
from tfdeep.pruning.registry import channel_rule


def projections(layer) -> dict[str, tuple]:
    """Kernels and biases of the projections, by the name of each."""
    found: dict[str, dict] = {}
    for variable in layer.weights:
        *_, part, name = variable.path.split("/")
        found.setdefault(part, {})[name] = variable
    return {
        part: (each["kernel"], each.get("bias")) for part, each in found.items()
    }


def sources(call: Call) -> dict:
    """Query, value and key of a call."""
    names = ("query", "value", "key")
    found = dict(zip(names, call.args, strict=False))
    found.update({n: v for n, v in call.kwargs.items() if n in names})
    if found.get("key") is None:
        found["key"] = found["value"]
    return found


def _project(call: ChannelCall, heads: dict[str, np.ndarray]) -> None:
    """Rows of the projections take channels, and make heads."""
    parts = projections(call.layer)
    for name, value in sources(call.call).items():
        kernel, bias = parts[name]
        x = call.on(call.of(value), -1, len(value.shape))
        call.takes(kernel, 0, x)
        call.makes(kernel, 1, heads[name])
        call.scales(bias, 0, heads[name])


@channel_rule(layers.MultiHeadAttention)
def multi_head_attention(call: ChannelCall):
    """A head goes as a whole, from projections and output."""
    layer = call.layer
    shape = layer.get_config()["output_shape"]
    parts = projections(layer)
    if "gate" in parts:
        call.freeze_inputs(f"{call.path} has a gate")
        return None
    heads = call.new(layer.num_heads, "heads")
    _project(call, dict.fromkeys(("query", "value", "key"), heads))
    call.counts("num_heads", heads)
    kernel, bias = parts["attention_output"]
    call.takes(kernel, 0, heads)
    scores = Channels(1, heads)
    if len(kernel.shape) != 3:
        return [None, scores][: len(call.call.outputs)]
    made = call.new(int(kernel.shape[-1]))
    call.makes(kernel, 2, made)
    call.scales(bias, 0, made)
    # By default it is the size of the query, which is another one's.
    item = None if shape is None or isinstance(shape, int) else len(shape) - 1
    call.counts("output_shape", made, item)
    rank = len(call.call.outputs[0].shape)
    result = Channels(rank - 1, made)
    return [result, scores][: len(call.call.outputs)]


@channel_rule(layers.GroupQueryAttention)
def group_query_attention(call: ChannelCall):
    """A key-value head goes with the queries that ask it."""
    layer = call.layer
    parts = projections(layer)
    if "gate" in parts:
        call.freeze_inputs(f"{call.path} has a gate")
        return None
    heads = call.new(layer.num_key_value_heads, "heads")
    each = layer.num_query_heads // layer.num_key_value_heads
    asking = np.repeat(heads, each)
    _project(call, {"query": asking, "value": heads, "key": heads})
    call.counts("num_key_value_heads", heads)
    call.counts("num_query_heads", asking)
    kernel, bias = parts["attention_output"]
    call.takes(kernel, 0, asking)
    query = sources(call.call)["query"]
    x = call.on(call.of(query), -1, len(query.shape))
    call.makes(kernel, 2, x)  # As many as the query has.
    call.scales(bias, 0, x)
    result = None if x is None else Channels(len(query.shape) - 1, x)
    return [result, Channels(1, asking)][: len(call.call.outputs)]
