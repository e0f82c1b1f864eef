"""The layers of this package that need a rule."""

import numpy as np

from tfdeep.initializers.auto_init.propagation import like, to_numpy
from tfdeep.initializers.auto_init.rules.measuring import computed
from tfdeep.initializers.auto_init.rules.merging import plus
from tfdeep.initializers.auto_init.rules.moving import moving
from tfdeep.initializers.auto_init.rules.registry import first, rule
from tfdeep.layers import BatchEntropy, DenseBlock, StochasticDepth

rule(BatchEntropy)(moving)


@rule(StochasticDepth)
def stochastic_depth(state, layer, call, args, kwargs):
    """In training the branch is there with probability p: E[x^2] is p q."""
    shortcut = args[1] if len(args) > 1 else kwargs.get("shortcut")
    y = layer.layer(first(args, kwargs), training=True)
    branch, p = state.signal(y), layer.survival_probability
    kept = state.rng.permutation(np.arange(len(y)) < round(p * len(y)))
    kept = kept.reshape((-1,) + (1,) * (len(y.shape) - 1))
    values = to_numpy(y)
    dropped = like(y, (values * kept).astype(values.dtype))
    dropped = state.give(
        dropped,
        branch.replace(
            mean=branch.mean * p, second=branch.second * p, gaussian=False
        ),
    )
    if shortcut is None:
        return dropped
    return plus(
        state,
        layer,
        lambda parts: parts[0] + parts[1],
        ([dropped, shortcut],),
        {},
    )


@rule(DenseBlock)
def dense_block(state, layer, call, args, kwargs):
    """Layer by layer: recomputation would hide them."""
    recompute, layer.recompute = layer.recompute, False
    try:
        return computed(state, layer, call, args, kwargs)
    finally:
        layer.recompute = recompute
