"""Rules of channels: what each kind of layer does with them."""

from collections.abc import Callable
from typing import Any

from tfdeep.graph.registry import Registry

_RULES = Registry("channel_rule")


def channel_rule(*kinds: Any) -> Callable:
    """A decorator that says what becomes of channels in a kind of layer.

    `prune` removes channels from models that hold such layers then. Without a
    rule, what a layer takes keeps all its channels, and a warning says so.

    Args:
        *kinds: classes of layers; names of registered classes,
            `"my_package>MyLayer"`; or names of functions of `keras.ops`,
            `"max_pool"`.

    Returns:
        A decorator for a function of a `tfdeep.pruning.ChannelCall`, which
        returns the `Channels` of the output, `None` where none of them can
        go, or a list of these for several outputs.

    Raises:
        TypeError: for anything else.

    A subclass of a layer that computes in another way needs a rule of its
    own.

    Example:
        A layer with one weight for each channel:

        >>> import keras, tfdeep
        >>> class Scale(keras.layers.Layer):
        ...     def build(self, input_shape):
        ...         self.scale = self.add_weight((input_shape[-1],), "ones")
        ...
        ...     def call(self, inputs):
        ...         return inputs * self.scale
        >>> @tfdeep.pruning.channel_rule(Scale)
        ... def scale(call):
        ...     (x,) = call.inputs
        ...     labels = call.on(x, -1, len(call.shapes[0]))
        ...     call.scales(call.layer.scale, 0, labels)
        ...     return x if labels is not None else None
        >>> model = keras.Sequential([keras.Input((4,))])
        >>> model.add(keras.layers.Dense(8, name="low"))
        >>> model.add(Scale())
        >>> model.add(keras.layers.Dense(2, name="high"))
        >>> [group.name for group in tfdeep.pruning.ChannelGraph(model).free]
        ['low']
    """
    return _RULES.rule(*kinds)


def rule_for(operation: Any) -> Callable | None:
    """The rule of a layer or operation, `None` if there is none."""
    return _RULES.find(operation)


def kinds() -> list:
    """Everything that has a rule: classes and names."""
    return list(_RULES.rules)
