"""Chains of coupled blocks whose backward pass undoes them one by one.

Kept for the backward pass is the pair at the end, and one every few blocks;
the input of each block is computed back from it, and what is inside the block
is computed again. Memory hardly grows with the number of blocks, for one
more forward pass.

    y = f(seen),   dseen, dw = vjp of f at the gradient by y
    the pair before, and the gradients by it, follow from y and dseen

Blocks are pure functions `call(x, weights, state, shared)` that return `(y,
new_state)`: weights have gradients, the state (batch statistics, random
streams) is returned anew, and the backward pass uses the *old* one again, so
that dropout masks are the same. `shared` are tensors that all blocks get.
"""

import numpy as np
from keras import ops

from tfdeep import backend


def unrolled(calls, coupling, x, weights, states, shared, every):
    """A chain of any blocks, each with its lists of weights and state.

    Args:
        calls: list of functions, one per block.
        coupling: `Momentum` or `Additive`.
        x: tensor, what comes to the first block.
        weights: one list of tensors per block.
        states: one list of tensors per block.
        shared: list of tensors without a gradient.
        every: integer, the number of blocks between kept pairs, or `None`
            for the backend's own backward pass, which keeps everything.

    Returns:
        `(y, new_states)`.
    """
    if every is None:
        y, new_states, _ = _forward(
            calls, coupling, x, weights, states, shared, ()
        )
        return y, new_states
    return _undone_chain(calls, coupling, x, weights, states, shared, every)


def _forward(calls, coupling, x, weights, states, shared, ends):
    """What leaves the chain, the new states, and the pairs after `ends`."""
    pair, new_states, kept = coupling.start(x), [], []
    for index, call in enumerate(calls):
        y, new = call(
            coupling.seen(*pair), weights[index], states[index], shared
        )
        pair = coupling.forward(*pair, y)
        new_states.append(new)
        if index in ends:
            kept += pair
    return coupling.end(*pair), new_states, kept


def _undone_chain(calls, coupling, x, weights, states, shared, every):
    """Blocks that are undone from the pair at the end and every so often."""
    count = len(shared)
    ends = {*range(every - 1, len(calls), every), len(calls) - 1}

    def forward(primals, constants):
        y, new_states, kept = _forward(
            calls,
            coupling,
            primals[0],
            like(weights, primals[1:]),
            like(states, constants[count:]),
            constants[:count],
            ends,
        )
        return [y], sum(new_states, []), kept

    def backward(primals, constants, kept, cotangents):
        shared, states_in = constants[:count], like(states, constants[count:])
        weights_in = like(weights, primals[1:])
        gradients = coupling.end_gradients(*cotangents)
        kept, found, events = list(kept), [], list(cotangents)
        for index in reversed(range(len(calls))):
            if index in ends:
                pair = [kept.pop(-2), kept.pop()]
            # The block above is done with, its weights' gradients too.
            pair, w = backend.after(events, pair, weights_in[index])
            pair, gradients, grads = undo(
                calls[index],
                coupling,
                (pair, gradients),
                w,
                states_in[index],
                shared,
            )
            found[:0] = grads
            events = [*gradients, *grads]
        return [coupling.start_gradient(*gradients), *found]

    (y,), new = backend.custom_vjp(
        forward,
        backward,
        [x, *sum(weights, [])],
        [*shared, *sum(states, [])],
    )
    return y, like(states, new)


def undo(call, coupling, after, weights, state, shared):
    """The backward pass of one block.

    Args:
        call: the block.
        coupling: `Momentum` or `Additive`.
        after: the pair after the block, and the gradients by it.
        weights: list of tensors.
        state: list of tensors, as they were before the forward pass.
        shared: list of tensors.

    Returns:
        `(pair, gradients, weight_gradients)`: the pair before the block and
        the gradients by it and by the weights.
    """
    pair, gradients = after
    source = coupling.source(*pair)
    seen = coupling.kept.narrow(source)

    def block(x, *weights):
        return call(x, list(weights), state, shared)[0]

    y, (dseen, *found) = backend.value_and_vjp(
        block, [seen, *weights], coupling.cotangent(*gradients)
    )
    return (
        list(coupling.backward(*pair, source, y)),
        list(coupling.gradients(*gradients, dseen)),
        found,
    )


def scanned(call, coupling, x, weights, states, shared, every):
    """A chain of equal blocks as a loop over stacked weights and states.

    The size of the program does not depend on the number of blocks, nor does
    memory under XLA, which keeps what is inside unrolled momentum blocks.

    Args:
        call: function, the block.
        coupling: `Momentum` or `Additive`.
        x: tensor, what comes to the first block.
        weights: list of tensors, stacked along their first axis.
        states: list of tensors, stacked alike.
        shared: list of tensors without a gradient.
        every: as of `unrolled`.

    Returns:
        `(y, new_states)`, the states stacked.
    """
    if every is None:
        step = _step(call, coupling, len(weights), shared)
        pair, new = backend.scan(
            step, list(coupling.start(x)), [*weights, *states]
        )
        return coupling.end(*pair), new
    return _undone_loop(call, coupling, x, weights, states, shared, every)


def _step(call, coupling, count, shared):
    def step(pair, inputs):
        y, new = call(
            coupling.seen(*pair), inputs[:count], inputs[count:], shared
        )
        return list(coupling.forward(*pair, y)), new

    return step


def _undone_loop(call, coupling, x, weights, states, shared, every):
    """One loop forward and one back; every so many blocks the pair is kept."""
    blocks, count = [*weights, *states][0].shape[0], len(shared)
    # Where the way back starts anew, and which of the kept pairs is near.
    ends = np.arange(1, blocks + 1) % every == 0
    ends[-1] = False
    anew = int(ends.sum())
    slots = np.minimum(np.arange(blocks) // every, anew - 1)
    places = [ops.convert_to_tensor(x) for x in (slots.astype("int32"), ends)]

    def forward(primals, constants):
        step = _step(call, coupling, len(weights), constants[:count])
        pair = list(coupling.start(primals[0]))
        inputs = [*primals[1:], *constants[count:]]
        if not anew:
            pair, new = backend.scan(step, pair, inputs)
            return [coupling.end(*pair)], new, list(pair)

        def keeping(carry, inputs):
            slot, end, *inputs = inputs
            pair, new = step(carry[:2], inputs)
            kept = [
                _kept(held, slot, ops.where(end, x, _at(held, slot)))
                for held, x in zip(carry[2:], pair, strict=True)
            ]
            return [*pair, *kept], new

        empty = [ops.stack([ops.zeros_like(x)] * anew) for x in pair]
        carry, new = backend.scan(keeping, [*pair, *empty], [*places, *inputs])
        return [coupling.end(*carry[:2])], new, carry

    def backward(primals, constants, kept, cotangents):
        undone = _undo_step(call, coupling, len(weights), constants[:count])
        gradients = coupling.end_gradients(*cotangents)
        inputs = [*primals[1:], *constants[count:]]

        def from_kept(carry, inputs):
            slot, end, *inputs = inputs
            pair = [
                ops.where(end, _at(held, slot), x)
                for held, x in zip(kept[2:], carry[:2], strict=True)
            ]
            return undone([*pair, *carry[2:]], inputs)

        step, begin = undone, [*kept[:2], *gradients]
        if anew:
            step, inputs = from_kept, [*places, *inputs]
        carry, found = backend.scan(step, begin, inputs, reverse=True)
        return [coupling.start_gradient(*carry[2:]), *found]

    (y,), new = backend.custom_vjp(
        forward, backward, [x, *weights], [*shared, *states]
    )
    return y, new


def _at(held, slot):
    """Entry `slot` of what is kept."""
    start = (slot, *[0] * (len(held.shape) - 1))
    return ops.slice(held, start, (1, *ops.shape(held)[1:]))[0]


def _kept(held, slot, x):
    """What is kept, with x as entry `slot`."""
    start = (slot, *[0] * (len(held.shape) - 1))
    return ops.slice_update(held, start, x[None])


def _undo_step(call, coupling, count, shared):
    def step(carry, inputs):
        pair, gradients, found = undo(
            call,
            coupling,
            (carry[:2], carry[2:]),
            inputs[:count],
            inputs[count:],
            shared,
        )
        return [*pair, *gradients], found

    return step


def like(nested, flat):
    """Cut a flat list into lists as long as those of `nested`."""
    flat = iter(flat)
    return [[next(flat) for _ in part] for part in nested]
