"""What is known to treat each example by itself, whatever else is in its batch.

Only that may run on a whole batch where gradients of single examples are
wanted. Of anything else nothing is known: a model that holds it is
differentiated on one example at a time, where nothing can be mixed.
"""

import math

import keras

from tfdeep.inside import layers_of

ELEMENTWISE = frozenset(
    "Absolute Abs Add Cast Ceil Clip Cos Divide Elu Equal Exp Expm1 Floor "
    "FloorDivide Gelu Greater GreaterEqual HardSigmoid HardSilu HardTanh "
    "Identity IsFinite IsInf IsNan LeakyRelu Less LessEqual Log Log1p "
    "LogSigmoid LogicalAnd LogicalNot LogicalOr Maximum Minimum Mod Multiply "
    "Negative NotEqual OnesLike Power Relu Relu6 Round Rsqrt Selu Sigmoid Sign "
    "Silu Sin Softplus Softsign Sqrt Square StopGradient Subtract Tanh "
    "TrueDivide Where ZerosLike".split()
)
ALONG_AN_AXIS = frozenset(
    "All Any Argmax Argmin Concatenate Cumsum ExpandDims Flip LogSoftmax "
    "Logsumexp Max Mean Min Norm Normalize Prod Repeat Softmax Sort Split "
    "Squeeze Std Sum Var".split()
)


def layer_isolates(layer) -> bool:
    """Whether a layer is known not to mix examples, weights or none.

    Layers of Keras and of this package are, but for those that are refused by
    name; not what a function computes that somebody gave them.
    """
    return all(
        _ours(type(part)) and _calls_ours(part) for part in layers_of(layer)
    )


def _ours(thing) -> bool:
    module = getattr(thing, "__module__", None) or ""
    return module.partition(".")[0] in ("keras", "tfdeep")


def _calls_ours(layer) -> bool:
    activation = getattr(layer, "activation", None)
    known = activation is None or _ours(activation) or _ours(type(activation))
    return known and not isinstance(layer, keras.layers.Lambda)


def operation_isolates(call) -> bool:
    """Whether an operation in a graph keeps the examples of a batch apart."""
    operation, name = call.operation, type(call.operation).__name__
    if any(
        not tensor.shape or tensor.shape[0] is not None
        for tensor in call.outputs
    ):
        return False
    if name in ELEMENTWISE:
        # Of unequal ranks the batch of one would meet features of another.
        ranks = {len(tensor.shape) for tensor in call.inputs}
        return len(ranks) == 1 and all(_batched(t) for t in call.inputs)
    if name in ALONG_AN_AXIS:
        return _beyond_the_batch(operation.axis, call.inputs[0])
    if name == "Transpose":
        return bool(operation.axes) and operation.axes[0] == 0
    if name == "Matmul":
        return all(_batched(t) and len(t.shape) > 2 for t in call.inputs)
    if name == "Reshape":
        return _size(call.inputs[0]) == _size(call.outputs[0]) != 0
    if name == "GetItem":
        return _whole_batch(call.args[1])
    return False


def _batched(tensor) -> bool:
    return bool(tensor.shape) and tensor.shape[0] is None


def _beyond_the_batch(axis, tensor) -> bool:
    """Whether an operation works along other axes than the first."""
    if axis is None:
        return False
    axes = axis if isinstance(axis, (list, tuple)) else [axis]
    first = (0, -len(tensor.shape), -len(tensor.shape) - 1)
    return all(each not in first for each in axes)


def _size(tensor) -> int:
    """The numbers of one example; 0 where that is not known."""
    sizes = tensor.shape[1:]
    return 0 if None in sizes else math.prod(sizes)


def _whole_batch(key) -> bool:
    first = key[0] if isinstance(key, tuple) else key
    return first is Ellipsis or first == slice(None)
