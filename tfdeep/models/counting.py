"""How large a model is, and how much it computes."""

import math
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from keras import tree

from tfdeep.graph.count import COUNTS, Unknown, calls_at, count_call, symbol
from tfdeep.graph.program import Program
from tfdeep.graph.trace import graph_of
from tfdeep.report import Report, aligned


@dataclass(frozen=True)
class LayerCount:
    """The count of one call in a model.

    Args:
        path: the path of the call.
        kind: the name of its class.
        output_shape: without the batch; of several outputs the first.
        parameters: of its weights; 0 where an earlier call has counted them.
        trainable_parameters: those of them that are trained.
        bytes: the memory of its weights.
        multiply_adds: for one example; `None` where that is not known.
    """

    path: str
    kind: str
    output_shape: tuple
    parameters: int
    trainable_parameters: int
    bytes: int
    multiply_adds: int | None


@dataclass(frozen=True)
class ModelCount(Report):
    """What `tfdeep.models.count` returns.

    Args:
        layers: a `LayerCount` for each call, nested models written out, and
            one for weights that a model uses outside of its layers.
    """

    layers: tuple[LayerCount, ...]

    @property
    def parameters(self) -> int:
        """The number of weights, statistics of normalization included."""
        return sum(row.parameters for row in self.layers)

    @property
    def trainable_parameters(self) -> int:
        """The number of weights that are trained."""
        return sum(row.trainable_parameters for row in self.layers)

    @property
    def bytes(self) -> int:
        """The memory of the weights."""
        return sum(row.bytes for row in self.layers)

    @property
    def multiply_adds(self) -> int:
        """For one example, of all calls but those in `unknown`."""
        return sum(row.multiply_adds or 0 for row in self.layers)

    @property
    def unknown(self) -> list[str]:
        """The paths of calls whose multiply-adds are not known."""
        return [row.path for row in self.layers if row.multiply_adds is None]

    def __str__(self) -> str:
        head = ("layer", "kind", "output", "parameters", "multiply-adds")
        rows = [
            (
                row.path,
                row.kind,
                "x".join(map(str, row.output_shape)),
                f"{row.parameters:,}",
                "unknown"
                if row.multiply_adds is None
                else f"{row.multiply_adds:,}",
            )
            for row in self.layers
        ]
        total = (
            "all",
            "",
            "",
            f"{self.parameters:,}",
            f"{self.multiply_adds:,}",
        )
        return aligned([head, *rows, total], right=(3, 4))

    def _content(self) -> dict[str, Any]:
        return {
            "parameters": self.parameters,
            "trainable_parameters": self.trainable_parameters,
            "bytes": self.bytes,
            "multiply_adds": self.multiply_adds,
            "unknown": self.unknown,
            "layers": [asdict(row) for row in self.layers],
        }

    def _figure(self) -> Any:
        """Parameters and multiply-adds by layer."""
        from tfdeep.visualization.count import count_chart

        return count_chart(self.layers)


def count(model: keras.Model, input_shape: Any = None) -> ModelCount:
    """Count the weights of a model and the multiply-adds of one example.

    A convolution with a k x k kernel from c to f channels in g groups, with
    h x w output pixels, has h w k^2 (c / g) f multiply-adds: the figure that
    papers call FLOPs. Counted are products with kernels, in each time step of
    recurrent layers, and products of two tensors, as in attention: scores and
    weighted values. Normalization, activations, pooling and biases are not.
    A transposed convolution counts its kernel at each pixel of its input.
    Every branch counts in full, whatever its survival probability, and a
    layer that is called twice counts twice; its weights count once.

    A layer of another kind is looked into. Where that is not possible, and
    `tfdeep.models.count_rule` has no rule, it is in `unknown`.

    Args:
        model: a Functional or Sequential model, or a hand-written one that
            can be called with symbolic tensors.
        input_shape: optional shape, or structure of shapes with the batch
            first, of the inputs. By default that for which the model was
            built; needed where this has unknown sizes.

    Returns:
        A `ModelCount`.

    Raises:
        TypeError: if `model` is no `keras.Model`.
        ValueError: if it is not built, cannot be called with symbolic
            tensors, or a size of its inputs is unknown.

    Warns:
        UserWarning: if the multiply-adds of a layer are not known.

    Example:
        >>> import keras, tfdeep
        >>> model = keras.Sequential([keras.Input((8, 8, 3))])
        >>> model.add(keras.layers.Conv2D(4, 3, name="conv"))
        >>> model.add(keras.layers.Flatten(name="flat"))
        >>> model.add(keras.layers.Dense(2, name="dense"))
        >>> print(tfdeep.models.count(model))
        layer  kind     output  parameters  multiply-adds
        conv   Conv2D   6x6x4          112          3,888
        flat   Flatten  144              0              0
        dense  Dense    2              290            288
        all                            402          4,176
    """
    graph = graph_of(model, input_shape)
    program = Program(graph.inputs, graph.outputs, graph.calls)
    shape = input_shape
    if shape is None:
        shape = tree.map_structure(lambda t: t.shape, graph.inputs)
    inputs, batch = _one_example(model, graph.inputs, shape)
    seen: set[int] = set()
    rows = [_row(call, batch, seen) for call in calls_at(program, inputs)]
    rest = [v for v in model.weights if id(v) not in seen]
    if rest:
        rows.append(
            LayerCount(model.name, type(model).__name__, (), *_sizes(rest), 0)
        )
    result = ModelCount(tuple(rows))
    if result.unknown:
        kinds = Counter(r.kind for r in rows if r.multiply_adds is None)
        warnings.warn(
            "The multiply-adds of some layers are not known, and not counted: "
            + ", ".join(f"{n} x {kind}" for kind, n in kinds.items())
            + ". Their paths are in `unknown`; tfdeep.models.count_rule adds a "
            "rule.",
            stacklevel=2,
        )
    return result


def multiply_adds(model: keras.Model, input_shape: Any = None) -> int:
    """The multiply-adds of one example, as `tfdeep.models.count` finds them.

    Args:
        model: a built Keras model.
        input_shape: optional shape of its inputs, with the batch first.

    Returns:
        The number of multiply-adds, an integer.

    Raises:
        TypeError: if `model` is no `keras.Model`.
        ValueError: as `tfdeep.models.count` does.

    Example:
        >>> import tfdeep
        >>> net = tfdeep.models.ResNet(20)
        >>> tfdeep.models.multiply_adds(net)
        40551040
    """
    return count(model, input_shape).multiply_adds


def count_rule(*kinds: Any):
    """Register how the multiply-adds of a kind of layer are counted.

    Args:
        *kinds: classes of layers; names of classes, `"Package>Name"` of those
            that are registered with Keras, `"package.Name"` of others; or
            names of functions of `keras.ops`, such as `"matmul"`. A subclass
            that computes in another way has no rule of its parent.

    Returns:
        A decorator for the rule, `rule(layer, args, kwargs, outputs)`. It
        gets the arguments of a call, with symbolic tensors of known shapes
        for a batch of one example, and the list of outputs, symbolic as well.
        It returns an integer; or a list of `(layer, args, repeats)`, calls
        that are counted in its place; or `None` where it cannot say.

    Raises:
        TypeError: for anything else than such kinds.

    Example:
        >>> import keras, tfdeep
        >>> class Gram(keras.layers.Layer):
        ...     def call(self, x):
        ...         return keras.ops.vectorized_map(
        ...             lambda v: keras.ops.matmul(v, keras.ops.transpose(v)), x)
        >>> @tfdeep.models.count_rule(Gram)
        ... def gram(layer, args, kwargs, outputs):
        ...     _, rows, columns = args[0].shape
        ...     return rows * rows * columns
        >>> model = keras.Sequential([keras.Input((4, 3)), Gram()])
        >>> tfdeep.models.count(model).multiply_adds
        48
    """
    return COUNTS.rule(*kinds)


def _one_example(model: Any, inputs: Any, shape: Any) -> tuple[list, int]:
    """Symbolic inputs of known sizes, and how many examples they hold.

    A model for a given batch size gets that, any other one a single example.
    """
    shapes: list = []
    tree.map_shape_structure(lambda each: shapes.append(each), shape)
    flat = tree.flatten(inputs)
    if len(shapes) != len(flat) or not all(map(is_shape, shapes)):
        raise ValueError(
            f"`input_shape` must be a shape for each of the {len(flat)} inputs "
            f"of model {model.name!r}. Received: input_shape={shape!r}"
        )
    for each, given in zip(flat, shapes, strict=True):
        if None in given[1:] or len(given) != len(each.shape):
            raise ValueError(
                "The sizes of the inputs must be known. Received: model "
                f"{model.name!r} with an input of shape {tuple(given)}. Pass "
                "`input_shape`, such as (None, 224, 224, 3)."
            )
    batch = {each.shape[0] for each in flat} - {None}
    size = batch.pop() if len(batch) == 1 else 1
    return [
        symbol((size, *given[1:]), each.dtype)
        for each, given in zip(flat, shapes, strict=True)
    ], size


def is_shape(value: Any) -> bool:
    """Whether it is a tuple or list of sizes."""
    return isinstance(value, tuple | list) and all(
        size is None or isinstance(size, int) for size in value
    )


def _row(call, batch: int, seen: set[int]) -> LayerCount:
    weights = [
        v for v in getattr(call.operation, "weights", []) if id(v) not in seen
    ]
    seen.update(map(id, weights))
    try:
        found: int | None = count_call(call) // batch
    except Unknown:
        found = None
    return LayerCount(
        call.path,
        type(call.operation).__name__,
        tuple(call.outputs[0].shape[1:]),
        *_sizes(weights),
        found,
    )


def _sizes(weights: list) -> tuple[int, int, int]:
    """Numbers of parameters, trainable ones, and bytes."""
    sizes = [math.prod(v.shape) for v in weights]
    trained = [n for v, n in zip(weights, sizes, strict=True) if v.trainable]
    memory = [n * _width(v.dtype) for v, n in zip(weights, sizes, strict=True)]
    return sum(sizes), sum(trained), sum(memory)


def _width(dtype: str) -> int:
    """Bytes of a number."""
    if dtype == "bfloat16" or "float8" in dtype:
        return 2 if dtype == "bfloat16" else 1
    return np.dtype(dtype).itemsize
