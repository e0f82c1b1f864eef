"""What is known to treat each example by itself, whatever else is in its batch.

Only that may run on a whole batch where gradients of single examples are
wanted. Of anything else nothing is known: a model that holds it is
differentiated on one example at a time, where nothing can be mixed.

Which classes of layers do is a table, `isolation.json`, that trials have made
on the versions of Keras that it names. On another version a class keeps its
line if its source is the same. What a layer is told besides, an axis, an
equation, a function, is looked at here.
"""

import functools
import hashlib
import inspect
import json
import math
import types
from importlib import resources
from typing import Any

import keras

from tfdeep.graph.trace import calls_between, ends
from tfdeep.inside import is_graph
from tfdeep.keras_internals import layers_of

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
# Arguments of layers that name axes.
AXES = ("axis", "axes", "attention_axes")
FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)


@functools.cache
def table() -> dict:
    """The table: versions of Keras, and a line for each class."""
    file = resources.files(__package__) / "isolation.json"
    return json.loads(file.read_text("utf-8"))


def name_of(kind: type) -> str:
    """What a class is called in the table."""
    return f"{kind.__module__}.{kind.__qualname__}"


def source_of(kind: type) -> str:
    """A digest of what a class of Keras does, with what it inherits."""
    parts = [
        inspect.getsource(each)
        for each in kind.__mro__
        if each.__module__.startswith("keras.")
        and ".layers." in each.__module__
        and each is not keras.layers.Layer
    ]
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]


@functools.cache
def has_line(kind: type) -> bool:
    """Whether trials found that layers of a class keep examples apart."""
    line = table()["layers"].get(name_of(kind))
    if line is None:
        return False
    if not name_of(kind).startswith("keras."):
        return True  # It comes with the table.
    known = keras.version() in table()["keras"]
    return known or line == source_of(kind)


def layer_isolates(layer, rank: int | None = None) -> bool:
    """Whether a layer is known not to mix examples, weights or none.

    Args:
        layer: a Keras layer, with all layers in it.
        rank: how many axes its input has, if that is known.
    """
    return all(
        _part_isolates(part, rank if part is layer else None)
        for part in layers_of(layer)
    )


def _part_isolates(part, rank) -> bool:
    if is_graph(part):
        return all(
            isinstance(call.operation, keras.layers.Layer)
            or operation_isolates(call)
            for call in calls_between(*ends(part))
        )
    kind: Any = type(part)
    if not has_line(kind) or _calls_functions(part):
        return False
    config = part.get_config()
    if not _keeps_letter(config.get("equation")):
        return False
    return not any(_names_the_batch(config.get(name), rank) for name in AXES)


def _calls_functions(layer) -> bool:
    """Whether it computes what a function says that somebody gave it."""
    return any(
        not _known(value)
        for name, value in vars(layer).items()
        if isinstance(value, FUNCTIONS) or "activation" in name
    )


def _known(function) -> bool:
    if not callable(function) or isinstance(function, keras.layers.Layer):
        return True  # A layer is a part, and looked at as one.
    module = getattr(function, "__module__", None) or ""
    return module.partition(".")[0] in ("keras", "tfdeep")


def _keeps_letter(equation: str | None) -> bool:
    """Whether examples are the first axis of input and output, and no sum."""
    if equation is None:
        return True
    inputs, _, rest = equation.replace(" ", "").partition(",")
    kernel, _, outputs = rest.partition("->")
    if inputs.startswith("...") and outputs.startswith("..."):
        return True
    first = inputs[:1]
    return (
        first == outputs[:1]
        and first not in kernel
        and inputs.count(first) == outputs.count(first) == 1
    )


def _names_the_batch(axes, rank: int | None) -> bool:
    """Whether one of these axes is the first, or may be."""
    if axes is None:
        return False
    found = axes if isinstance(axes, (list, tuple)) else [axes]
    last = -1 if rank is None else 1 - rank
    return any(not (axis > 0 or last <= axis < 0) for axis in found)


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
