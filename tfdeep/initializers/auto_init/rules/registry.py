"""Which class has which rule, and what the rules share."""

import inspect

import keras
import numpy as np

from tfdeep.initializers.auto_init.propagation import channel_axis

# By class, and by the name of a class of `keras.ops` nodes.
RULES: dict = {}
OPERATIONS: dict = {}
# What layers compute with, where a parent sets it as an attribute.
WEIGHTS = {
    "bias",
    "depthwise_kernel",
    "embeddings",
    "kernel",
    "pointwise_kernel",
}
# What a subclass may say in its own way without computing anything else.
HARMLESS = {
    "add_weight",
    "build",
    "build_from_config",
    "compute_mask",
    "compute_output_shape",
    "compute_output_spec",
    "from_config",
    "get_build_config",
    "get_config",
    "load_own_variables",
    "save_own_variables",
}


def overridden(child, kind) -> bool:
    """Whether a class computes in another way than the parent `kind`.

    A rule for `kind` says nothing of it then.
    """
    line = child.__mro__[: child.__mro__.index(kind)]
    base = keras.layers.Layer.__mro__
    known = {n for part in kind.__mro__ if part not in base for n in vars(part)}
    for name in {name for part in line for name in vars(part)} - HARMLESS:
        code = any(
            callable(value) or hasattr(value, "__get__")
            for value in (vars(part).get(name) for part in line)
        )
        own = name in known and (not name.startswith("__"))
        if name == "__call__" or (code and (own or name in WEIGHTS)):
            return True
    return False


def rule(*kinds):
    """Register a rule for classes of layers and what inherits from them.

    A layer without kernels needs none if it has a method
    `get_signal_moments(mean, variance)`, which gets the mean and variance
    of its input (of several inputs, two lists) and returns those of its
    outputs. The nearest class that has either counts, unless a class nearer
    than it computes in another way: overrides `call`, `convolution_op`,
    `kernel` or another method or property that is not about configurations,
    shapes and files. Such a layer is measured on a sample, with a warning.

    A rule is `rule(state, layer, call, args, kwargs)` and returns the
    layer's outputs. `call(*args, **kwargs)` computes them on a sample;
    `state.signal(x)` is what is known about a tensor, with `mean` and
    `second` (E[x^2]); `state.give(y, signal)` says what is known about
    another, rescales it and returns it.

    Args:
        *kinds: classes of layers.

    Returns:
        A decorator for the rule.

    Raises:
        TypeError: for anything but classes of layers.

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

    for kind in kinds:
        if not (inspect.isclass(kind) and issubclass(kind, keras.layers.Layer)):
            raise TypeError(
                f"`signal_rule` came with {kind!r}. It takes classes of "
                "layers. Pass the class, such as keras.layers.Dense."
            )

    def register(function):
        RULES.update(dict.fromkeys(kinds, function))
        return function

    return register


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
