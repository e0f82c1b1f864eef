"""Noise that is added or multiplied in training."""

import numpy as np
from keras import layers

from tfdeep.initializers.auto_init.rules.registry import first, rule
from tfdeep.layers import DropPath


@rule(
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    DropPath,
)
def dropout(state, layer, call, args, kwargs):
    """E[x^2] / (1 - rate); the mean stays."""
    x = first(args, kwargs)
    before, y = state.signal(x), state.whole(*args, **kwargs)
    if layer.rate == 0:
        return state.give(y, before)
    second = before.second / (1 - layer.rate) if layer.rate < 1 else 0.0
    second = np.broadcast_to(second, before.second.shape)
    return state.give(y, before.replace(second=second, gaussian=False))


@rule(layers.GaussianDropout)
def gaussian_dropout(state, layer, call, args, kwargs):
    """Multiplied by a normal variable of mean 1."""
    before = state.signal(first(args, kwargs))
    y = state.whole(*args, **kwargs)
    second = before.second * (1 + layer.rate / (1 - layer.rate))
    return state.give(y, before.replace(second=second, gaussian=False))


@rule(layers.GaussianNoise)
def gaussian_noise(state, layer, call, args, kwargs):
    """Independent noise adds its variance."""
    before = state.signal(first(args, kwargs))
    y = state.whole(*args, **kwargs)
    second = before.second + layer.stddev**2
    return state.give(y, before.replace(second=second))
