"""The layers of this package that need a rule."""

import numpy as np

from tfdeep.initializers.auto_init.rules.measuring import computed
from tfdeep.initializers.auto_init.rules.merging import plus
from tfdeep.initializers.auto_init.rules.moving import moving
from tfdeep.initializers.auto_init.rules.registry import first, rule
from tfdeep.initializers.auto_init.tensors import like, to_numpy
from tfdeep.layers import (
    BatchEntropy,
    DenseBlock,
    Repeat,
    StochasticBlock,
    StochasticDepth,
    WeightStandardizedConv2D,
)
from tfdeep.layers.copies import copies, pairs
from tfdeep.layers.retrofitted import AddedStochasticDepth, SetAside

rule(BatchEntropy, SetAside)(moving)
# The scale of its kernel does not reach its outputs.
rule(WeightStandardizedConv2D)(computed)


@rule(StochasticDepth, AddedStochasticDepth)
def stochastic_depth(state, layer, call, args, kwargs):
    """In training it is there with probability p: E[x^2] is p q, or q / p."""
    shortcut = args[1] if len(args) > 1 else kwargs.get("shortcut")
    y = state.part(layer.layer, first(args, kwargs), training=True)
    branch, p = state.signal(y), kwargs.get("survival_probability")
    p = layer.survival_probability if p is None else p  # That of this call.
    scale = _scale_of_kept(layer, p)
    kept = state.rng.permutation(np.arange(len(y)) < round(p * len(y)))
    kept = kept.reshape((-1,) + (1,) * (len(y.shape) - 1))
    values = to_numpy(y)
    dropped = like(y, (values * kept * scale).astype(values.dtype))
    dropped = state.give(
        dropped,
        branch.replace(
            mean=branch.mean * p * scale,
            second=branch.second * p * scale**2,
            gaussian=False,
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


def _scale_of_kept(layer, p: float) -> float:
    """What a branch that is kept in training is multiplied with."""
    return 1.0 / p if layer.inverted and p > 0 else 1.0


@rule(StochasticBlock)
def stochastic_block(state, layer, call, args, kwargs):
    """A block for some of the samples, their own values for the others.

    A kept sample is c g(x) + (1 - c) x, with c = 1, or 1 / p if inverted.
    """
    x, p = first(args, kwargs), layer.survival_probability
    before = state.signal(x)
    block = state.part(layer.layer, x, training=True)
    after = state.signal(block)
    kept = state.rng.permutation(np.arange(len(x)) < round(p * len(x)))
    kept = kept.reshape((-1,) + (1,) * (len(x.shape) - 1))
    c, own, given = _scale_of_kept(layer, p), to_numpy(block), to_numpy(x)
    values = np.where(kept, c * own + (1 - c) * given, given)
    cross = 0.0
    if not before.uncorrelated(after):
        cross = float(np.mean(own.astype("float64") * given))
    taken = c**2 * after.second + (1 - c) ** 2 * before.second
    taken = np.maximum(taken + 2 * c * (1 - c) * cross, 0.0)
    signal = after.replace(
        mean=p * (c * after.mean + (1 - c) * before.mean)
        + (1 - p) * before.mean,
        second=p * taken + (1 - p) * before.second,
        gaussian=False,
        draws=after.draws | before.draws,
        fresh=None,
        sensitivity=p * after.sensitivity + (1 - p) * before.sensitivity,
    )
    return state.give(like(block, values.astype(to_numpy(block).dtype)), signal)


@rule(Repeat)
def repeat(state, layer, call, args, kwargs):
    """Copy by copy: each sees the signal that the one before has left."""
    x = first(args, kwargs)
    parts = copies(layer)
    for part in parts:
        x = state.part(part, x, training=True)
    chosen = getattr(state.choose, "chosen", None)
    if chosen is not None:
        _stack_chosen(state, layer, parts, chosen)
    return x


def _stack_chosen(state, layer, parts, chosen):
    """Stack what was chosen for single copies."""
    made = {id(variable) for variable in chosen}
    values: dict = {}
    for copy, part in enumerate(parts):
        for index, variable in pairs(part, layer.template):
            if id(variable) in made:
                stack = to_numpy(layer.template.stacked[index]).copy()
                values.setdefault(index, stack)[copy] = to_numpy(variable)
    for index, value in values.items():
        layer.template.stacked[index].assign(value)
        state.kept.append(layer.template.stacked[index])


@rule(DenseBlock)
def dense_block(state, layer, call, args, kwargs):
    """Layer by layer: recomputation would hide them."""
    recompute, layer.recompute = layer.recompute, False
    try:
        return computed(state, layer, call, args, kwargs)
    finally:
        layer.recompute = recompute
