"""What is known to treat each example by itself, whatever else is in its batch.

Only that may run on a whole batch where gradients of single examples are
wanted. Of anything else nothing is known: a model that holds it is
differentiated on one example at a time, where nothing can be mixed.

Which classes of layers do is a table, `isolation.json`, that trials have made
on the versions of Keras and the backends that it names. On another version a
class keeps its line if its source is the same; a backend has those alone that
passed there. What a layer is told besides, an axis, an
equation, a function, is looked at here.
"""

import functools
import hashlib
import inspect
import json
import math
import sys
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
ALONG_THE_LAST = (
    keras.activations.glu,
    keras.activations.log_softmax,
    keras.activations.softmax,
    keras.activations.sparsemax,
)
# Of one number each.
ACTIVATIONS = tuple(
    function
    for name, function in vars(keras.activations).items()
    if isinstance(function, types.FunctionType)
    and name not in ("deserialize", "get", "serialize")
    and function not in ALONG_THE_LAST
)
OF_SEQUENCES = (keras.layers.AdditiveAttention, keras.layers.Attention)
# Arguments of layers that name axes.
AXES = ("axis", "axes", "attention_axes")
# Methods around which Keras puts a function of its own, in each layer.
WRAPPED = ("build", "quantize")
FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)


@functools.cache
def table() -> dict:
    """The table that trials have made.

    `keras`: the versions of Keras; `backends`: what was tried, by its version;
    `layers`: a line for each class that passed on one of them; `not_on`: for
    each backend those that did not pass there.
    """
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
    line, backend = table()["layers"].get(name_of(kind)), keras.config.backend()
    # Where nothing was tried, all are missing.
    missing = table()["not_on"].get(backend, table()["layers"])
    if line is None or name_of(kind) in missing:
        return False
    if not name_of(kind).startswith("keras."):
        return True  # It comes with the table.
    known = keras.version() in table()["keras"]
    return known or line == source_of(kind)


def layer_isolates(layer, rank: int | None = None) -> bool:
    """Whether a layer is known not to mix examples, weights or none.

    Args:
        layer: a Keras layer, with all layers in it.
        rank: how many axes its input has, the least of several; `None` where
            a layer around it sees to that.
    """
    if is_graph(layer):
        return is_genuine(type(layer).call) and all(
            layer_isolates(call.operation, call.rank)
            if isinstance(call.operation, keras.layers.Layer)
            else operation_isolates(call)
            for call in calls_between(*ends(layer))
        )
    parts = layers_of(layer)[1:]
    graphs = [part for part in parts if is_graph(part)]
    within = {id(part) for graph in graphs for part in layers_of(graph)}
    return (
        _class_isolates(layer, rank)
        and all(map(layer_isolates, graphs))
        and all(
            _class_isolates(part, None)
            for part in parts
            if id(part) not in within
        )
    )


def _class_isolates(layer, rank: int | None) -> bool:
    """Whether it does, the layers in it left aside."""
    kind: Any = type(layer)
    if not has_line(kind) or not is_genuine(kind.call):
        return False
    if _calls_functions(layer, rank) or not _has_axes_enough(kind, rank):
        return False
    config = _told(layer)
    if not _keeps_letter(config.get("equation")):
        return False
    return not any(_names_the_batch(config.get(name), rank) for name in AXES)


def _told(layer) -> dict:
    """What a layer was told, by its config."""
    try:
        return layer.get_config()
    except NotImplementedError as error:
        raise ValueError(
            "All parts of a layer must have a `get_config`, by which it says "
            f"what it computes. Received: {type(layer).__name__} "
            f"{layer.name!r}, of which {error}. Define `get_config` there: of "
            "a regularizer, it returns the arguments of `__init__`."
        ) from error


def is_genuine(thing: Any) -> bool:
    """Whether a function or class of Keras or of this package is what it says.

    `functools.wraps` and a patched class say what they are not.
    """
    module = getattr(thing, "__module__", None) or ""
    if module.partition(".")[0] not in ("keras", "tfdeep"):
        return False
    found: Any = sys.modules.get(module)
    for name in thing.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is thing


def traits_of(model) -> tuple:
    """What this knowledge is about, to be compared with what it is later."""
    return tuple(
        (
            id(type(part).call),
            tuple(
                (name, id(value))
                for name, value in vars(part).items()
                if name == "call" or "activation" in name
            ),
            tuple(repr(getattr(part, name, None)) for name in AXES),
        )
        for part in layers_of(model)
    )


def _has_axes_enough(kind: type, rank: int | None) -> bool:
    """Whether the first axis is that of the batch, and others are left.

    Without one for channels a batch of pictures is taken for one picture, and
    without one for positions a batch of vectors for one sequence.
    """
    if kind in OF_SEQUENCES:
        return rank is not None and rank > 2
    if ".image_preprocessing." in name_of(kind):
        return rank is not None and rank > 3
    return True


def _calls_functions(layer, rank: int | None) -> bool:
    """Whether it computes what a function says that somebody gave it."""
    return any(
        not _known(name, value, rank)
        for name, value in vars(layer).items()
        if isinstance(value, FUNCTIONS) or "activation" in name
    )


def _known(name: str, function, rank: int | None) -> bool:
    """Whether it is none, or one that is known to keep examples apart."""
    if not callable(function) or isinstance(function, keras.layers.Layer):
        return True  # A layer is a part, and looked at as one.
    if function in ALONG_THE_LAST:
        return rank is None or rank > 1
    if function in ACTIVATIONS:
        return True
    if name in WRAPPED:
        method = getattr(inspect.unwrap(function), "__func__", None)
        return is_genuine(method)
    module = getattr(function, "__module__", None) or ""
    return module.partition(".")[0] == "tfdeep" and is_genuine(function)


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
    if not is_genuine(type(operation)):
        return False
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
        return _whole_batch(call.args[1], len(call.inputs[0].shape))
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


def _whole_batch(key, rank: int) -> bool:
    """Whether a key takes all examples, in their order."""
    keys = key if isinstance(key, tuple) else (key,)
    if keys[0] is Ellipsis:  # It may stand for no axis at all.
        return sum(k is not None and k is not Ellipsis for k in keys) < rank
    return keys[0] == slice(None)
