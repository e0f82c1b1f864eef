"""Layers that run others in loops of their own."""

import keras
import numpy as np
from keras import layers, ops

from tfdeep.initializers.auto_init.rules.measuring import measured
from tfdeep.initializers.auto_init.rules.registry import first, rule


@rule(
    layers.RNN,
    layers.SimpleRNN,
    layers.GRU,
    layers.LSTM,
    layers.ConvLSTM1D,
    layers.ConvLSTM2D,
    layers.ConvLSTM3D,
    layers.Bidirectional,
    layers.SpectralNormalization,
)
def opaque(state, layer, call, args, kwargs):
    """Computed as a whole. Of recurrent layers the input kernels are set."""
    x = first(args, kwargs)
    parts = [
        getattr(layer, name, None)
        for name in ("forward_layer", "backward_layer")
    ]
    for part in [part for part in parts if part is not None] or [layer]:
        cell = getattr(part, "cell", None)
        # Of stacked cells the first sees the input.
        cell = getattr(cell, "cells", [cell])[0]
        kernel = getattr(cell, "kernel", None)
        if kernel is not None:
            fan = int(np.prod(kernel.shape[:-1]))
            unit = fan * state.signal(x).q
            state.weights(part, kernel, unit, state.draw(part)[1])
    outputs = state.opaque(call, args, kwargs)
    for tensor in keras.tree.flatten(outputs):
        measured(state, layer, tensor, [x])
    return outputs


@rule(layers.TimeDistributed)
def time_distributed(state, layer, call, args, kwargs):
    """The layer inside, on each step as on one more sample."""
    x = first(args, kwargs)
    batch, steps = x.shape[:2]
    flat = ops.reshape(x, (batch * steps, *x.shape[2:]))
    signal = state.signal(x)
    state.know(flat, signal.replace(second=np.mean(signal.second, 1)))
    y = layer.layer(flat)
    inner = state.signal(y)
    outputs = ops.reshape(y, (batch, steps, *y.shape[1:]))
    state.know(outputs, inner.replace(second=np.expand_dims(inner.second, 1)))
    return outputs
