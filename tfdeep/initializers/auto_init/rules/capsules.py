"""Capsules, and chains that are undone in the backward pass.

Before routing knows anything, its coefficients are equal, and with weights of
mean 0 and variance sigma^2

    E[s^2] = sigma^2 sum_ik E[u_ik^2] / n^2

for n capsules above. The kernel gives these sums, not the squashed capsules,
the variance that was asked for: what a squash returns is shorter than 1.
"""

import numpy as np

from tfdeep.initializers.auto_init.rules.measuring import measured
from tfdeep.initializers.auto_init.rules.registry import first, rule
from tfdeep.initializers.auto_init.tensors import to_numpy
from tfdeep.layers import (
    CapsuleMask,
    Recompute,
    ReversibleCapsule,
    ReversibleStack,
    RoutingCapsules,
)


@rule(RoutingCapsules)
def routing_capsules(state, layer, call, args, kwargs):
    """The sums before the squash get the variance; the rest is measured."""
    u = first(args, kwargs)
    second = np.broadcast_to(state.signal(u).second, (1, *u.shape[1:]))
    unit = float(second.sum(axis=(1, 2)).mean()) / layer.num_capsules**2
    state.weights(layer, layer.kernel, unit, state.draw(layer)[1])
    v = state.whole(*args, **kwargs)
    measured(state, layer, v, [u])
    return v


@rule(CapsuleMask)
def capsule_mask(state, layer, call, args, kwargs):
    """One capsule of several: measured."""
    y = state.whole(*args, **kwargs)
    measured(state, layer, y, [first(args, kwargs)])
    return y


@rule(ReversibleStack)
def reversible_stack(state, layer, call, args, kwargs):
    """Block by block: the loop would hide them."""

    def run(block):
        return lambda x: state.part(block, x, training=True)

    return _chain(state, layer, first(args, kwargs), map(run, layer.blocks))


@rule(ReversibleCapsule)
def reversible_capsule(state, layer, call, args, kwargs):
    """Step by step, each one routing layer; two in files of old."""
    steps = layer.copies()

    def run(step):
        def function(x):
            for part in step:
                x = state.part(part, x)
            return x

        return function

    y = _chain(state, layer, first(args, kwargs), map(run, steps))
    made = {id(v) for v in getattr(state.choose, "chosen", [])}
    for number in range(len(layer.kernel_names)):
        kernels = [step[number].kernel for step in steps]
        if any(id(kernel) in made for kernel in kernels):
            stack = layer.stacks[number]
            stack.assign(np.stack([to_numpy(kernel) for kernel in kernels]))
            state.kept.append(stack)
    return y


def _chain(state, layer, x, functions):
    coupling = layer.pairing()
    pair = coupling.start(x)
    for function in functions:
        y = function(coupling.seen(*pair))
        pair = coupling.forward(*pair, y)
        for tensor in pair:
            measured(state, layer, tensor, [x])
    outputs = coupling.end(*pair)
    measured(state, layer, outputs, [x])
    return outputs


@rule(Recompute)
def recompute(state, layer, call, args, kwargs):
    """The layer inside, as if it stood there by itself."""
    return state.part(layer.layer, first(args, kwargs), training=True)
