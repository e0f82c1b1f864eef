"""Layers that run others in loops of their own."""

import keras
import numpy as np
from keras import layers, ops

from tfdeep.initializers.auto_init.rules.measuring import measured
from tfdeep.initializers.auto_init.rules.registry import axis_of, first, rule
from tfdeep.initializers.auto_init.signal import measure
from tfdeep.initializers.auto_init.tensors import to_numpy

DRAWS = 7  # Of a recurrent layer's kernels, besides its own.


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
def whole(state, layer, call, args, kwargs):
    """Computed as a whole. Of recurrent layers the input kernels are set."""
    x, cells = first(args, kwargs), []
    parts = [
        getattr(layer, name, None)
        for name in ("forward_layer", "backward_layer")
    ]
    for part in [part for part in parts if part is not None] or [layer]:
        cell = getattr(part, "cell", None)
        cells += getattr(cell, "cells", [cell])
        # Of stacked cells the first sees the input.
        cell = getattr(cell, "cells", [cell])[0]
        kernel = getattr(cell, "kernel", None)
        if kernel is not None:
            fan = int(np.prod(kernel.shape[:-1]))
            unit = fan * state.signal(x).q
            state.weights(part, kernel, unit, state.draw(part)[1])
    outputs = state.whole(*args, **kwargs)
    others = _of_other_draws(state, cells, lambda: state.whole(*args, **kwargs))

    def averaged(tensor, *others):
        measured(state, layer, tensor, [x])
        if not others:
            return tensor
        own = state.signal(tensor)
        every = [own, *(measure(y, axis_of(layer, y.ndim)) for y in others)]
        second = np.mean([each.second for each in every], axis=0)
        mean = float(np.mean([each.mean for each in every]))
        return state.give(tensor, own.replace(mean=mean, second=second))

    return keras.tree.map_structure(averaged, outputs, *others)


def _of_other_draws(state, cells, call) -> list:
    """What a recurrent layer returns with other kernels of the same laws.

    A few: a single draw is a percent or two from the mean over all.
    """
    kernels = [
        (kernel, name)
        for cell in cells
        for name in ("kernel", "recurrent_kernel")
        if (kernel := getattr(cell, name, None)) is not None
    ]
    if not kernels or not state.rescale:
        return []
    before = [to_numpy(kernel) for kernel, _ in kernels]
    found = []
    try:
        for _ in range(DRAWS):
            for (kernel, name), values in zip(kernels, before, strict=True):
                if name == "kernel":
                    values = state.rng.permutation(values.ravel())
                    signs = state.rng.choice([-1.0, 1.0], values.shape)
                    values = (values * signs).reshape(kernel.shape)
                else:  # The signs of rows alone: orthogonal ones stay so.
                    signs = state.rng.choice([-1.0, 1.0], values.shape[-2])
                    values = values * signs[:, None]
                kernel.assign(values)
            found.append(keras.tree.map_structure(to_numpy, call()))
    finally:
        for (kernel, _), values in zip(kernels, before, strict=True):
            kernel.assign(values)
    return found


@rule(layers.TimeDistributed)
def time_distributed(state, layer, call, args, kwargs):
    """The layer inside, on each step as on one more sample."""
    x = first(args, kwargs)
    batch, steps = x.shape[:2]
    flat = ops.reshape(x, (batch * steps, *x.shape[2:]))
    signal = state.signal(x)
    state.know(flat, signal.replace(second=np.mean(signal.second, 1)))
    y = state.part(layer.layer, flat)
    inner = state.signal(y)
    outputs = ops.reshape(y, (batch, steps, *y.shape[1:]))
    state.know(outputs, inner.replace(second=np.expand_dims(inner.second, 1)))
    return outputs
