"""Recurrent layers: a unit is in every gate, and in what it hands on."""

import numpy as np
from keras import layers

from tfdeep.pruning.call import ChannelCall
from tfdeep.pruning.labels import Channels
from tfdeep.pruning.registry import channel_rule
from tfdeep.pruning.rules.activation import MIXING

GATES = {layers.LSTM: 4, layers.GRU: 3, layers.SimpleRNN: 1}


@channel_rule(*GATES)
def recurrent(call: ChannelCall):
    """Each gate has a column for each unit."""
    layer = call.layer
    (gates,) = [n for kind, n in GATES.items() if isinstance(layer, kind)]
    cell = layer.cell
    made = call.new(layer.units)
    columns = np.tile(made, gates)
    x = call.on(call.inputs[0], -1, len(call.shapes[0]))
    for state in call.inputs[1:]:
        call.freeze(state, f"{call.path} begins with them")
        call.freeze_labels(made, f"{call.path} begins with a given state")
    name = getattr(layer.activation, "__name__", "")
    if name in MIXING:
        call.freeze_labels(made, f"{name} of {call.path} takes them together")
    call.takes(cell.kernel, 0, x)
    call.makes(cell.kernel, 1, columns)
    call.takes(cell.recurrent_kernel, 0, made)
    call.scales(cell.recurrent_kernel, 1, columns)
    call.scales(cell.bias, -1, columns)
    call.counts("units", made)
    outputs = [len(each.shape) - 1 for each in call.call.outputs]
    return [Channels(axis, made) for axis in outputs]
