"""Running a stateful layer only when a predicate holds.

A `cond` around a layer that updates variables leaks tracers on JAX.  Here
both branches *return* the state and it is assigned once, outside.
"""

from keras import ops, tree

from tfdeep.backend.dispatch import as_branch, runs_eagerly
from tfdeep.backend.stateless import (
    read_variables,
    stateless_call,
    write_variables,
)


def conditional_call(predicate, layer, inputs, then, otherwise, **kwargs):
    """Return `then(layer(inputs))` if `predicate` holds, else `otherwise()`.

    When the predicate is false nothing of the layer is computed, forward or
    backward, and its state (batch statistics, seeds) stays as it is.

    Args:
        predicate: boolean scalar tensor.
        layer: a built layer with one output tensor.
        inputs: what the layer is called with.
        then: function of the layer's output, computed with it.
        otherwise: function of no arguments; its result has the shape and
            dtype of that of `then`.
        **kwargs: further arguments of the layer's call.

    Returns:
        `(outputs, loss)`: `loss` is the sum of the losses added during the
        call, in a graph 0 where it did not run, or `None` if none were added.
    """
    trainable, state = read_variables(layer)
    adds_loss = []
    changed: set[int] = set()  # What the layer only reads is not written.

    def run():
        outputs, new_state, losses = stateless_call(
            layer, trainable, state, inputs, **kwargs
        )
        adds_loss.extend(losses)
        pairs = enumerate(zip(state, new_state, strict=True))
        changed.update(i for i, (old, new) in pairs if old is not new)
        return then(outputs), new_state, ops.cast(sum(losses), "float32")

    def skip():
        outputs = otherwise()
        if runs_eagerly():
            outputs = _with_zero_gradients(outputs, [inputs, trainable])
        return outputs, state, ops.cast(0.0, "float32")

    outputs, new_state, loss = ops.cond(predicate, as_branch(run), skip)
    kept = [v if i in changed else None for i, v in enumerate(new_state)]
    write_variables(layer, kept)
    return outputs, loss if adds_loss else None


def _with_zero_gradients(outputs, sources):
    """`outputs`, with a gradient of zero by `sources` instead of none.

    Without a graph only the branch taken is on the tape; an optimizer would
    leave out weights without a gradient where a graph gives it zeros.
    """
    nothing = sum(
        ops.sum(ops.cast(ops.reshape(source, (-1,))[:0], "float32"))
        for source in tree.flatten(sources)
    )
    return outputs + ops.cast(nothing, outputs.dtype)
