"""Functions of each value by itself."""

import keras
import numpy as np
from keras import layers, ops

from tfdeep.initializers.auto_init import gaussian
from tfdeep.initializers.auto_init.rules.measuring import computed
from tfdeep.initializers.auto_init.rules.registry import (
    first,
    rule,
    single,
)
from tfdeep.initializers.auto_init.signal import measure
from tfdeep.initializers.auto_init.tensors import (
    channel_axis,
    is_tensor,
    to_numpy,
)
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
        return apply_measured(state, y, before)

    def numpy_function(values):
        return to_numpy(function(ops.convert_to_tensor(single(values))))

    mean, second = gaussian.second_moments(numpy_function, before.second)
    step = 0.05
    q = [
        gaussian.moments(numpy_function, 0.0, before.q * factor)[1]
        for factor in (1 - step, 1 + step)
    ]
    return apply_exact(state, y, before, float(np.mean(mean)), second, q, step)


def apply_measured(state, y, before):
    """What a function made of x, by the sample."""
    signal = measure(to_numpy(y), channel_axis(len(y.shape)))
    signal = signal.replace(
        draws=before.draws,
        sensitivity=before.sensitivity,
        scatter=before.scatter,
    )
    state.know(y, signal)
    return y


def apply_exact(state, y, before, mean, second, q, step):
    """What a function made of x, of which the moments are known.

    Args:
        state: the pass.
        y: the tensor.
        before: the signal of x.
        mean: float, E[y].
        second: array, E[y^2] by position.
        q: E[y^2] where the second moment of x is smaller and larger.
        step: by which part of it.
    """
    slope = 1.0
    if min(q) > 0:
        slope = np.log(q[1] / q[0]) / np.log((1 + step) / (1 - step))
    return state.give(
        y,
        before.replace(
            mean=mean,
            second=second,
            gaussian=False,
            fresh=None,
            sensitivity=before.sensitivity * float(slope),
            scatter=before.scatter * float(slope) ** 2,
        ),
    )


def apply_softmax(state, function, x):
    """The softmax of what a layer of new weights made, over its units.

    Given the layer's inputs its outputs are independent normal variables, of
    a variance that differs from sample to sample: from a recurrent layer by
    much. The second moment is the mean over these.
    """
    y, before = function(x), state.signal(x)
    variances = state.variances(x)
    if variances is None or variances.shape != (*x.shape[:-1], 1):
        return apply_measured(state, y, before)
    step, count = 0.05, x.shape[-1]

    def seconds(factor):
        return gaussian.interpolated(
            lambda v: (gaussian.softmax_second(count, factor * v),),
            variances,
            points=33,
        )[0]

    second = np.mean(seconds(1.0), axis=0, keepdims=True)
    q = [float(np.mean(seconds(factor))) for factor in (1 - step, 1 + step)]
    return apply_exact(state, y, before, 1 / count, second, q, step)


def apply_activation(state, function, x):
    """An activation by name or function: softmax, or of each value."""
    if function is keras.activations.softmax:
        return apply_softmax(state, function, x)
    return apply_pointwise(state, function, x)


@rule(layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU)
def activation(state, layer, call, args, kwargs):
    """A function of each value, or a softmax."""
    function = getattr(layer, "activation", None) or layer.call
    return apply_activation(state, function, first(args, kwargs))


@rule(layers.Softmax, "softmax")
def softmax(state, layer, call, args, kwargs):
    """Over the units of a layer, without a mask; else it is measured."""
    x = first(args, kwargs)
    masked = any(m is not None for m in [*args[1:], kwargs.get("mask")])
    if layer.axis in (-1, len(x.shape) - 1) and not masked:
        return apply_softmax(state, call, x)
    return apply_measured(state, call(*args, **kwargs), state.signal(x))


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
    before, y = state.signal(x), state.whole(*args, **kwargs)
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
