"""Which class has which rule, and what the rules share."""

import functools

import numpy as np

from tfdeep.graph.registry import Registry
from tfdeep.initializers.auto_init.interception import intercept
from tfdeep.initializers.auto_init.tensors import channel_axis

# In place of a rule a layer may have the method.
METHOD = "get_signal_moments"
RULES = Registry("signal_rule", METHOD)


rule = RULES.rule  # For rules that call layers by `state.part` alone.


def signal_rule(*kinds):
    """Register a rule for kinds of layers or operations.

    A rule for a class holds for what inherits from it, too.

    A layer without kernels needs none if it has a method
    `get_signal_moments(mean, variance)`, which gets the mean and variance
    of its input (of several inputs, two lists) and returns those of its
    outputs. The nearest class that has either counts, unless a class nearer
    than it computes in another way: overrides `call`, `convolution_op`,
    `kernel` or another method or property that is not about configurations,
    shapes and files. Such a layer is measured on a sample, with a warning.

    A rule is `rule(state, layer, call, args, kwargs)` and returns the
    layer's outputs. `call(*args, **kwargs)` computes them on a sample;
    `state.part(inner, x)` what a layer within it makes of a tensor, by the
    rule of that one; `state.signal(x)` is what is known about a tensor, with
    `mean` and `second` (E[x^2]); `state.give(y, signal)` says what is known
    about another, rescales it and returns it.

    Args:
        *kinds: classes of layers; names of classes, `"Package>Name"` of
            those that are registered with Keras, `"package.Name"` of others;
            or names of functions of `keras.ops`, such as `"add"`.

    Returns:
        A decorator for the rule.

    Raises:
        TypeError: for anything else.

    Example:
        >>> import keras, tfdeep
        >>> class Twice(keras.layers.Layer):
        ...     def call(self, x):
        ...         return 2 * x
        >>> @tfdeep.initializers.signal_rule(Twice)
        ... def twice(state, layer, call, args, kwargs):
        ...     before = state.signal(args[0])
        ...     after = before.replace(
        ...         mean=2 * before.mean, second=4 * before.second
        ...     )
        ...     return state.give(call(*args, **kwargs), after)
        >>> model = keras.Sequential([keras.Input((4,)), Twice()])
        >>> tfdeep.initializers.propagate(model).records[0].second
        4.0
    """
    register = RULES.rule(*kinds)

    def decorate(function):
        @functools.wraps(function)
        def rule(state, layer, call, args, kwargs):
            # It may call the layers within by hand, in place of `state.part`.
            with intercept(state.seen, but=layer):
                return function(state, layer, call, args, kwargs)

        register(rule)
        return function

    return decorate


def first(args, kwargs):
    """The first tensor of a call."""
    return args[0] if args else next(iter(kwargs.values()))


def axis_of(layer, rank: int) -> int:
    """The axis of the channels of a layer's tensors."""
    data_format = getattr(layer, "data_format", None)
    if data_format is None:
        return channel_axis(rank)
    return 1 if data_format == "channels_first" else -1


def single(array):
    """float32, for the convolutions."""
    return np.asarray(array, "float32")
