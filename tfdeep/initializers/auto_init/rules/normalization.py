"""Layers that divide by a deviation."""

import numpy as np
from keras import layers

from tfdeep.initializers.auto_init.rules.measuring import (
    followed,
    measured,
)
from tfdeep.initializers.auto_init.rules.registry import first, rule
from tfdeep.initializers.auto_init.tensors import to_numpy


@rule(layers.BatchNormalization)
def batch_normalization(state, layer, call, args, kwargs):
    """v / (v + epsilon), channel by channel."""
    x = first(args, kwargs)
    before = state.signal(x)
    y = state.whole(*args, **kwargs)
    if not layer.trainable:  # It then normalises by its moving statistics.
        measured(state, layer, y, [x])
        return y
    values = to_numpy(x).astype("float64")
    others = tuple(
        i for i in range(values.ndim) if i != layer.axis % values.ndim
    )
    variance = values.var(others)
    part = variance / (variance + layer.epsilon)
    gamma = 1.0 if not layer.scale else to_numpy(layer.gamma)
    beta = np.zeros(1) if not layer.center else to_numpy(layer.beta)
    second = float(np.mean(part * gamma**2) + np.mean(beta**2))
    shape = before.second / before.q if before.q > 0 else before.second
    return state.give(
        y,
        before.replace(
            mean=float(np.mean(beta)),
            second=shape * second,
            gaussian=before.gaussian and not np.any(beta),
            fresh=None if np.any(beta) else before.fresh,
            sensitivity=before.sensitivity * float(np.mean(1 - part)),
            scatter=before.scatter * float(np.mean(1 - part)) ** 2,
        ),
    )


# Normalised within each sample, which hardly varies from draw to draw.
rule(
    layers.LayerNormalization,
    layers.GroupNormalization,
    layers.RMSNormalization,
    layers.UnitNormalization,
)(followed(sensitivity=0.0, scatter=0.0))
