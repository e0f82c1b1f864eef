"""Layers that divide by a deviation."""

import numpy as np
from keras import layers

from tfdeep.initializers.auto_init.propagation import to_numpy
from tfdeep.initializers.auto_init.rules.measuring import measured
from tfdeep.initializers.auto_init.rules.registry import axis_of, first, rule
from tfdeep.initializers.auto_init.signal import measure


@rule(layers.BatchNormalization)
def batch_normalization(state, layer, call, args, kwargs):
    """v / (v + epsilon), channel by channel."""
    x = first(args, kwargs)
    before = state.signal(x)
    y = state.opaque(call, args, kwargs)
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
        ),
    )


@rule(
    layers.LayerNormalization,
    layers.GroupNormalization,
    layers.RMSNormalization,
    layers.UnitNormalization,
)
def sample_normalization(state, layer, call, args, kwargs):
    """Normalised within each sample: measured, as it hardly varies."""
    before = state.signal(first(args, kwargs))
    y = state.opaque(call, args, kwargs)
    values = to_numpy(y)
    signal = measure(values, axis_of(layer, values.ndim))
    state.know(
        y,
        before.replace(mean=signal.mean, second=signal.second, sensitivity=0.0),
    )
    return y
