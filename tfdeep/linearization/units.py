"""Which calls of a model are nonlinear units, and of which kind."""

from typing import Any, NamedTuple

from keras import activations, layers

from tfdeep.graph.registry import Registry, plain
from tfdeep.layers.sparse_prelu import SparsePReLU


class Unit(NamedTuple):
    """What is nonlinear in a layer or operation.

    Args:
        slope: of a ReLU, what it multiplies negative inputs with; `None` for
            another nonlinearity.
        name: what it is, for people.
        fused: whether it comes after what the layer computes with weights.
        removable: whether it is a `SparsePReLU`.
    """

    slope: float | None
    name: str
    fused: bool = False
    removable: bool = False


# Layers that end in their `activation`, a function of each value.
FUSED = Registry("fused")
FUSED.rule(
    layers.Dense,
    layers.EinsumDense,
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Conv3DTranspose,
    "tfdeep>GroupedConv2D",
    "tfdeep>WeightStandardizedConv2D",
)(True)
# Probabilities, and nothing at all.
NO_UNITS = ("linear", "softmax", "log_softmax", "sparsemax")
# Functions of each value that `keras.ops` has, besides the activations.
CURVED = (
    "abs absolute clip cos erf exp expm1 log log1p log2 log10 maximum minimum "
    "power reciprocal relu6 rsqrt sign sin sqrt square tan tanh"
)
OPERATIONS = frozenset(
    plain(name)
    for name in [*dir(activations), *CURVED.split()]
    if not name.startswith("_")
    and name not in (*NO_UNITS, "get", "serialize", "deserialize", "glu")
)
ELEMENTWISE = Registry("elementwise")
ELEMENTWISE.rule(
    layers.Activation,
    layers.ReLU,
    layers.LeakyReLU,
    layers.ELU,
    layers.PReLU,
    SparsePReLU,
)(True)


def unit_of(operation: Any) -> Unit | None:
    """What is nonlinear in a layer or operation; `None` if nothing is.

    Of a layer that is made of layers, and of one that is nonlinear within,
    such as a recurrent one, it tells nothing.
    """
    if not isinstance(operation, layers.Layer):
        return _of_operation(operation)
    if FUSED.find(operation):
        found = _of_function(operation.activation)
        return found and found._replace(fused=True)
    if not ELEMENTWISE.find(operation):
        return None
    if isinstance(operation, SparsePReLU):
        return Unit(None, "SparsePReLU", removable=True)
    if isinstance(operation, layers.Activation):
        return _of_function(operation.activation)
    return _of_layer(operation)


def _of_layer(layer: Any) -> Unit:
    """Of a layer that is a function of each value."""
    kind = type(layer).__name__
    if isinstance(layer, layers.LeakyReLU):
        return Unit(float(layer.negative_slope), kind)
    if isinstance(layer, layers.ReLU) or type(layer).__name__ == "ReLU":
        return _of_relu(layer)
    return Unit(None, kind)


def _of_relu(relu: Any) -> Unit:
    """Of a ReLU with a greatest value and a threshold, if it has them."""
    if relu.max_value is not None:
        return Unit(None, f"ReLU with max_value={float(relu.max_value):g}")
    if relu.threshold:
        return Unit(None, f"ReLU with threshold={float(relu.threshold):g}")
    return Unit(float(relu.negative_slope), "ReLU")


def _of_function(function: Any) -> Unit | None:
    """Of the activation of a layer."""
    if isinstance(function, layers.Layer):
        return unit_of(function)
    name = getattr(function, "__name__", type(function).__name__)
    if function is None or name in NO_UNITS:
        return None
    if function is activations.relu:
        return Unit(0.0, "relu")
    if function is activations.leaky_relu:
        return Unit(0.2, "leaky_relu")
    return Unit(None, name)


def _of_operation(operation: Any) -> Unit | None:
    """Of a call of a function of `keras.ops` or `keras.activations`."""
    kind = type(operation).__name__
    if plain(kind) not in OPERATIONS:
        return None
    if plain(kind) == "relu":
        plainly = not hasattr(operation, "max_value")
        return Unit(0.0, "relu") if plainly else _of_relu(operation)
    if plain(kind) == "leakyrelu":
        return Unit(float(operation.negative_slope), "leaky_relu")
    return Unit(None, kind.lower())


def loops(operation: Any) -> bool:
    """Whether it is a recurrent layer, nonlinear in each of its steps."""
    return isinstance(operation, (layers.RNN, layers.Bidirectional))
