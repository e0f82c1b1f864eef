"""Layers that say themselves what becomes of the signal's moments."""

import math

import keras
import numpy as np

from tfdeep.initializers.auto_init.rules.registry import METHOD
from tfdeep.initializers.auto_init.signal import Signal
from tfdeep.initializers.auto_init.tensors import is_tensor


def stated(state, layer, call, args, kwargs):
    """What `get_signal_moments(mean, variance)` of the layer returns.

    For several inputs it is given two lists.
    """
    inputs = [x for x in keras.tree.flatten((args, kwargs)) if is_tensor(x)]
    before = [state.signal(x) for x in inputs]
    means, variances = [b.mean for b in before], [b.variance for b in before]
    if len(before) == 1:
        means, variances = means[0], variances[0]
    mean, variance = _checked(layer, getattr(layer, METHOD)(means, variances))
    draws = frozenset().union(*(b.draws for b in before))
    grown = max((b.sensitivity for b in before), default=1.0)

    def give(y):
        second = np.full((1,) * len(y.shape), mean**2 + variance)
        signal = Signal(mean, second, draws=draws, sensitivity=grown)
        return state.give(y, signal)

    outputs = state.whole(*args, **kwargs)
    return keras.tree.map_structure(
        lambda y: give(y) if is_tensor(y) else y, outputs
    )


def _checked(layer, moments) -> tuple[float, float]:
    try:
        mean, variance = map(float, moments)
        right = math.isfinite(mean) and 0 <= variance < math.inf
    except (TypeError, ValueError):
        right = False
    if not right:
        raise ValueError(
            f"`{METHOD}` of layer '{layer.name}' returned {moments!r}. It is "
            "asked for the mean and the variance of the outputs. Return two "
            "finite numbers, the second not negative."
        )
    return mean, variance
