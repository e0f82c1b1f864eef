"""Functions of each value by itself."""

import keras
import numpy as np
from keras import layers, ops

from tfdeep.initializers.auto_init import gaussian
from tfdeep.initializers.auto_init.propagation import (
    channel_axis,
    is_tensor,
    to_numpy,
)
from tfdeep.initializers.auto_init.rules.measuring import computed
from tfdeep.initializers.auto_init.rules.registry import first, rule, single
from tfdeep.initializers.auto_init.signal import measure
from tfdeep.layers.sparse_prelu import SparsePReLU


def is_pointwise(state, function) -> bool:
    """Whether each output depends on the input at its own place alone."""
    key = id(function)
    if key not in state.pointwise:  # The function is kept: ids come again.
        state.pointwise[key] = (_try_pointwise(function), function)
    return state.pointwise[key][0]


def _try_pointwise(function) -> bool:
    z = np.linspace(-2.0, 3.0, 42, dtype="float32").reshape(6, 7)
    try:
        y = to_numpy(function(ops.convert_to_tensor(z)))
        parts = [
            (z[::-1, ::-1].copy(), y[::-1, ::-1]),
            (z[:2, :3].copy(), y[:2, :3]),
        ]
        return y.shape == z.shape and all(
            np.allclose(
                to_numpy(function(ops.convert_to_tensor(part))), expected
            )
            for part, expected in parts
        )
    except Exception:  # A user's function may demand any shape.
        return False


def apply_pointwise(state, function, x):
    """`function(x)`, with the exact moments where x is normal."""
    before = state.signal(x)
    y = function(x)
    if not (before.gaussian and is_pointwise(state, function)):
        signal = measure(to_numpy(y), channel_axis(len(y.shape)))
        signal = signal.replace(
            draws=before.draws,
            sensitivity=before.sensitivity,
            scatter=before.scatter,
        )
        state.know(y, signal)
        return y

    def numpy_function(values):
        return to_numpy(function(ops.convert_to_tensor(single(values))))

    mean, second = gaussian.second_moments(numpy_function, before.second)
    step = 0.05
    q = [
        gaussian.moments(numpy_function, 0.0, before.q * factor)[1]
        for factor in (1 - step, 1 + step)
    ]
    slope = 1.0
    if min(q) > 0:
        slope = np.log(q[1] / q[0]) / np.log((1 + step) / (1 - step))
    return state.give(
        y,
        before.replace(
            mean=float(np.mean(mean)),
            second=second,
            gaussian=False,
            fresh=None,
            sensitivity=before.sensitivity * float(slope),
            scatter=before.scatter * float(slope) ** 2,
        ),
    )


@rule(layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU)
def activation(state, layer, call, args, kwargs):
    """A function of each value."""
    function = getattr(layer, "activation", None) or layer.call
    return apply_pointwise(state, function, first(args, kwargs))


@rule(layers.PReLU)
def prelu(state, layer, call, args, kwargs):
    """Slopes of a unit's own: E[y^2] = E[x^2] (1 + alpha^2) / 2."""
    return sloped(state, layer.alpha, call, args, kwargs)


@rule(SparsePReLU)
def sparse_prelu(state, layer, call, args, kwargs):
    """The same, with the slopes that are in force."""
    return sloped(state, layer.slopes_in_force(), call, args, kwargs)


def sloped(state, slopes, call, args, kwargs):
    """A call that multiplies what is negative with slopes."""
    x = first(args, kwargs)
    before, y = state.signal(x), state.opaque(call, args, kwargs)
    if not before.gaussian:
        signal = measure(to_numpy(y), channel_axis(len(y.shape)))
        after = before.replace(mean=signal.mean, second=signal.second)
        state.know(y, after.replace(fresh=None))
        return y
    alpha = to_numpy(slopes).astype("float64")
    alpha = np.broadcast_to(alpha, x.shape[1:])[None]
    axis = channel_axis(len(x.shape))
    squares = np.mean(alpha**2, axis, keepdims=True)
    size = np.sqrt(before.second / (2 * np.pi))
    return state.give(
        y,
        before.replace(
            mean=float(np.mean(size * (1 - alpha))),
            second=before.second * (1 + squares) / 2,
            gaussian=False,
            fresh=None,
        ),
    )


def operation(state, node, call, args, kwargs):
    """A `keras.ops` node: exact where it is a function of one value."""
    tensors = [x for x in keras.tree.flatten((args, kwargs)) if is_tensor(x)]
    y = call(*args, **kwargs)
    if (
        len(tensors) == 1
        and args
        and args[0] is tensors[0]
        and is_tensor(y)
        and y.shape == args[0].shape
    ):
        return apply_pointwise(
            state, lambda x: node.call(x, *args[1:], **kwargs), args[0]
        )
    return computed(state, node, lambda *a, **k: y, args, kwargs)
