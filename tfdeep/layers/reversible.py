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


def unrolled(calls, coupling, pair, weights, states, shared, every):
    """A chain of any blocks, each with its lists of weights and state.

    Args:
        calls: list of functions, one per block.
        coupling: `Momentum` or `Additive`.
        pair: the two tensors that the first block gets.
        weights: one list of tensors per block.
        states: one list of tensors per block.
        shared: list of tensors without a gradient.
        every: integer, the number of blocks between kept pairs, or `None`
            for the backend's own backward pass, which keeps everything.

    Returns:
        `(pair, new_states)`.
    """
    if every is None:
        return _forward(calls, coupling, pair, weights, states, shared)
    new_states = []
    for start in range(0, len(calls), every):
        part = slice(start, start + every)
        pair, new = _segment(
            calls[part], coupling, pair, weights[part], states[part], shared
        )
        new_states += new
    return pair, new_states


def _forward(calls, coupling, pair, weights, states, shared):
    new_states = []
    for call, w, state in zip(calls, weights, states, strict=True):
        y, new = call(coupling.seen(*pair), w, state, shared)
        pair = coupling.forward(*pair, y)
        new_states.append(new)
    return pair, new_states


def _segment(calls, coupling, pair, weights, states, shared):
    """Blocks of which the last pair is kept."""
    count = len(shared)

    def forward(primals, constants):
        pair, new_states = _forward(
            calls,
            coupling,
            primals[:2],
            like(weights, primals[2:]),
            like(states, constants[count:]),
            constants[:count],
        )
        return list(pair), sum(new_states, [])

    def backward(primals, constants, outputs, cotangents):
        pair, gradients = outputs, cotangents
        shared, states_in = constants[:count], like(states, constants[count:])
        found, events = [], cotangents
        weights_in = like(weights, primals[2:])
        for index in reversed(range(len(calls))):
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
        return [*gradients, *found]

    outputs, new = backend.custom_vjp(
        forward,
        backward,
        [*pair, *sum(weights, [])],
        [*shared, *sum(states, [])],
    )
    return outputs, like(states, new)


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
    seen = coupling.was_seen(*pair)

    def block(x, *weights):
        return call(x, list(weights), state, shared)[0]

    y, (dseen, *found) = backend.value_and_vjp(
        block, [seen, *weights], coupling.cotangent(*gradients)
    )
    return (
        list(coupling.backward(*pair, seen, y)),
        list(coupling.gradients(*gradients, dseen)),
        found,
    )


def scanned(call, coupling, pair, weights, states, shared, every):
    """A chain of equal blocks as a loop over stacked weights and states.

    The size of the program does not depend on the number of blocks, nor does
    memory under XLA, which keeps what is inside unrolled momentum blocks.

    Args:
        call: function, the block.
        coupling: `Momentum` or `Additive`.
        pair: the two tensors that the first block gets.
        weights: list of tensors, stacked along their first axis.
        states: list of tensors, stacked alike.
        shared: list of tensors without a gradient.
        every: as of `unrolled`.

    Returns:
        `(pair, new_states)`, the states stacked.
    """
    if every is None:
        step = _step(call, coupling, len(weights), shared)
        return backend.scan(step, list(pair), [*weights, *states])
    return _undone_loop(call, coupling, pair, weights, states, shared, every)


def _step(call, coupling, count, shared):
    def step(pair, inputs):
        y, new = call(
            coupling.seen(*pair), inputs[:count], inputs[count:], shared
        )
        return list(coupling.forward(*pair, y)), new

    return step


def _undone_loop(call, coupling, pair, weights, states, shared, every):
    """One loop forward and one back; every so many blocks the pair is kept."""
    blocks, count = [*weights, *states][0].shape[0], len(shared)
    # Each block writes its pair where its neighbours write theirs: what stays
    # is the pair after the last of them, from which the way back starts anew.
    slots = np.arange(blocks, dtype="int32") // every
    last = np.append(slots[1:] != slots[:-1], True)
    several = blocks > every

    def forward(primals, constants):
        step = _step(call, coupling, len(weights), constants[:count])
        inputs = [*primals[2:], *constants[count:]]
        if not several:
            return backend.scan(step, primals[:2], inputs)

        def keeping(carry, inputs):
            slot, *inputs = inputs
            pair, new = step(carry[:2], inputs)
            slot = ops.reshape(slot, (1, 1))
            kept = [
                ops.scatter_update(held, slot, x[None])
                for held, x in zip(carry[2:], pair, strict=True)
            ]
            return [*pair, *kept], new

        empty = [
            ops.stack([ops.zeros_like(x)] * (slots[-1] + 1))
            for x in primals[:2]
        ]
        carry, new = backend.scan(
            keeping,
            [*primals[:2], *empty],
            [ops.convert_to_tensor(slots), *inputs],
        )
        kept = carry[2:]
        # The end lies in the last slot, and only there.
        return [*[held[-1] for held in kept], *kept], new

    def backward(primals, constants, outputs, cotangents):
        undone = _undo_step(call, coupling, len(weights), constants[:count])
        carry = [*outputs[:2], *cotangents[:2]]
        inputs = [*primals[2:], *constants[count:]]
        if not several:
            carry, found = backend.scan(undone, carry, inputs, reverse=True)
            return [*carry[2:], *found]

        def from_kept(carry, inputs):
            slot, ends, *inputs = inputs
            pair = [
                ops.where(ends, ops.take(held, slot, axis=0), x)
                for held, x in zip(outputs[2:], carry[:2], strict=True)
            ]
            return undone([*pair, *carry[2:]], inputs)

        places = [ops.convert_to_tensor(x) for x in (slots, last)]
        carry, found = backend.scan(
            from_kept, carry, [*places, *inputs], reverse=True
        )
        return [*carry[2:], *found]

    outputs, new = backend.custom_vjp(
        forward, backward, [*pair, *weights], [*shared, *states]
    )
    return outputs[:2], new


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
