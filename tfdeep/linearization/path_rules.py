"""What each kind of layer makes of the paths through its channels."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, tree

from tfdeep.graph.registry import Registry
from tfdeep.graph.trace import Call
from tfdeep.layers.grouped_conv import GroupedConv2D
from tfdeep.layers.weight_standardized_conv import WeightStandardizedConv2D
from tfdeep.linearization.paths import Paths, added, begun, joined
from tfdeep.linearization.units import OPERATIONS

RULES = Registry("path_rule")


class NoRule(Exception):
    """Raised by a rule that does not hold for a call, with the reason."""


def path_rule(*kinds: Any) -> Callable:
    """Register what a kind of layer makes of the paths through it.

    Nothing is known of layers that multiply tensors, attend, or loop: whether
    a gate is a unit on a path is a matter of definition. A rule says so.

    Args:
        *kinds: classes of layers; names of classes, `"Package>Name"` of those
            that are registered with Keras, `"package.Name"` of others; or
            names of functions of `keras.ops`, such as `"multiply"`. A
            subclass that computes in another way has no rule of its parent.

    Returns:
        A decorator for the rule, `rule(call, *inputs)`. It gets a
        `tfdeep.graph.Call` and the `Paths` of its inputs, in order, and
        returns those of its output: `x.mixed(size)` where each new channel
        takes all, `x.through()` past a unit at each channel, `x.taken([0, 0])`
        for some of them, or `x` itself. A nonlinearity that the layer has is
        counted by the rule.

    Raises:
        TypeError: for anything else than such kinds.

    Example:
        >>> import keras, tfdeep
        >>> class Gate(keras.layers.Layer):
        ...     def call(self, x, y):
        ...         return x * keras.ops.sigmoid(y)
        >>> @tfdeep.linearization.path_rule(Gate)
        ... def gate(call, x, y):
        ...     return x.through()
        >>> x = keras.Input((4,))
        >>> h = keras.layers.Dense(4, "relu")(x)
        >>> model = keras.Model(x, keras.layers.Dense(1)(Gate()(h, x)))
        >>> float(tfdeep.linearization.path_length(model))
        2.0
    """
    return RULES.rule(*kinds)


def is_ours(rule: Callable) -> bool:
    """Whether a rule leaves what is nonlinear to be counted by the caller."""
    return rule.__module__ == __name__


def _channel_axis(layer: Any, tensor: Any) -> int:
    first = getattr(layer, "data_format", None) == "channels_first"
    return 1 if first else len(tensor.shape) - 1


def _seen(call: Call, x: Paths) -> tuple[Paths, int]:
    """The input of a layer that knows where channels are, and their axis."""
    tensor = call.inputs[0]
    axis = _channel_axis(call.operation, tensor)
    return x.at(axis, tensor.shape[axis]), axis


@RULES.rule(layers.Dense)
def dense(call, x):
    """Each unit takes all channels."""
    axis = len(call.inputs[0].shape) - 1
    x = x.at(axis, call.inputs[0].shape[axis])
    return x.mixed(call.outputs[0].shape[axis])


@RULES.rule(
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    GroupedConv2D,
    WeightStandardizedConv2D,
)
def convolution(call, x):
    """Each filter takes all channels of its group."""
    x, axis = _seen(call, x)
    return x.mixed(call.outputs[0].shape[axis], call.operation.groups)


@RULES.rule(
    layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose
)
def transposed(call, x):
    """Each filter takes all channels."""
    x, axis = _seen(call, x)
    return x.mixed(call.outputs[0].shape[axis])


@RULES.rule(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def depthwise(call, x):
    """Each channel becomes some."""
    x, _ = _seen(call, x)
    times = call.operation.depth_multiplier
    return x.taken(np.repeat(np.arange(x.channels), times))


@RULES.rule(layers.SeparableConv1D, layers.SeparableConv2D)
def separable(call, x):
    """A depthwise convolution, and one that mixes."""
    _, axis = _seen(call, x)
    return depthwise(call, x).mixed(call.outputs[0].shape[axis])


@RULES.rule("matmul", "dot")
def product(call, x, *others):
    """With a matrix that is no input it mixes the last axis."""
    if others or tree.flatten(call.args)[0] is not call.inputs[0]:
        raise NoRule("a product of two tensors")
    axis = len(call.inputs[0].shape) - 1
    x = x.at(axis, call.inputs[0].shape[axis])
    return x.mixed(call.outputs[0].shape[-1])


@RULES.rule(layers.Embedding)
def embedding(call, x):
    """A look-up: the paths begin here."""
    return begun()


UNCHANGED = (
    "Activation ActivityRegularization AlphaDropout BatchNormalization "
    "Cropping1D Cropping2D Cropping3D Dropout ELU GaussianDropout "
    "GaussianNoise GroupNormalization Identity LayerNormalization LeakyReLU "
    "Masking Normalization PReLU RMSNormalization ReLU Rescaling Resizing "
    "Softmax SpatialDropout1D SpatialDropout2D SpatialDropout3D "
    "UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D "
    "ZeroPadding2D ZeroPadding3D"
)
CHANGING_PIXELS = [
    name
    for name in dir(layers)
    if name.startswith("Random") and inspect.isclass(vars(layers)[name])
]
OWN = ("tfdeep>SparsePReLU", "tfdeep>DropPath", "tfdeep>BatchEntropy")


@RULES.rule(
    *(vars(layers)[n] for n in UNCHANGED.split() if hasattr(layers, n)),
    *(vars(layers)[n] for n in CHANGING_PIXELS),
    *OWN,
    *("cast", "identity", "stop_gradient", "copy", "softmax", "log_softmax"),
    *("negative", "multiply", "divide", "true_divide"),
)
def unchanged(call, x, *others):
    """Each channel stays what it is; units at it are counted by the caller."""
    if others:
        raise NoRule("a product of two tensors")
    return x


@RULES.rule(*sorted(OPERATIONS))
def elementwise(call, x, *others):
    """A function of each value; of several tensors it is no unit."""
    if others:
        raise NoRule("a function of two tensors that is no sum")
    return x


POOLING = [
    f"{way}{kind}Pooling{rank}D"
    for way in ("", "Global", "Adaptive")
    for kind in ("Average", "Max")
    for rank in "123"
]


@RULES.rule(
    *(vars(layers)[name] for name in POOLING if hasattr(layers, name)),
    *("max_pool", "average_pool"),
)
def pooling(call, x):
    """Space does not count; channels are on the only axis that is left."""
    x, axis = _seen(call, x)
    if len(call.outputs[0].shape) < len(call.inputs[0].shape):
        axis = 1
    return x.taken(range(x.channels), axis)


@RULES.rule("mean", "sum", "max", "min")
def reduced(call, x):
    """Over positions; over channels nothing is known."""
    rank = len(call.inputs[0].shape)
    axes = call.operation.axis
    axes = range(rank) if axes is None else np.atleast_1d(axes)
    axes = {int(axis) % rank for axis in axes}
    axis = rank - 1 if x.axis is None else x.axis
    if axis in axes or 0 in axes:
        raise NoRule("channels become one")
    if not call.operation.keepdims:
        axis -= sum(each < axis for each in axes)
    if x.axis is None:
        return x
    return x.taken(range(x.channels), axis)


@RULES.rule(
    *(layers.Flatten, layers.Reshape, layers.Permute, layers.RepeatVector),
    *("reshape", "transpose", "squeeze", "expand_dims", "moveaxis"),
    *("swapaxes", "get_item", "pad", "flip", "roll", "repeat", "tile"),
    *("broadcast_to", "split", "ravel"),
)
def rearranged(call, x, *others):
    """Channels that are moved, repeated, left out, or filled with zeros.

    Where each channel goes is seen by doing it to their numbers.
    """
    if others:
        raise NoRule("it takes several tensors")
    tensor = call.inputs[0]
    shape = tuple(size or 1 for size in tensor.shape[1:])
    axis = len(shape) if x.axis is None else x.axis
    x = x.at(axis, (1, *shape)[axis])
    numbers = np.arange(1, x.channels + 1).astype("int32")
    spread = [1] * (len(shape) + 1)
    spread[axis] = -1
    numbers = np.broadcast_to(numbers.reshape(spread), (1, *shape))
    args, kwargs = tree.map_structure(
        lambda each: (
            keras.ops.convert_to_tensor(numbers) if each is tensor else each
        ),
        (call.args, call.kwargs),
    )
    kwargs = {name: value for name, value in kwargs.items() if value != {}}
    result = tree.flatten(call.operation(*args, **kwargs))
    found = [keras.ops.convert_to_numpy(each)[0] for each in result]
    made = [_along_one_axis(x, each) for each in found]
    return made if len(made) > 1 else made[0]


def _along_one_axis(x: Paths, numbers: np.ndarray) -> Paths:
    """The channels of a tensor of numbers of channels, 0 for none."""
    for axis in reversed(range(numbers.ndim)):
        rows = np.moveaxis(numbers, axis, 0).reshape(numbers.shape[axis], -1)
        if (rows == rows[:, :1]).all():
            return x.taken(rows[:, 0] - 1, axis + 1)
    raise NoRule("channels are spread over several axes")


@RULES.rule(layers.Add, layers.Average, layers.Subtract, "add", "subtract")
def total(call, *terms):
    """A sum: each of its terms is equally likely. One term is shifted."""
    return added(terms) if len(terms) > 1 else terms[0]


@RULES.rule(layers.Concatenate, "concatenate")
def concatenated(call, *parts):
    """Side by side; later each channel is equally likely."""
    if len(parts) == 1:
        return parts[0]
    tensors = call.inputs
    axis = call.operation.axis % len(tensors[0].shape)
    pairs = zip(parts, tensors, strict=True)
    return joined([part.at(axis, t.shape[axis]) for part, t in pairs])
