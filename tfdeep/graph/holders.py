"""Layers that hold one other layer, and decide when and how it runs.

What they compute is more than the calls within them: a branch may be dropped,
or be computed again in the backward pass. So they are not written out. The
layer within may be another one, and they do the same around that.
"""

from typing import Any

import keras
from keras import layers, tree

from tfdeep.graph.opening import Opened, is_symbol
from tfdeep.graph.registry import Registry
from tfdeep.graph.trace import Call, calls_between, ends
from tfdeep.inside import is_graph
from tfdeep.layers.recompute import Recompute
from tfdeep.layers.retrofitted import AddedStochasticDepth
from tfdeep.layers.stochastic_block import StochasticBlock
from tfdeep.layers.stochastic_depth import StochasticDepth

HOLDERS = Registry("holder")
HOLDERS.rule(StochasticDepth, AddedStochasticDepth)("branch")
HOLDERS.rule(StochasticBlock, Recompute)("whole")
HOLDERS.rule(layers.TimeDistributed)("each step")


def is_holder(call: Call) -> bool:
    """Whether the layer of a call holds one other layer, of one tensor."""
    return (
        HOLDERS.find(call.operation) is not None
        and bool(call.args)
        and is_symbol(call.args[0])
        and len(call.outputs) == 1
    )


def held_call(call: Call) -> Call:
    """The call of the layer within a holder, on an input of its own."""
    held, x = call.operation.layer, call.args[0]
    shape = list(x.shape)
    if HOLDERS.find(call.operation) == "each step":
        del shape[1]
    begin = keras.KerasTensor(tuple(shape), x.dtype)
    path = f"{call.path}/{held.name}"
    outputs = tree.flatten(held.compute_output_spec(begin))
    parts = []
    if is_graph(held):
        parts = calls_between(*ends(held), prefix=f"{path}/")
    return Call(path, held, (begin,), {}, outputs, parts)


def without_holder(call: Call) -> Opened | None:
    """What a holder computes where it drops nothing, as calls.

    `None` where that has no such form: a layer that is called at each step of
    time has its axes elsewhere.
    """
    if HOLDERS.find(call.operation) == "each step":
        return None
    inside = held_call(call)
    calls, (end,) = [inside], inside.outputs
    inputs = [keras.KerasTensor(t.shape, t.dtype) for t in call.inputs]
    inputs[0] = inside.args[0]
    shortcut = call.args[1] if len(call.args) > 1 else None
    shortcut = call.kwargs.get("shortcut", shortcut)
    if is_symbol(shortcut):
        number = [id(tensor) for tensor in call.inputs].index(id(shortcut))
        total = keras.KerasTensor(end.shape, end.dtype)
        args = ([inputs[number], end],)
        calls.append(
            Call(f"{call.path}/add", layers.Add(), args, {}, [total], [])
        )
        end = total
    return Opened(calls, inputs, [end], [None] * len(inputs), [None])


def around(holder: Any, held: keras.Layer, name: str) -> Any:
    """A holder that does with another layer what one does with its own."""
    config = {**holder.get_config(), "name": name, "trainable": True}
    config.pop("frozen_parts", None)  # They are numbers of other parts.
    del config["layer"]
    return type(holder)(held, **config)


def owned(holder: Any) -> list:
    """The variables of a holder that are not those of the layer within."""
    inner = {id(variable) for variable in holder.layer.variables}
    return [each for each in holder.variables if id(each) not in inner]
